"""`python -m tune push`: a model of a search, with its card and report, to the Hugging Face hub."""

from pathlib import Path

from tune.cli.parser import Parser, add_options
from tune.config.search import search_config


def push(arguments: list[str]) -> int:
    """Run `python -m tune push`."""
    parser = Parser(
        prog="python -m tune push",
        description="Upload a search's model to the Hugging Face hub, with its card and the report without texts.",
        operands="RESULTS ORG/NAME",
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of a search, such as results/NAME"
    )
    parser.add_argument("repository", metavar="ORG/NAME", help="repository on the hub, created if it does not exist")
    parser.add_argument("--private", action="store_true", default=False, help="make a new repository private")
    parser.add_argument(
        "--trial", default=None, help="the trial's name in the leaderboard, or its beginning (default: the winner)"
    )
    add_options(parser, {"trust_remote_code"})
    parsed = parser.parse_args(arguments)
    trust = search_config({"trust_remote_code": getattr(parsed, "trust_remote_code", False)}).search.trust_remote_code
    from tune.cli.display import SearchDisplay
    from tune.pipeline.push import PushJob
    from tune.pipeline.push import push as upload
    from tune.results.layout import existing_folder

    job = PushJob(existing_folder(parsed.results), parsed.repository, parsed.trial, parsed.private, trust)
    with SearchDisplay() as display:
        address = upload(job, display.emit)
    print(f"uploaded to {address}")
    return 0
