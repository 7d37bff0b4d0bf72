"""`python -m tune push`: a model of a search, with its card and report, to the Hugging Face hub."""

from tune.cli.export import add_trial, is_trusted
from tune.cli.parser import Parser


def push(arguments: list[str]) -> int:
    """Run `python -m tune push`."""
    parser = Parser(
        prog="python -m tune push",
        description="Upload a search's model to the Hugging Face hub, with its card and the report without texts.",
        operands="RESULTS ORG/NAME",
    )
    add_trial(parser)
    parser.add_argument("repository", metavar="ORG/NAME", help="repository on the hub, created if it does not exist")
    parser.add_argument("--private", action="store_true", default=False, help="make a new repository private")
    parsed = parser.parse_args(arguments)
    trust = is_trusted(parsed)
    from tune.cli.display import SearchDisplay
    from tune.pipeline.push import PushJob
    from tune.pipeline.push import push as upload
    from tune.results.layout import existing_folder

    job = PushJob(existing_folder(parsed.results), parsed.repository, parsed.trial, parsed.private, trust)
    with SearchDisplay() as display:
        address = upload(job, display.emit)
    print(f"uploaded to {address}")
    return 0
