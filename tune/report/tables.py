"""The tables of a report as plain data, shared by the page and by report.md: numbers are formatted once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune.report.story import Line, Story

PLACES = 4
"""Decimals of an AUC or accuracy, as in the terminal."""


@dataclass(frozen=True)
class Cell:
    """A cell: what is shown, and the number to sort by (None sorts last; text sorts by itself)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of cells, in the order of the table's columns. trial: its name, for details on a click; "" for none."""

    cells: list[Cell]
    trial: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Column headings and rows. numeric: columns to align at the right."""

    columns: list[str]
    rows: list[Row]
    numeric: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table as GitHub-flavoured Markdown."""
        rule = ["---:" if i in self.numeric else "---" for i in range(len(self.columns))]
        lines = [self.columns, rule, *([cell.text for cell in row.cells] for row in self.rows)]
        return "\n".join("| " + " | ".join(_escaped(text) for text in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def models(story: Story) -> Table:
    """Return the models that were scored on test, untouched ones and finalists, best by validation first."""
    scored = [line for line in story.lines if line.get("test_auc") is not None]
    lines = [line for line in scored if not line.is_baseline] + [line for line in scored if line.is_baseline]
    sized = len({line.get("train_size") for line in lines if not line.is_baseline}) > 1
    columns = (
        "model", "trains", *(("pairs",) if sized else ()), "dims", "test AUC [95%]", "accuracy", "balanced accuracy",
        "val AUC", "MB per M vectors", "USD per M texts",
    )  # fmt: skip
    rows = [
        Row([_name(story, line), *_cells(story, line, sized)], line.trial, str(line.get("note") or ""))
        for line in lines
    ]
    notes = list(dict.fromkeys(f"{line.base_model}: {line.get('note')}" for line in lines if line.get("note")))
    return Table(list(columns), rows, frozenset(range(2, len(columns))), notes)


def out_of_fold(story: Story) -> Table:
    """Return the winner and the untouched base models of a search without a test side, as they were judged."""
    judged = story.summary.get("out_of_fold") or {}
    models = {"the winner": judged, **(judged.get("bases") or {})} if judged else {}
    rows = [Row([Cell(name), _with_interval(one["auc"], one["low"], one["high"])]) for name, one in models.items()]
    notes = [one for one in (judged.get("sentence"), judged.get("reason")) if one]
    return Table(["model", "AUC out of fold [95%]"], rows, frozenset({1}), notes)


def trials(story: Story, axes: Sequence[str]) -> Table:
    """Return every trial in order of rank, with its values of these axes."""
    columns = ["rank", "trial", "status", *axes, "seen", "val AUC", "test AUC", "seconds"]
    rows = []
    for place, line in enumerate(story.trained, 1):
        rank = line.get("rank") or (None if story.finished else place)
        cells = [
            Cell("" if rank is None else str(rank), rank),
            Cell(line.trial[:8] + (f" @{line.get('dims')}" if line.get("matryoshka") else "")),
            Cell(str(line.get("status") or "")),
            *(_value(line.get(axis)) for axis in axes),
            _share(line.get("budget")),
            number(line.get("val_auc")),
            number(line.get("test_auc")),
            number(line.get("seconds"), 1),
        ]
        rows.append(Row(cells, line.trial, str(line.get("error") or "")))
    numeric = {0, *range(3 + len(axes), len(columns))}
    return Table(columns, rows, frozenset(numeric))


def facts(pairs: Mapping[str, Any]) -> Table:
    """Return a table of names and values, without empty ones."""
    return Table(
        ["", ""], [Row([Cell(name), Cell(str(value))]) for name, value in pairs.items() if value not in ("", None)]
    )


def number(value: float | None, places: int = PLACES) -> Cell:
    """Return a number as a cell; an empty one for None."""
    return Cell("") if value is None else Cell(f"{value:.{places}f}", float(value))


def _name(story: Story, line: Line) -> Cell:
    won = not line.is_baseline and story.winner is not None and line.trial == story.winner.trial
    what = line.base_model if line.is_baseline else f"{line.base_model}, {line.get('loss')}"
    return Cell(f"{what} (winner)" if won else what)


def _cells(story: Story, line: Line, sized: bool) -> list[Cell]:
    size = line.get("bytes_per_million_vectors")
    pairs = None if line.is_baseline else story.train_size(line)
    return [
        Cell(line.trains),
        *([Cell("" if pairs is None else f"{pairs:,}", pairs)] if sized else []),
        _value(line.get("dims")),
        _with_interval(*(line.get(f"test_auc{end}") for end in ("", "_low", "_high"))),
        number(line.get("test_accuracy")),
        number(line.get("test_hard_auc_logistic")),
        number(line.get("val_auc")),
        Cell("", None) if size is None else Cell(f"{size / 1e6:,.0f}", float(size)),
        Cell("", None) if (usd := line.get("usd_per_million_texts")) is None else Cell(f"{usd:.3g}", float(usd)),
    ]


def _with_interval(value: float, low: float | None, high: float | None) -> Cell:
    interval = "" if low is None or high is None else f" [{low:.{PLACES}f}, {high:.{PLACES}f}]"
    return Cell(f"{value:.{PLACES}f}{interval}", float(value))


def _value(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell(str(value).lower())
    if isinstance(value, int | float):
        return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), float(value))
    return Cell("" if value is None else str(value))


def _share(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(f"{value:.0%}", float(value))
