"""Reports on one search or several, read from their results folders; and where every page is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune.data.pairs import Pairs
from tune.errors import ResultsError
from tune.pipeline.report_texts import LEFT_OUT, texts_again, texts_of
from tune.pipeline.run import Run
from tune.report.pictures import drawing_ahead
from tune.report.prices import Prices
from tune.results.layout import ResultsFolder

if TYPE_CHECKING:
    from tune.report.page import Report


@dataclass(frozen=True)
class Written:
    """Where a page was written: its file, the same tables as Markdown, and the folder of its pictures."""

    html: Path
    markdown: Path
    plots: Path


def report_on(run: Run) -> None:
    """Write the report of a search that has ended, if its configuration asks for one.

    Whatever goes wrong is reported and no more: the results are complete without it.
    """
    if not run.config.search.report:
        return
    try:
        write_report([run.folder.root], pairs=run.split.pairs)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        run.say(f"no report was written ({reason}); try: python -m tune report {run.folder.label}")


def write_report(
    folders: Sequence[Path],
    to: Path | None = None,
    *,
    texts: bool = True,
    pairs: Pairs | None = None,
    prices: Prices | None = None,
) -> Written:
    """Write the report that `make_report` returns.

    to: the folder to write to, made if missing; by default the results folder itself, or `compared` in the first of
    several. Raises ResultsError if a folder holds no results, or the target cannot be written.
    """
    target = to or (folders[0] if len(folders) == 1 else folders[0] / "compared")
    with drawing_ahead():
        report = make_report(folders, texts=texts, pairs=pairs, prices=prices)
        return write_page(report.write, target, "report")


def make_report(
    folders: Sequence[Path], *, texts: bool = True, pairs: Pairs | None = None, prices: Prices | None = None
) -> "Report":
    """Return the report on these results; with several, they are compared on one page.

    texts: whether to show texts of pairs. pairs: those of the only search, if they are at hand; otherwise they are read
    again, if they are on this machine and as the search saw them. prices: of storage and GPUs, list prices by default.
    Raises ResultsError if a folder holds no results.
    """
    # Late: Altair and Vega take a second to import, after a search that may have failed before.
    from tune.report.errors import Texts, wanted
    from tune.report.page import Report
    from tune.report.story import Story, read_story

    def shown(story: Story) -> Texts:
        if not texts:
            return Texts(note=LEFT_OUT)
        rows = wanted(story)
        return Texts(texts_of(pairs, rows)) if pairs is not None else Texts(*texts_again(story.folder, rows))

    stories = [read_story(ResultsFolder(folder)) for folder in folders]
    return Report.of(stories, [shown(story) for story in stories], prices)


def write_page(write: Callable[[Path, Path, Path], None], to: Path, name: str) -> Written:
    """Write NAME.html, NAME.md and plots/ into a folder, made if missing. Raises ResultsError if that cannot be done.

    write: takes the three paths, as `Document.write` does.
    """
    written = Written(to / f"{name}.html", to / f"{name}.md", to / "plots")
    try:
        to.mkdir(parents=True, exist_ok=True)
        write(written.html, written.markdown, written.plots)
    except OSError as error:
        raise ResultsError(f"cannot write {name}.html to {to} ({error.strerror}); choose another --to") from None
    return written
