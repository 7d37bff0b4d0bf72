"""`python -m tune explore`: labelled pairs alone, before any search, in the terminal and as an offline page."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tune.cli.options import plain_request
from tune.cli.parser import Parser, add_options
from tune.config.search import OPTIONS
from tune.data.one_line import one_line

if TYPE_CHECKING:
    from tune.pipeline.report import Written
    from tune.report.explore.findings import Findings, ShownPair

_SHOWN = 3
"""Groups of contradicting pairs in the terminal; the page has more."""
_LONGEST = 110
"""Characters of a text in the terminal."""


def explore(arguments: list[str]) -> int:
    """Run `python -m tune explore`."""
    parser = Parser(
        prog="python -m tune explore",
        description="Show what is in labelled pairs before any search: counts, lengths, the AUC of word overlap alone,"
        " contradictions, and how small a difference between models these pairs can show. Test pairs are neither scored"
        " nor shown.",
        common=("data", "base_model", "to", "no_texts", "text_a", "text_b", "label", "split_column", "split"),
    )
    parser.add_argument(
        "--to", type=Path, default=Path("explore"), metavar="DIR",
        help="folder for explore.html, explore.md and plots/ (default: explore)",
    )  # fmt: skip
    parser.add_argument("--no-texts", action="store_true", default=False, help="leave out all texts, to share the page")
    parser.add_argument(
        "--base-model", metavar="MODEL,...", help="open base models to score the pairs with, untouched (default: none)"
    )
    of_data = {name for name, (table, _) in OPTIONS.items() if table == "data" and name != "guard"}
    add_options(parser, {"seed", "folds", "cache", "trust_remote_code", *of_data})
    config, parsed = plain_request(parser, arguments)
    base_models = config.base_models if hasattr(parsed, "base_model") else ()
    from tune.cli.display import SearchDisplay
    from tune.errors import DataError
    from tune.pipeline.explore import explore_pairs, write_findings

    if base_models:
        from tune.cli.loading import no_weight_bars

        no_weight_bars()
    with SearchDisplay() as display:
        found = explore_pairs(config, base_models, not parsed.no_texts, display.emit)
        written = write_findings(found, parsed.to)
    show_findings(found, written, display.console)
    if found.problem:
        raise DataError(found.problem)
    return 0


def show_findings(found: "Findings", written: "Written", console: Console) -> None:
    """Print what was found, in the order of the page."""
    from tune.metrics.verdict import counted
    from tune.report.explore.sentences import answer

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    def line(name: str, value: str) -> None:
        if value:
            say(f"{name:<9} {value}")

    synthetic = " (synthetic data)" if found.synthetic else ""
    say("")
    line("data", found.source + synthetic)
    for name, value in found.facts.items():
        line(name, value)
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in found.dropped.items())
    line("rows", f"{found.read:,} read, {found.kept:,} kept" + (f" (dropped: {dropped})" if dropped else ""))
    for side in found.sides:
        share = f"{side.positive:,} positive ({side.positive / max(side.pairs, 1):.0%})"
        line(side.name, f"{side.pairs:,} pairs, {share}, {counted(side.components, 'component')}")
    lengths = found.lengths
    cut = "" if lengths.limit is None else f"; {lengths.cut:,} of {lengths.texts:,} texts are cut, at {lengths.limit:,}"
    line("lengths", f"{lengths.unit}: median {lengths.median:,.0f}, 95% at most {lengths.long:,.0f}{cut}")
    mean, what = found.overlap.mean, found.overlap.what
    line(
        "overlap", f"positive pairs share {mean['positive']:.0%} of their {what}, negative ones {mean['negative']:.0%}"
    )
    linked = found.components
    largest = counted(linked.largest, "pair")
    line("linked", f"{counted(linked.count, 'component')} of pairs that share texts; the largest has {largest}")
    say("")
    _show_tables(found, console)
    _show_conflicts(found, console)
    say("")
    # The problem comes last, as an error.
    for sentence in answer(found):
        if not (found.problem and found.problem in sentence):
            say(sentence)
    say(found.scope)
    say("")
    for name, path in (("page", written.html), ("tables", written.markdown), ("plots", written.plots)):
        line(name, str(path))


def _show_tables(found: "Findings", console: Console) -> None:
    from tune.report.explore.sentences import points

    table = Table(title=f"untouched models on {found.judged}", title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "AUC [95% interval]", "pairs"):
        table.add_column(heading, justify="right" if heading == "pairs" else "left", no_wrap=True)
    for one in found.scores:
        table.add_row(one.name, one.described(), f"{one.pairs:,}")
    console.print(table)
    console.print()
    title = "smallest difference between two models, in points of AUC"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("on", "pairs", "components", "clear at 95%", "detected 4 times in 5"):
        table.add_column(heading, justify="left" if heading == "on" else "right", no_wrap=True)
    for on in found.resolved:
        table.add_row(on.side, f"{on.pairs:,}", f"{on.components:,}", points(on.difference), points(on.found))
    console.print(table)


def _show_conflicts(found: "Findings", console: Console) -> None:
    """Print how many pairs contradict each other, and a few of them."""
    from tune.report.explore.sentences import near_line, same_line

    shown = min(len(found.near.shown), _SHOWN)
    for said, conflicts in ((same_line(found), found.contradicting), (near_line(found, shown), found.near)):
        if said:
            console.print(f"\n{said}", markup=False, soft_wrap=True)
        for group in conflicts.shown[:_SHOWN]:
            for pair in group:
                console.print(f"  {_short(pair)}", markup=False, soft_wrap=True)
            console.print()


def _short(pair: "ShownPair") -> str:
    return f"{pair.label}  {one_line(pair.text_a, _LONGEST)}  |  {one_line(pair.text_b, _LONGEST)}  (row {pair.row})"
