"""The report on one search or several: what is asked of a search, in order, as sections of a page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tune.report import facts, tables
from tune.report.challenge import challenge
from tune.report.crossings import crossings_table
from tune.report.document import Document, Page, Section
from tune.report.errors import Texts, errors
from tune.report.figures.axes import importances, slices
from tune.report.figures.dims import dims
from tune.report.figures.parallel import parallel
from tune.report.figures.roc import precision_recall, roc
from tune.report.figures.separation import histograms, reliability
from tune.report.figures.sizes import sizes
from tune.report.figures.spent import paid, statuses
from tune.report.figures.trials import best_so_far, curves, timeline
from tune.report.guard import forgotten, guard
from tune.report.prices import Prices
from tune.report.scored import side_of
from tune.report.story import Story
from tune.report.tables import Table
from tune.report.theme import Figure

_AXES = (
    "base_model",
    "freeze",
    "train",
    "side",
    "dims",
    "loss",
    "learning_rate",
    "train_size",
    "batch_size",
    "epochs",
    "bias",
)


@dataclass(frozen=True)
class Report:
    """A report on one search, or on several compared."""

    stories: list[Story]
    pages: list[Page]

    @classmethod
    def of(cls, stories: Sequence[Story], texts: Sequence[Texts] = (), prices: Prices | None = None) -> "Report":
        """Make the report. With several stories, the figure of training pairs shows all of them.

        texts: of the pairs of each story, for the errors worth reading; without any, rows are shown by number. prices:
        list prices by default.
        """
        handed = list(texts) or [Texts() for _ in stories]
        pages = [_page(number, stories, one, prices or Prices()) for number, one in enumerate(handed)]
        return cls(list(stories), pages)

    def write(self, html: Path, markdown: Path, plots: Path) -> None:
        """Write the page, the tables as Markdown, and every figure as SVG and PNG in both modes."""
        self.document().write(html, markdown, plots)

    def html(self) -> str:
        """Return the page."""
        return self.document().html()

    def markdown(self) -> str:
        """Return the answers and tables as Markdown."""
        return self.document().markdown()

    def document(self) -> Document:
        """Return all that is written."""
        trials = {
            f"{page.id}:{name}": entry
            for page, story in zip(self.pages, self.stories, strict=True)
            for name, entry in _details(story, page).items()
        }
        return Document(self._title(), self._subtitle(), self.pages, trials)

    def _title(self) -> str:
        names = [story.name for story in self.stories]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    def _subtitle(self) -> str:
        sources = dict.fromkeys(str(story.data.get("source")) for story in self.stories)
        synthetic = " (synthetic data)" if any(story.data.get("synthetic") for story in self.stories) else ""
        return f"embedtune, on {', '.join(sources)}{synthetic}"


def _page(number: int, stories: Sequence[Story], texts: Texts, prices: Prices) -> Page:
    story = stories[number]
    compared = list(stories) if number == 0 else [story]
    varied = [axis for axis in _AXES if len({str(line.get(axis)) for line in story.trained}) > 1]
    sections = [
        Section("models", "Models", tables=_filled(tables.models(story), tables.out_of_fold(story))),
        challenge(story),
        Section("pairs", "How many pairs", figures=_found(sizes(compared)), tables=_filled(crossings_table(compared))),
        Section("dims", "How many dims", figures=_found(dims(story)), tables=_filled(tables.vectors(story, prices))),
        Section("scores", "Before and after training", figures=_separation(story)),
        Section(
            "search",
            "The search",
            figures=_search(story, prices),
            tables=_filled(tables.failures(story)),
        ),
        errors(story, texts),
        guard(story),
        Section("trials", "Trials", tables=_filled(tables.trials(story, varied))),
        Section("data", "Data", tables=_filled(tables.facts(facts.data(story)))),
        Section("configuration", "Configuration", tables=_filled(tables.facts(facts.configuration(story)))),
        Section("provenance", "Provenance", tables=_filled(tables.facts(facts.provenance(story)))),
    ]
    kept = [one for one in sections if one.figures or one.tables or one.lines]
    return Page(f"s{number}", story.name, [*facts.answer(story), *forgotten(story)], facts.cost(story, prices), kept)


def _search(story: Story, prices: Prices) -> list[Figure]:
    """Return the figures of the search itself: what was tried, what it took, and which settings mattered."""
    best = _found(best_so_far(story), paid(story, prices))
    if len(best) > 1:
        best = [replace(figure, half=True) for figure in best]
    spent = [statuses(story), *best, timeline(story)]
    return _found(curves(story), *spent, parallel(story), importances(story), slices(story))


def _separation(story: Story) -> list[Figure]:
    """Return the figures of the scores of test, or out of fold of a search that has none."""
    side = side_of(story, ("test", "folds"))
    return [draw(story, side) for draw in (histograms, roc, precision_recall, reliability)] if side else []


def _found(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _filled(*found: Table) -> list[Table]:
    return [table for table in found if table.rows]


def _details(story: Story, page: Page) -> dict[str, Any]:
    """Return what a click on a trial's row shows: its configuration, and the command that writes its model."""
    rows = {row.trial for section in page.sections for table in section.tables for row in table.rows}
    found = {}
    for line in story.trained:
        if line.trial not in rows:
            continue
        shown = [f"{name} = {value}" for name, value in line.values.items() if not name.startswith("over_")]
        command = f"python -m tune export {shlex.quote(story.folder.label)} --trial {line.trial[:8]} --to model"
        found[line.trial] = {"config": "\n".join(shown), "export": command}
    return found
