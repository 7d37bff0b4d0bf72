"""The tables of a report as plain data, shared by the page and by report.md: numbers are formatted once."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune.data.one_line import one_line
from tune.metrics.verdict import in_brackets
from tune.report.figures.stored import fair, front_of, of_winner, stored
from tune.report.prices import Prices
from tune.report.story import Line, Story

PLACES = 4
"""Decimals of an AUC or accuracy, as in the terminal."""
_MS_1 = "ms/text\nbatch 1"
_GUARD = "guard\nAUC"
_OPTIONAL = ("dims", _GUARD, _MS_1, "ms/text\nbatch 64", "USD per\nM texts")
"""Columns that only some searches have."""
_MOST = 500
"""Trials in the table of all trials; a page with thousands of rows is slow to open."""
_LONGEST = 160
"""Characters of a reason for which trials failed; the trial's own files have all of it."""


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
    """Column headings (a new line in one breaks it on the page) and rows. numeric: columns to align at the right.

    title: a heading above it. texts: columns with texts of users, which wrap, and are literal in Markdown.
    """

    columns: list[str]
    rows: list[Row]
    numeric: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)
    title: str = ""
    texts: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """Return the table as GitHub-flavoured Markdown."""
        rule = ["---:" if i in self.numeric else "---" for i in range(len(self.columns))]
        head = [[_escaped(text) for text in line] for line in (self.columns, rule)]
        body = [
            [(literal if i in self.texts else _escaped)(cell.text) for i, cell in enumerate(row.cells)]
            for row in self.rows
        ]
        table = "\n".join("| " + " | ".join(line) + " |" for line in [*head, *body])
        return f"#### {self.title}\n\n{table}" if self.title else table


def literal(text: str) -> str:
    """Return a text of a user for a line of Markdown, shown as it is: no markup, links, images or mentions."""
    plain = " ".join(text.split())
    plain = re.sub(r"[&<>|\\`*_\[\]~$#:]|(?<=\bwww)\.", lambda found: f"&#{ord(found[0])};", plain)
    # An entity is still a mention; a character that cannot be seen ends it.
    return plain.replace("@", "@\u2060")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def models(story: Story) -> Table:
    """Return the models that were scored on test, untouched ones and finalists, best by validation first.

    Columns that no model has a value for are left out. The speed is that of the models that were timed: the winner and
    the untouched open ones.
    """
    scored = [line for line in story.lines if line.get("test_auc") is not None]
    lines = [line for line in scored if not line.is_baseline] + [line for line in scored if line.is_baseline]
    by_line = [_cells(story, line) for line in lines]
    optional = {"pairs": len({line.get("train_size") for line in lines if not line.is_baseline}) > 1}
    columns = [
        name
        for name in (by_line[0] if by_line else {})
        if optional.get(name, name not in _OPTIONAL or any(cells[name].text for cells in by_line))
    ]
    rows = [
        Row([_name(story, line), *(cells[name] for name in columns)], _trial(line), str(line.get("note") or ""))
        for line, cells in zip(lines, by_line, strict=True)
    ]
    notes = list(dict.fromkeys(f"{line.base_model}: {line.get('note')}" for line in lines if line.get("note")))
    if any(_MS_1 in columns and cells[_MS_1].text for cells in by_line):
        notes.append(_speed_note(story))
    return Table(["model", *columns], rows, frozenset(range(2, len(columns) + 1)), notes)


def out_of_fold(story: Story) -> Table:
    """Return the winner and the untouched base models of a search without a test side, as they were judged."""
    judged = story.summary.get("out_of_fold") or {}
    models = {"the winner": judged, **(judged.get("bases") or {})} if judged else {}
    rows = [Row([Cell(name), _with_interval(one["auc"], one["low"], one["high"])]) for name, one in models.items()]
    notes = [one for one in (judged.get("sentence"), judged.get("reason")) if one]
    return Table(["model", "AUC out of fold [95%]"], rows, frozenset({1}), notes)


def trials(story: Story, axes: Sequence[str]) -> Table:
    """Return the trials in order of rank, the first _MOST of them, with their values of these axes."""
    names = [axis.replace("_", "\n", 1) for axis in axes]
    columns = ["rank", "trial", "status", *names, "seen", "val AUC", "test AUC", "seconds"]
    rows = []
    for place, line in enumerate(story.trained[:_MOST], 1):
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
    numeric |= {3 + i for i in range(len(axes)) if all(row.cells[3 + i].value is not None for row in rows)}
    left = len(story.trained) - len(rows)
    notes = [f"The first {len(rows)} rows; {left:,} more are in leaderboard.csv."] if left else []
    return Table(columns, rows, frozenset(numeric), notes)


def vectors(story: Story, prices: Prices) -> Table:
    """Return the front of dims and precisions; of a search that cannot claim one, the winner's vectors."""
    claimed = fair(story)
    points = front_of(stored(story)) if claimed else of_winner(story)
    points = points if len({one.bytes for one in points}) > 1 else []
    several = len({one.base_model for one in points}) > 1
    compared = any(one.lost for one in points)
    columns = [
        *(["model"] if several else []), "dims", "precision", "bytes per\nvector", "GB per M\nvectors",
        "USD per month\nand M vectors", "val AUC", "test AUC [95%]", *(["points lost\n[95%]"] if compared else []),
    ]  # fmt: skip
    rows = []
    for one in points:
        usd = one.bytes / 1e3 * prices.storage_usd
        cells = [
            Cell(str(one.dims), one.dims),
            Cell(one.precision),
            Cell(f"{one.bytes:,g}", one.bytes),
            _rounded(one.bytes / 1e3),
            _rounded(usd),
            number(one.val),
            _with_interval(one.auc, one.low, one.high),
            *([_points_lost(one.points_lost)] if compared else []),
        ]
        rows.append(Row([Cell(one.name), *cells] if several else cells, one.trial))
    first = 1 if several else 0
    numeric = frozenset({first, *range(first + 2, len(columns))})
    what = (
        "Trained vectors that beat all smaller ones on validation"
        if claimed
        else "The winner's vectors. They are not a front, since trials of this search differ in more than dims"
    )
    notes = [f"{what}. Storage of the vectors alone, {prices.storage_note}."]
    if compared:
        notes.append("Points lost: test AUC x 100, against the best float32 vectors by validation, paired.")
    return Table(columns, rows, numeric, notes)


def _points_lost(points: tuple[float, float, float] | None) -> Cell:
    if points is None:
        return Cell("")
    lost, low, high = points
    return Cell(f"{lost:z.1f} [{low:z.1f}, {high:z.1f}]", lost)


def failures(story: Story) -> Table:
    """Return the reasons for which trials failed, the most frequent first, each with a trial to look at."""
    by_reason: dict[str, list[str]] = {}
    for line in story.trained:
        if line.get("status") == "failed":
            reason = one_line(str(line.get("error") or "unknown"), _LONGEST)
            trials = by_reason.setdefault(reason, [])
            trials += [] if line.trial in trials else [line.trial]
    rows = [
        Row([Cell(reason), Cell(str(len(trials)), len(trials)), Cell(trials[0][:8])], trials[0])
        for reason, trials in sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    ]
    return Table(["why trials failed", "trials", "for example"], rows, frozenset({1}))


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
    several = len({one.get("loss") for one in story.trained}) > 1
    what = f"{line.base_model}, {line.get('loss')}" if several and not line.is_baseline else line.base_model
    return Cell(f"{what} (winner)" if won else what)


def _trial(line: Line) -> str:
    """Return the name under which details are shown on a click; "" for an untouched model, which has none."""
    return "" if line.is_baseline else line.trial


def _cells(story: Story, line: Line) -> dict[str, Cell]:
    """Return a model's cells by column, in order."""
    size, usd = line.get("bytes_per_million_vectors"), line.get("usd_per_million_texts")
    pairs = None if line.is_baseline else story.train_size(line)
    timed = (story.summary.get("latency") or {}).get("models") or {}
    speed = timed.get(f"baseline:{line.get('base_model')}" if line.is_baseline else line.trial) or {}
    return {
        "trains": Cell(line.trains),
        "pairs": Cell("" if pairs is None else f"{pairs:,}", pairs),
        "dims": _value(line.get("dims")),
        "test AUC [95%]": _with_interval(*(line.get(f"test_auc{end}") for end in ("", "_low", "_high"))),
        "accuracy": number(line.get("test_accuracy")),
        "balanced\naccuracy": number(line.get("test_hard_auc_logistic")),
        "val\nAUC": number(line.get("val_auc")),
        _GUARD: number(line.get("guard_auc")),
        "MB per M\nvectors": Cell("") if size is None else Cell(f"{size / 1e6:,.0f}", float(size)),
        _MS_1: _rounded(speed.get("ms_1")),
        "ms/text\nbatch 64": _rounded(speed.get("ms_64")),
        "USD per\nM texts": _rounded(usd),
    }


def _speed_note(story: Story) -> str:
    found = story.summary["latency"]
    texts = f" over up to {found['texts']:,} texts" if found.get("texts") else ""
    machine = found.get("machine") or "a machine that was not recorded"
    layers = any(line.trains == "layer" for line in story.trained)
    shared = " A trained layer runs its base model and one matrix product." if layers else ""
    return (
        f"Milliseconds per text at batch 1 and 64: medians{texts}, measured on {machine}. Only the winner and the"
        f" untouched open models were timed.{shared}"
    )


def _rounded(value: float | None) -> Cell:
    """Return a number with three significant digits, without an exponent."""
    if not value:
        return Cell("") if value is None else Cell("0", 0.0)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return Cell(text.rstrip("0").rstrip(".") if digits else text, float(value))


def _with_interval(value: float, low: float | None, high: float | None) -> Cell:
    return Cell(f"{value:.{PLACES}f}{in_brackets(low, high)}", float(value))


def _value(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell(str(value).lower())
    if isinstance(value, int | float):
        return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), float(value))
    return Cell("" if value is None else str(value))


def _share(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(f"{value:.0%}", float(value))
