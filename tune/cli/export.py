"""`python -m tune export`: a trial of a finished search as a model directory."""

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
    from tune.pipeline.export import export_model
    from tune.results.layout import existing_folder

    folder = existing_folder(parsed.results)
    no_weight_bars()
    print(f"wrote {export_model(folder, parsed.trial, parsed.to, trust_remote_code=trust)}")
    return 0
