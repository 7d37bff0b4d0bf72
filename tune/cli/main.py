"""`python -m tune`: search, baselines, check-data, presets, report, export, score. The only room that prints.

Errors that a user can fix are one line on stderr, with exit code 2.
"""

import errno
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tune.cli.options import plain_request, search_parser, search_request
from tune.cli.parser import DRY_RUN, Parser, add_options
from tune.cli.streams import output_lost, prepare_streams
from tune.config.addresses import without_secrets
from tune.config.search import OPTIONS, SearchConfig, search_config
from tune.errors import ConfigError, UserError
from tune.machine import limit_threads

USAGE = """usage: python -m tune COMMAND ...

  search     find the best fine-tuned embedding model for labelled text pairs
  baselines  score base models untouched, open and closed, in one table
  check-data show what is recognised in labelled pairs
  presets    list ready-made searches: python -m tune search --preset NAME
  report     write a page, tables and pictures of results
  export     write a trial of a finished search as a model directory
  score      score an exported model on labelled pairs
  doctor     check this machine: versions, cores, memory, disk, GPU, Ray, keys

python -m tune COMMAND --help lists a command's options.
"""

_PAIRS_OPTIONS = {name for name, (table, _) in OPTIONS.items() if table in ("data", "closed")}
"""Options of every command that reads pairs."""
_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another --results, --cache or TMPDIR"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "choose folders that you can write to (--results, --cache, TMPDIR, HF_HOME)",
    ),
}
"""Errors of the file system that a user can fix."""
_LOADS_MODELS = ("search", "baselines", "export", "score")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code. arguments: the process's own by default."""
    if arguments is not None:
        return _run(list(arguments))
    prepare_streams()
    code = _run(sys.argv[1:])
    if lost := output_lost():
        print(f"error: output could not be written ({lost})", file=sys.stderr)
        return code or 1
    return code


def _run(given: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "search": search,
        "baselines": baselines,
        "check-data": check_data,
        "presets": presets,
        "report": report,
        "export": export,
        "score": score,
        "doctor": doctor,
    }
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    _quiet_libraries()
    limit_threads()
    try:
        if unreadable := [word for word in given if word.encode(errors="replace").decode() != word]:
            raise UserError(f"{unreadable[0]!r} is not valid UTF-8; rename the file, or use a UTF-8 locale")
        if given[0] not in commands:
            raise UserError(f"no command {given[0]!r}; the commands are {', '.join(commands)}")
        if given[0] in _LOADS_MODELS and not {"-h", "--help", "--help-all"}.intersection(given):
            _check_machine()
        return commands[given[0]](given[1:])
    except UserError as error:
        show_error(error)
        return 2
    except OSError as error:
        if error.errno not in _FIXES:
            raise
        where = f": {error.filename}" if error.filename else ""
        show_error(UserError(f"{os.strerror(error.errno)}{where}; {_FIXES[error.errno]}"))
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def show_error(error: UserError) -> None:
    """Print one line per problem on stderr."""
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    for problem in problems:
        print(f"error: {' '.join(problem.split())}", file=sys.stderr)


def _quiet_libraries() -> None:
    """Turn the libraries' progress bars and notices off; ours say the same once."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _check_machine() -> None:
    """Check what the imports that follow need themselves."""
    from tune.pipeline.environment import check_address_space, check_home

    check_address_space()
    check_home()


def _no_weight_bars() -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)


def search(arguments: list[str]) -> int:
    """Run `python -m tune search`."""
    request, parsed = search_request(search_parser(), arguments)
    from tune.pipeline.preflight import check_search

    runs = not parsed.dry_run
    check_search(request.config, request.resume is not None or parsed.dry_run, buys=runs, trains=runs)
    if parsed.dry_run:
        return _dry_run(request.config)
    from tune.cli.display import SearchDisplay
    from tune.cli.tables import show_results
    from tune.pipeline.local import LocalBackend
    from tune.pipeline.search import SearchJob, run_search

    _no_weight_bars()
    display = SearchDisplay()
    job = SearchJob(request.config, _command("search", arguments), request.resume)
    try:
        with display:
            folder = run_search(job, LocalBackend(display.asker()), display.emit)
    except KeyboardInterrupt:
        default = SearchConfig().search.results
        where = "" if request.config.search.results == default else f" --results {request.config.search.results}"
        trust = " --trust-remote-code true" if request.config.search.trust_remote_code else ""
        hint = f" resume with: python -m tune search --resume {display.name}{where}{trust}" if display.name else ""
        print(f"interrupted; finished work is kept.{hint}", file=sys.stderr)
        return 130
    return 0 if show_results(folder) else 1


def _command(name: str, arguments: Sequence[str]) -> str:
    return f"python -m tune {name} {shlex.join(map(without_secrets, arguments))}".strip()


def _dry_run(config: SearchConfig, trials: bool = True) -> int:
    from tune.cli.display import SearchDisplay
    from tune.pipeline.dry_run import dry_run

    dry_run(config, SearchDisplay().emit, config.search.cache.expanduser(), trials=trials)
    return 0


def baselines(arguments: list[str]) -> int:
    """Run `python -m tune baselines`."""
    parser = Parser(
        prog="python -m tune baselines",
        description="Score base models untouched on labelled pairs: open and closed ones, in one table.",
        common=("data", "base_model", "split_column", "text_a", "text_b", "label", "max_embed_usd", "dry_run"),
    )
    parser.add_argument("--dry-run", action="store_true", default=False, help=DRY_RUN)
    own = ("base_model", "seed", "precision", "trust_remote_code", "cache", "results", "name")
    add_options(parser, {*own, *_PAIRS_OPTIONS})
    config, parsed = plain_request(parser, arguments)
    from tune.pipeline.preflight import check_search

    check_search(config, parsed.dry_run, buys=not parsed.dry_run)
    if parsed.dry_run:
        return _dry_run(config, trials=False)
    from tune.cli.display import SearchDisplay
    from tune.cli.tables import show_baselines
    from tune.pipeline.baselines import run_baselines
    from tune.pipeline.local import LocalBackend

    _no_weight_bars()
    with SearchDisplay() as display:
        command = _command("baselines", arguments)
        folder = run_baselines(config, LocalBackend(display.asker()), command=command, emit=display.emit)
    show_baselines(folder)
    return 0


def check_data(arguments: list[str]) -> int:
    """Run `python -m tune check-data`."""
    from tune.cli.check_data import check_data as check

    return check(arguments)


def presets(arguments: list[str]) -> int:
    """Run `python -m tune presets`."""
    parser = Parser(prog="python -m tune presets", description="List the presets with their number of trials.")
    parser.parse_args(arguments)
    from tune.cli.tables import show_presets
    from tune.config.toml import read_toml
    from tune.presets import preset_names, preset_path, preset_purpose
    from tune.search.points import planned_trials

    configs = {name: search_config(**read_toml(preset_path(name))) for name in preset_names()}
    show_presets(
        [(name, config.search.search, planned_trials(config), preset_purpose(name)) for name, config in configs.items()]
    )
    return 0


def report(arguments: list[str]) -> int:
    """Run `python -m tune report`."""
    from tune.cli.report import report as write

    return write(arguments)


def doctor(arguments: list[str]) -> int:
    """Run `python -m tune doctor`."""
    from tune.cli.doctor import doctor as examine

    return examine(arguments)


def export(arguments: list[str]) -> int:
    """Run `python -m tune export`."""
    parser = Parser(
        prog="python -m tune export",
        description="Write a trial as a SentenceTransformer directory (on a closed model: an AdaptedEmbedder).",
        operands="RESULTS --to DIR",
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of a search, such as results/NAME"
    )
    parser.add_argument(
        "--trial", default=None, help="the trial's name in the leaderboard, or its beginning (default: the winner)"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="directory to create")
    add_options(parser, {"trust_remote_code"})
    parsed = parser.parse_args(arguments)
    trust = search_config({"trust_remote_code": getattr(parsed, "trust_remote_code", False)}).search.trust_remote_code
    from tune.export.trial import export as export_trial
    from tune.results.layout import existing_folder

    folder = existing_folder(parsed.results)
    _no_weight_bars()
    print(f"wrote {export_trial(folder, parsed.trial, parsed.to, trust_remote_code=trust)}")
    return 0


def score(arguments: list[str]) -> int:
    """Run `python -m tune score`."""
    from tune.data.sides import SIDES

    parser = Parser(
        prog="python -m tune score",
        description="Score a model on labelled pairs. The threshold comes from embedtune.json or --threshold; "
        "it is never fitted on what is scored.",
        operands="MODEL",
        common=("model", "data", "side", "threshold", "json", "split_column", "text_a", "text_b", "label"),
    )
    parser.add_argument("model", metavar="MODEL", help="directory of an exported model, or a base model's name")
    parser.add_argument("--side", choices=SIDES, default=None, help="score only this side of the given split")
    parser.add_argument(
        "--threshold", type=float, default=None, metavar="COSINE", help="cosine from which a pair counts as positive"
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")
    add_options(
        parser, {"cache", "trust_remote_code", *_PAIRS_OPTIONS} - {"split", "prompt_a", "prompt_b", "max_length"}
    )
    config, parsed = plain_request(parser, arguments)
    from tune.cli.display import SearchDisplay
    from tune.cli.tables import make_console, show_score
    from tune.pipeline.score import score_command

    _no_weight_bars()
    # With --json, stdout is for the figures alone.
    display = SearchDisplay(make_console(stderr=parsed.json))
    with display:
        result = score_command(parsed.model, config, parsed.side, parsed.threshold, display.emit, display.asker())
    if parsed.json:
        print(json.dumps(result, indent=1))
    else:
        show_score(result)
    return 0
