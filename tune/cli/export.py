"""`python -m tune export`: a trial of a finished search as a model directory."""

import argparse
from pathlib import Path

from tune.cli.loading import no_weight_bars
from tune.cli.parser import Parser, add_options
from tune.config.search import search_config


def export(arguments: list[str]) -> int:
    """Run `python -m tune export`."""
    parser = Parser(
        prog="python -m tune export",
        description="Write a trial as a SentenceTransformer directory (on a closed model: an AdaptedEmbedder).",
        operands="RESULTS --to DIR",
    )
    add_trial(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="directory to create")
    parsed = parser.parse_args(arguments)
    trust = is_trusted(parsed)
    from tune.pipeline.export import export_model
    from tune.results.layout import existing_folder

    folder = existing_folder(parsed.results)
    no_weight_bars()
    print(f"wrote {export_model(folder, parsed.trial, parsed.to, trust_remote_code=trust)}")
    return 0


def add_trial(parser: Parser) -> None:
    """Add what names a trial of a search: RESULTS and --trial, and --trust-remote-code for its base model."""
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of a search, such as results/NAME"
    )
    parser.add_argument(
        "--trial", default=None, help="the trial's name in the leaderboard, or its beginning (default: the winner)"
    )
    add_options(parser, {"trust_remote_code"})


def is_trusted(parsed: argparse.Namespace) -> bool:
    """Return whether base models may run code of their own."""
    given = getattr(parsed, "trust_remote_code", False)
    return search_config({"trust_remote_code": given}).search.trust_remote_code
