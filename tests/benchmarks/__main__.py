"""`python -m tests.benchmarks [NAME ...] [--data PATH] [--quick]`: run benchmarks, each in a separate process.

Without names it runs all of them, and skips those that need pairs if there are none.
"""

import argparse
import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NAMES = {
    "adapter_step": False,
    "ray_cost": False,
    "many_trials": False,
    "ordered_search": False,
    "modal_cost": False,
    "concurrent_calls": False,
    "startup": False,
    "first_report": False,
    "scale": False,
    "apply_vectors": False,
    "serving": False,
    "interval_coverage": False,
    "fold_coverage": False,
    "quora_reference": True,
    "layers_together": True,
    "whole_step": True,
    "trial_vs_trainer": True,
    "sweep_vs_trainer": True,
    "validation_share": True,
    "choice_regret": True,
    "search_regret": True,
    "hard_negatives": True,
    "static_rates": True,
    "asha_grace": True,
    "bias_cost": True,
    "formats": True,
    "embedding": True,
    "embedding_static": True,
    "precision": True,
    "merge_shares": True,
    "merge_demo": False,
}
"""{benchmark: whether it needs `--data`}."""


def main() -> int:
    """Run the chosen benchmarks; return the exit code."""
    options = _parser().parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        return _refuse(f"no benchmark {unknown[0]!r}; the benchmarks are {', '.join(NAMES)}")
    chosen: list[str] = options.names or list(NAMES)
    needy = [name for name in chosen if NAMES[name]]
    if needy and not options.data.is_file():
        problem = (
            f"{options.data} does not exist; {', '.join(needy)} need labelled pairs with a split column, such as "
            "Quora's. Name the file (parquet or csv: text1, text2, label, split) with --data or EMBEDTUNE_BENCH_PAIRS"
        )
        if options.names:
            return _refuse(problem)
        print(f"skipped: {problem}", file=sys.stderr)
        chosen = [name for name in chosen if name not in needy]
    if len(chosen) > 1:
        # Separate processes, so that no benchmark inherits another's threads, Ray or memory.
        rest = ["--data", str(options.data), "--cache", str(options.cache), *(["--quick"] if options.quick else [])]
        rest += ["--pairs", ",".join(map(str, options.pairs))] if options.pairs else []
        codes = [subprocess.run([sys.executable, "-m", "tests.benchmarks", name, *rest]).returncode for name in chosen]
        return max(codes)
    return _run(chosen[0], options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure ratios and check them against targets."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("EMBEDTUNE_BENCH_PAIRS", "pairs.parquet")),
        help="labelled pairs with a split column (default: EMBEDTUNE_BENCH_PAIRS, else pairs.parquet)",
    )
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/embedtune"), help="folder of embedded texts")
    parser.add_argument(
        "--pairs", type=_sizes, default=(), help="scale, layers_together: pairs, such as 1000000,3000000"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes to try the code; writes no file")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


def _refuse(problem: str) -> int:
    print(f"error: {problem}", file=sys.stderr)
    return 2


def _run(name: str, parsed: Any) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.basicConfig(level=logging.WARNING)
    from transformers.utils.logging import disable_progress_bar

    from tests.benchmarks.common import Options, machine, show, write

    disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    module = importlib.import_module(f"tests.benchmarks.{name}")
    before = machine()
    options = Options(parsed.data, parsed.cache.expanduser(), parsed.quick, parsed.pairs)
    result = module.run(options)
    show(name, module.TITLE, result)
    if parsed.quick:
        print("--quick: no file written")
        return 0
    data = f" --data {parsed.data.name}" if NAMES[name] else ""
    data += f" --pairs {','.join(map(str, parsed.pairs))}" if parsed.pairs else ""
    print(f"wrote {write(name, module.TITLE, result, f'python -m tests.benchmarks {name}{data}', before)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
