"""`python -m tune report`: one offline page on a search, or on several compared."""

import argparse
import math
from pathlib import Path

from tune.cli.parser import Parser
from tune.config.prices import MODAL_ORIGIN
from tune.report.prices import STORAGE_ORIGIN, STORAGE_USD_PER_GB_MONTH, Prices


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
    parser.add_argument(
        "--no-texts", action="store_true", default=False, help="leave out all texts of pairs, to share the report"
    )
    parser.add_argument(
        "--storage-usd-per-gb-month",
        type=_price,
        default=None,
        metavar="USD",
        help=f"price of storing vectors (default: {STORAGE_USD_PER_GB_MONTH:g}, {STORAGE_ORIGIN})",
    )
    parser.add_argument(
        "--gpu-usd-per-hour",
        type=_price,
        default=None,
        metavar="USD",
        help=f"price of a GPU hour, to show what the trials cost (default: on Modal, {MODAL_ORIGIN}; else none)",
    )
    parsed = parser.parse_args(arguments)
    from tune.cli.tables import make_console
    from tune.pipeline.report import write_report

    prices = Prices(parsed.storage_usd_per_gb_month, parsed.gpu_usd_per_hour)
    written = write_report(parsed.results, parsed.to, texts=not parsed.no_texts, prices=prices)
    console = make_console()
    for name, path in (("report", written.html), ("tables", written.markdown), ("plots", written.plots)):
        console.print(f"{name:<8} {path}", markup=False, soft_wrap=True)
    return 0


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a price: give USD, such as 0.25")
    return price
