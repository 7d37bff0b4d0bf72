"""`python -m tests.benchmarks [NAME ...] [--data PATH] [--quick]`: runs benchmarks, each in a process of its own.

Without names all are run; those that need pairs are left out where there are none.
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
    "modal_cost": False,
    "precision": False,
    "quora_reference": True,
    "trial_vs_trainer": True,
    "sweep_vs_trainer": True,
    "validation_share": True,
}
"""Benchmark -> whether it needs `--data`."""


def main() -> int:
    """Runs what is asked for; returns the exit code."""
    options = _parser().parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        return _refuse(f"no benchmark {unknown[0]!r}; known are {', '.join(NAMES)}")
    chosen: list[str] = options.names or list(NAMES)
    needy = [name for name in chosen if NAMES[name]]
    if needy and not options.data.is_file():
        problem = (
            f"{options.data}: no such file; {', '.join(needy)} need labelled pairs with a split column. Give "
            "Quora's by --data PATH or EMBEDTUNE_BENCH_PAIRS (parquet or csv: text1, text2, label, split)"
        )
        if options.names:
            return _refuse(problem)
        print(f"left out: {problem}", file=sys.stderr)
        chosen = [name for name in chosen if name not in needy]
    if len(chosen) > 1:
        # A process of its own: threads, Ray and what the libraries keep in memory are nobody else's.
        rest = ["--data", str(options.data), "--cache", str(options.cache), *(["--quick"] if options.quick else [])]
        codes = [subprocess.run([sys.executable, "-m", "tests.benchmarks", name, *rest]).returncode for name in chosen]
        return max(codes)
    return _run(chosen[0], options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Benchmarks: ratios from one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("EMBEDTUNE_BENCH_PAIRS", "pairs.parquet")),
        help="labelled pairs with a split column (default: EMBEDTUNE_BENCH_PAIRS, else pairs.parquet)",
    )
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/embedtune"), help="where embedded texts are kept")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the code; writes nothing")
    return parser


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
    options = Options(parsed.data, parsed.cache.expanduser(), parsed.quick)
    result = module.run(options)
    show(name, module.TITLE, result)
    if parsed.quick:
        print("quick: nothing is written")
        return 0
    data = f" --data {parsed.data.name}" if NAMES[name] else ""
    print(f"wrote {write(name, module.TITLE, result, f'python -m tests.benchmarks {name}{data}', before)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
