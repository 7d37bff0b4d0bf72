"""A page of figures and tables, written three ways: one file of HTML, Markdown, and pictures of every figure.

The page loads nothing: Vega is inside it once. The figures of the page and the pictures are the same specifications, so
they cannot disagree.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from tune.files import write_atomic
from tune.metrics.verdict import as_sentence
from tune.report.drawing import check_drawing
from tune.report.pictures import bundle, drawing
from tune.report.tables import Table, literal
from tune.report.theme import MODES, Figure, config


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading. Empty ones are left out. lines: sentences under the heading."""

    id: str
    heading: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """What is said about one subject, in the order in which people ask: the answer in sentences, then sections."""

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
class Document:
    """Pages under one title. trials: "PAGE:TRIAL" -> what a click on a row of that trial shows."""

    title: str
    subtitle: str
    pages: Sequence[Page]
    trials: Mapping[str, Any] = field(default_factory=dict)

    def write(self, html: Path, markdown: Path, plots: Path) -> None:
        """Write the page, the tables as Markdown, and every figure as SVG and PNG in both modes.

        Raises UserError as `html` does, before anything is written.
        """
        check_drawing()
        specs = self._pictured()
        with drawing(list(specs.values())) as pictures:
            write_atomic(html, self.html())
            write_atomic(markdown, self.markdown())
            plots.mkdir(exist_ok=True)
            for stale in plots.glob("*"):
                # Of an earlier report, which may have had other figures.
                if re.fullmatch(rf".+-({'|'.join(MODES)})\.(svg|png)", stale.name):
                    stale.unlink()
            for name, (svg, png) in zip(specs, pictures.drawn(), strict=True):
                write_atomic(plots / f"{name}.svg", svg)
                write_atomic(plots / f"{name}.png", png)

    def _pictured(self) -> dict[str, dict[str, Any]]:
        """Return the specification of every picture by the name of its files."""
        return {
            f"{'' if len(self.pages) == 1 else f'{page.id}-'}{figure.name}-{mode}": figure.spec(mode)
            for page in self.pages
            for figure in page.figures
            for mode in MODES
        }

    def html(self) -> str:
        """Return the page. Raises UserError if Vega, which it holds, cannot run here."""
        check_drawing()
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(_template("report.html.jinja"))
        data = {
            "figures": {f"{page.id}-{figure.name}": figure.spec() for page in self.pages for figure in page.figures},
            "room": {f"{page.id}-{figure.name}": figure.room for page in self.pages for figure in page.figures},
            "config": {mode: config(mode) for mode in MODES},
            "trials": dict(self.trials),
        }
        return template.render(
            title=self.title,
            subtitle=self.subtitle,
            pages=self.pages,
            bundle=Markup(bundle()),
            # "<" never appears in the page's JSON, so that no text can end the script.
            data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
            script=Markup(_template("report.js")),
        )

    def markdown(self) -> str:
        """Return the answers and tables as Markdown."""
        parts = [f"# {self.title}", literal(self.subtitle)]
        for page in self.pages:
            parts += [f"## {page.name}"] if len(self.pages) > 1 else []
            parts += [*page.answer, page.cost] if page.cost else page.answer
            for section in page.sections:
                findings = [f"**{figure.title}.** {as_sentence(figure.subtitle)}" for figure in section.figures]
                shown = [table.markdown() for table in section.tables]
                notes = [note for table in section.tables for note in table.notes]
                parts += [f"### {section.heading}", *section.lines, *findings, *shown, *notes]
        return "\n\n".join(parts) + "\n"


def _template(name: str) -> str:
    return (files("tune.report") / "templates" / name).read_text(encoding="utf-8")
