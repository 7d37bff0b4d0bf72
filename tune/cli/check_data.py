"""`python -m tune check-data`: what was recognised in labelled pairs, before a search is spent on them."""

import json

from rich.console import Console

from tune.cli.options import plain_request
from tune.cli.parser import Parser, add_options
from tune.cli.tables import make_console
from tune.config.search import OPTIONS
from tune.data.one_line import one_line
from tune.errors import ConfigError, DataError
from tune.pipeline.check_data import DataReport, report_data

_LONGEST = 70
"""Characters of an example text that are shown."""


def check_data(arguments: list[str]) -> int:
    """Run `python -m tune check-data`."""
    parser = Parser(
        prog="python -m tune check-data",
        description="Show what is recognised in labelled pairs: columns, which label is positive, with examples, rows "
        "that would be dropped, and the split. No model is loaded.",
        operands="[DATA]",
    )
    parser.add_argument("path", nargs="?", default=None, metavar="DATA", help="the same as --data")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")
    unused = ("prompt_a", "prompt_b", "max_length", "guard")
    add_options(parser, {"seed", *(name for name, (of, _) in OPTIONS.items() if of == "data" and name not in unused)})
    # A path is an option like any other once it is named.
    config, parsed = plain_request(parser, arguments)
    if parsed.path is not None:
        if config.data.data is not None:
            raise ConfigError([f"both {parsed.path} and --data {config.data.data} are given; give one of them"])
        data = config.data.model_copy(update={"data": parsed.path})
        config = config.model_copy(update={"data": data})
    report = report_data(config)
    if parsed.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        show_report(report)
        if report.columns["label"] and config.data.data is not None and config.data.positive_from is None:
            print("\nThe wrong way round? --positive-label VALUE sets which label is positive.")
    if report.problem:
        raise DataError(report.problem)
    return 0


def show_report(report: DataReport, console: Console | None = None) -> None:
    """Print the report, a line each, and examples of both labels."""
    console = console or make_console()

    def line(name: str, value: str) -> None:
        console.print(f"{name:<9} {value}", markup=False, soft_wrap=True)

    columns, rows = report.columns, report.rows
    kept = rows["kept"] - report.dropped.get("crossing", 0)
    dropped = ", ".join(f"{n} {reason}" for reason, n in report.dropped.items())
    line("data", report.source)
    line("texts", f"{columns['text_a']!r} and {columns['text_b']!r}")
    line("label", f"{columns['label']!r}: {report.labels}" if columns["label"] else report.labels)
    if columns["score"]:
        line("score", f"{columns['score']!r}, {report.scores}")
    line("rows", f"{rows['read']} read, {kept} kept" + (f" (dropped: {dropped})" if dropped else ""))
    if report.sides:
        given = f"column {columns['split']!r}: " if columns["split"] else ""
        shares = [f"{side} {one['pairs']} ({one['positive']} positive)" for side, one in report.sides.items()]
        line("split", given + ", ".join(shares))
    if report.hint:
        line("hint", report.hint)
    for name, pairs in report.examples.items():
        console.print(f"\n{name}: these should {'' if name == 'positive' else 'not '}belong together")
        for a, b in pairs:
            console.print(f"  {one_line(a, _LONGEST)}  |  {one_line(b, _LONGEST)}", markup=False, soft_wrap=True)
