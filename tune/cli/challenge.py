"""`python -m tune challenge`: a new base model against the winner of a finished search, on the same test pairs."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune.cli.early_end import EarlyEnd, last_words
from tune.cli.loading import command_line, no_weight_bars, show_dry_run
from tune.cli.parser import DRY_RUN, Parser, add_options, unknown_problems
from tune.cli.presentation import Presentation, add_presentation
from tune.config.search import OPTIONS, SearchConfig, search_config
from tune.errors import ConfigError, SearchPaused

if TYPE_CHECKING:
    from rich.console import Console

    from tune.pipeline.challenge import ChallengeJob, Incumbent
    from tune.results.layout import ResultsFolder

_OWN_HELP = {
    "base_model": ("MODEL,...", "new base models, as for search"),
    "trials": ("N", "trials to run (default: as many as the earlier search)"),
    "data": ("FILE|DIR|DATASET", "where the pairs are now, if they have moved"),
    "name": ("NAME", "name of the new results folder (default: NAME-vs-MODEL)"),
    "results": ("DIR", "parent of the new results folder (default: that of RESULTS)"),
    "cache": ("DIR", "folder for embedded texts (default: that of the earlier search)"),
}
_PASSED = {
    "jobs", "max_hours", "keep_weights", "report", "trust_remote_code", "ray_address", "gpus_per_trial", "base_url",
    "cohere_base_url", "input_type", "too_long", "texts_per_request", "max_in_flight", "request_timeout",
    "request_retries", "max_embed_usd", "price_per_million",
}  # fmt: skip
"""Options of a search that may differ from the earlier one: where and how it runs, and how vectors are bought."""
_COMMON = ("incumbent", *_OWN_HELP, "jobs", "max_hours", "max_embed_usd", "dry_run", "quiet", "json")


def challenge(arguments: list[str]) -> int:
    """Run `python -m tune challenge`."""
    parsed = _parsed(arguments)
    presentation = Presentation.of(parsed)
    from tune.pipeline.challenge import ChallengeJob, check_new, has_begun, read_incumbent
    from tune.pipeline.preflight import check_search

    incumbent = read_incumbent(parsed.incumbent)
    config, lines = _config(incumbent, vars(parsed))
    check_new(incumbent, config.base_models)
    begun, runs = has_begun(incumbent, config), not parsed.dry_run
    check_search(config, begun or parsed.dry_run, buys=runs, trains=runs)
    if parsed.dry_run:
        for line in lines:
            print(line)
        return show_dry_run(config)
    job = ChallengeJob(incumbent, config, command_line("challenge", arguments), begun)
    return _run(job, lines, presentation)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m tune challenge",
        description="Search new base models on the data, split and space of a finished search, and compare the two "
        "winners on its test pairs. Only texts of the new base models are embedded. Run the same command again to "
        "continue after an interruption.",
        operands="RESULTS --base-model MODEL,...",
        common=_COMMON,
    )
    parser.add_argument(
        "incumbent", type=Path, metavar="RESULTS", help="results folder of a finished search, such as results/NAME"
    )
    for name, (metavar, text) in _OWN_HELP.items():
        required = name == "base_model"
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar=metavar, help=text, required=required)
    parser.add_argument("--dry-run", action="store_true", default=False, help=DRY_RUN)
    add_presentation(parser)
    add_options(parser, _PASSED)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        fixed = [word for word in unknown if word.lstrip("-").split("=")[0].replace("-", "_") in OPTIONS]
        if fixed:
            raise ConfigError(
                [f"challenge: {', '.join(fixed)} cannot be changed: both winners must come from the same search"]
            )
        raise ConfigError(unknown_problems(unknown, parser))
    return parsed


def _config(incumbent: "Incumbent", given: Mapping[str, Any]) -> tuple[SearchConfig, list[str]]:
    """Return the configuration of the new search, and lines on what it leaves out. Raises ConfigError."""
    from tune.config.rebased import with_base_models
    from tune.config.toml import read_resolved
    from tune.embed.base_models import is_static
    from tune.pipeline.challenge import default_name

    names = list(search_config(space={"base_model": given["base_model"]}).base_models)
    tables, lines = with_base_models(read_resolved(incumbent.folder.config), names)
    flags = {name: value for name, value in given.items() if name in OPTIONS and name != "base_model"}
    defaults = {
        "results": incumbent.folder.root.parent,
        "name": default_name(incumbent, names),
        # Other base models ran their own code with somebody's consent; these need it anew.
        "trust_remote_code": False,
    }
    for name, value in {**defaults, **flags}.items():
        {"search": tables["search"], "data": tables["data"], "closed": tables["closed"]}[OPTIONS[name][0]][name] = value
    return search_config(**tables, is_static=is_static), lines


def _run(job: "ChallengeJob", lines: Sequence[str], presentation: Presentation) -> int:
    from tune.cli.verdict import interrupted_outcome
    from tune.events import Message
    from tune.pipeline.challenge import run_challenge
    from tune.pipeline.local import LocalBackend

    no_weight_bars()
    display = presentation.display()

    def ended(error: KeyboardInterrupt | SearchPaused) -> int:
        end = EarlyEnd.of(error)
        print(f"{end.line}; finished work is kept. continue with: {job.command}", file=sys.stderr)
        presentation.finish({**interrupted_outcome(display.folder, end.reason), "challenge": None})
        return end.code

    try:
        with presentation.apart(), display:
            for line in lines:
                display.emit(Message(line))
            folder = run_challenge(job, LocalBackend(display.asker(), last_words(display.close, ended)), display.emit)
    except (KeyboardInterrupt, SearchPaused) as error:
        return ended(error)
    return 0 if _present(folder, presentation) else 1


def _present(folder: "ResultsFolder", presentation: Presentation) -> bool:
    """Print how the search ended, then the challenge. Returns False if there is nothing to compare."""
    import json

    from tune.cli.tables import show_results
    from tune.cli.verdict import outcome
    from tune.results.leaderboard import read_leaderboard

    console = presentation.console()
    show_results(folder, console, quiet=presentation.quiet)
    summary = json.loads(folder.summary.read_text())
    if found := summary.get("challenge"):
        show_challenge(found, console)
    searched = outcome(folder, summary, read_leaderboard(folder.leaderboard))
    presentation.finish({**searched, "challenge": found})
    return bool(found)


def show_challenge(found: Mapping[str, Any], console: "Console") -> None:
    """Print which model is the better one, how often this test side has been looked at, and where the model is."""
    from tune.metrics.verdict import as_sentence

    looks = found["looks"]
    console.print()
    console.print(f"Challenge: {as_sentence(found['sentence'])}", markup=False, soft_wrap=True)
    for line in (looks["sentence"], looks["caution"]):
        if line:
            console.print(as_sentence(line), markup=False, soft_wrap=True)
    if found["better"]:
        console.print(f"better       {found[found['better']]['best']}", markup=False, soft_wrap=True)
    else:
        console.print("Neither is better for sure, so keep the incumbent unless the other costs less to serve.")
        for role in ("incumbent", "challenger"):
            console.print(f"{role:<12} {found[role]['best']}", markup=False, soft_wrap=True)
