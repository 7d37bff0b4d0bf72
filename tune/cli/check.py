"""`python -m tune check`: whether a results folder is whole, and what `--resume` would make again."""

import json
from pathlib import Path

from tune.cli.parser import Parser, add_options
from tune.config.search import SearchConfig


def check(arguments: list[str]) -> int:
    """Run `python -m tune check`; return 1 if something is damaged or missing."""
    parser = Parser(
        prog="python -m tune check",
        description="Verify the results folder of a search, finished or not, without changing it: a line per file that "
        "is damaged or missing, and what --resume would make again. Exit code 0 if it is whole, 1 if not, 2 if it is "
        "not a results folder.",
        operands="RESULTS",
    )
    parser.add_argument(
        "folder", type=Path, metavar="RESULTS", help="results folder, such as results/NAME, or its name"
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")
    add_options(parser, {"results"})
    parsed = parser.parse_args(arguments)
    from tune.cli.tables import make_console
    from tune.pipeline.check import check_folder

    checked = check_folder(_place(parsed.folder, getattr(parsed, "results", None)))
    if parsed.json:
        print(json.dumps(checked.to_json(), indent=1))
        return 0 if checked.whole else 1
    console = make_console()
    for line in (*(finding.line for finding in checked.findings), *checked.notes):
        console.print(line, markup=False, soft_wrap=True)
    trials = f"{checked.trials} trial{'' if checked.trials == 1 else 's'}"
    count = len(checked.findings)
    found = "whole" if checked.whole else f"{count} finding{'' if count == 1 else 's'}"
    console.print(f"{checked.folder}: {found} ({trials})", markup=False, soft_wrap=True)
    return 0 if checked.whole else 1


def _place(given: Path, results: str | None) -> Path:
    """Return the folder: as given, or a name below --results, or below its default if there is no such folder here."""
    if results is not None:
        return Path(results) / given
    return given if given.exists() else SearchConfig().search.results / given
