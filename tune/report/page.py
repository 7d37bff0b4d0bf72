"""report.html, report.md and the pictures of a report: one set of figures and tables, written three ways.

The page is one file that loads nothing: Vega is inside it once. The figures of the page and the pictures are the same
specifications, so they cannot disagree.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment
from markupsafe import Markup

from tune.files import replace_atomic, write_atomic
from tune.report import facts, tables
from tune.report.figures.axes import importances, slices
from tune.report.figures.dims import dims
from tune.report.figures.sizes import sizes
from tune.report.figures.trials import best_so_far, curves, timeline
from tune.report.story import Story
from tune.report.tables import Table
from tune.report.theme import MODES, Figure, config

_EXPORTS = "window.vegaEmbed = vegaEmbed;"
"""What the page uses of the bundled libraries."""
_SCALE = 2
"""Pixels of a PNG per unit of a figure."""
_AXES = ("base_model", "freeze", "train", "dims", "loss", "learning_rate", "train_size", "batch_size", "epochs")


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading. Empty ones are left out."""

    id: str
    heading: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """The report on one search, in the order in which people ask."""

    id: str
    name: str
    answer: list[str]
    cost: str
    sections: list[Section]

    @property
    def figures(self) -> list[Figure]:
        """All figures, in order."""
        return [figure for section in self.sections for figure in section.figures]


@dataclass(frozen=True)
class Report:
    """A report on one search, or on several compared."""

    stories: list[Story]
    pages: list[Page]

    @classmethod
    def of(cls, stories: Sequence[Story]) -> "Report":
        """Make the report. With several stories, the figure of training pairs shows all of them."""
        return cls(list(stories), [_page(number, story, stories) for number, story in enumerate(stories)])

    def write(self, html: Path, markdown: Path, plots: Path) -> None:
        """Write the page, the tables as Markdown, and every figure as SVG and PNG in both modes."""
        write_atomic(html, self.html())
        write_atomic(markdown, self.markdown())
        plots.mkdir(exist_ok=True)
        for stale in plots.glob("*"):
            # Of an earlier report, which may have had other figures.
            if re.fullmatch(rf".+-({'|'.join(MODES)})\.(svg|png)", stale.name):
                stale.unlink()
        for page in self.pages:
            prefix = "" if len(self.pages) == 1 else f"{page.id}-"
            for figure in page.figures:
                for mode in MODES:
                    _write_pictures(plots / f"{prefix}{figure.name}-{mode}", figure.spec(mode))

    def html(self) -> str:
        """Return the page."""
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(_template("report.html.jinja"))
        data = {
            "figures": {f"{page.id}-{figure.name}": figure.spec() for page in self.pages for figure in page.figures},
            "room": {f"{page.id}-{figure.name}": figure.room for page in self.pages for figure in page.figures},
            "config": {mode: config(mode) for mode in MODES},
            "trials": {
                f"{page.id}:{name}": entry
                for page, story in zip(self.pages, self.stories, strict=True)
                for name, entry in _details(story).items()
            },
        }
        return template.render(
            title=self._title(),
            subtitle=self._subtitle(),
            pages=self.pages,
            bundle=Markup(_bundle()),
            # "<" never appears in the page's JSON, so that no text can end the script.
            data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
            script=Markup(_template("report.js")),
        )

    def markdown(self) -> str:
        """Return the answers and tables as Markdown."""
        parts = [f"# {self._title()}"]
        for page in self.pages:
            parts += [f"## {page.name}"] if len(self.pages) > 1 else []
            parts += [*page.answer, page.cost] if page.cost else page.answer
            for section in page.sections:
                findings = [f"{figure.title} ({figure.subtitle})." for figure in section.figures]
                shown = [table.markdown() for table in section.tables]
                notes = [note for table in section.tables for note in table.notes]
                parts += [f"### {section.heading}", *findings, *shown, *notes]
        return "\n\n".join(parts) + "\n"

    def _title(self) -> str:
        names = [story.name for story in self.stories]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    def _subtitle(self) -> str:
        sources = dict.fromkeys(str(story.data.get("source")) for story in self.stories)
        synthetic = " (synthetic data)" if any(story.data.get("synthetic") for story in self.stories) else ""
        return f"embedtune, on {', '.join(sources)}{synthetic}"


def _page(number: int, story: Story, stories: Sequence[Story]) -> Page:
    compared = list(stories) if number == 0 else [story]
    varied = [axis for axis in _AXES if len({str(line.get(axis)) for line in story.trained}) > 1]
    sections = [
        Section("models", "Models", tables=_filled(tables.models(story), tables.out_of_fold(story))),
        Section("pairs", "How many pairs", figures=_found(sizes(compared))),
        Section("dims", "How many dims", figures=_found(dims(story))),
        Section(
            "search",
            "The search",
            figures=_found(curves(story), best_so_far(story), importances(story), slices(story), timeline(story)),
        ),
        Section("trials", "Trials", tables=_filled(tables.trials(story, varied))),
        Section("data", "Data", tables=_filled(tables.facts(facts.data(story)))),
        Section("provenance", "Provenance", tables=_filled(tables.facts(facts.provenance(story)))),
    ]
    kept = [one for one in sections if one.figures or one.tables]
    return Page(f"s{number}", story.name, facts.answer(story), facts.cost(story), kept)


def _found(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _filled(*found: Table) -> list[Table]:
    return [table for table in found if table.rows]


def _details(story: Story) -> dict[str, Any]:
    """Return for every trial what a click on it shows: its configuration, and the command that writes its model."""
    found = {}
    for line in story.trained:
        shown = [f"{name} = {value}" for name, value in line.values.items() if not name.startswith("over_")]
        command = f"python -m tune export {shlex.quote(story.folder.label)} --trial {line.trial[:8]} --to model"
        found[line.trial] = {"config": "\n".join(shown), "export": command}
    return found


def _write_pictures(stem: Path, spec: dict[str, Any]) -> None:
    svg = vl_convert.vegalite_to_svg(spec)
    png = vl_convert.svg_to_png(svg, scale=_SCALE)
    write_atomic(stem.with_name(f"{stem.name}.svg"), svg)
    replace_atomic(stem.with_name(f"{stem.name}.png"), lambda part: part.write_bytes(png))


@cache
def _bundle() -> str:
    """Return Vega and what it needs as one script."""
    return vl_convert.javascript_bundle(_EXPORTS).replace("</script", "<\\/script")


def _template(name: str) -> str:
    return (files("tune.report") / "templates" / name).read_text(encoding="utf-8")
