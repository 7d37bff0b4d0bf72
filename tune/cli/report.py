"""`python -m tune report`: one offline page on a search, or on several compared."""

from pathlib import Path

from tune.cli.parser import Parser
from tune.cli.tables import make_console


def report(arguments: list[str]) -> int:
    """Run `python -m tune report`."""
    parser = Parser(
        prog="python -m tune report",
        description="Write a report on a search, finished or not: one page that opens offline, its tables as Markdown,"
        " and its figures as pictures. Several results are compared on one page.",
        operands="RESULTS [RESULTS ...]",
    )
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="RESULTS", help="results folder of a search, such as results/NAME"
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder to write to (default: RESULTS; for several, the folder `compared` in the first)",
    )
    parsed = parser.parse_args(arguments)
    from tune.pipeline.report import write_report

    written = write_report(parsed.results, parsed.to)
    console = make_console()
    for name, path in (("report", written.html), ("tables", written.markdown), ("plots", written.plots)):
        console.print(f"{name:<8} {path}", markup=False, soft_wrap=True)
    return 0
