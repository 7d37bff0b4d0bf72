"""What a search would read, in seconds and without a model: columns, label meaning with examples, rows, sides."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tune.config.search import SearchConfig
from tune.data.clean import clean_pairs
from tune.data.pairs import Pairs, check_data, read_pairs
from tune.data.sides import SIDES
from tune.data.split import Split, split_pairs
from tune.errors import DataError
from tune.pipeline.pairs import NOT_DROPPED

EXAMPLES = 3
"""Pairs of each label that are shown."""


@dataclass(frozen=True)
class DataReport:
    """What was recognised. labels: which values are positive, in words. rows: counts, as `clean_pairs` returns them.

    dropped: those of rows that are dropped, and with --split cut also `crossing`. hint: as in `Pairs`. sides: pairs and
    positives by side; None if the pairs cannot be split. problem: why not, or "". examples: pairs of texts as written,
    by "positive" and "negative".
    """

    source: str
    hint: str
    columns: dict[str, Any]
    labels: str
    scores: str
    rows: dict[str, int]
    dropped: dict[str, int]
    sides: dict[str, dict[str, int]] | None
    problem: str
    examples: dict[str, list[tuple[str, str]]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return asdict(self)


@dataclass(frozen=True)
class ReadPairs:
    """Pairs as read, and as cleaned with counts of rows; split as a search would, or why they cannot be split."""

    raw: Pairs
    pairs: Pairs
    rows: dict[str, int]
    split: Split | None
    problem: str


def report_data(config: SearchConfig) -> DataReport:
    """Read, clean and split the pairs. Raises DataError if they cannot be read; `problem` says what else is wrong."""
    return report_on_pairs(read_and_split(config))


def read_and_split(config: SearchConfig) -> ReadPairs:
    """Return the pairs of a configuration at all three stages. Raises DataError if they cannot be read or cleaned."""
    check_data(config.data)
    raw = read_pairs(config.data)
    pairs, rows = clean_pairs(raw)
    try:
        split = split_pairs(pairs, config.search.seed, config.data.split, config.search.folds)
    except DataError as error:
        return ReadPairs(raw, pairs, rows, None, str(error))
    return ReadPairs(raw, pairs, rows, split, "")


def report_on_pairs(found: ReadPairs) -> DataReport:
    """Return what was recognised in pairs."""
    raw, rows, split = found.raw, found.rows, found.split
    dropped = {reason: n for reason, n in rows.items() if n and reason not in NOT_DROPPED}
    sides = None
    if split is not None:
        if crossing := split.counts["crossing_dropped"]:
            dropped["crossing"] = crossing
        at = {side: split.side == side for side in SIDES}
        label = split.pairs.label
        sides = {
            side: {"pairs": int(rows_of.sum()), "positive": int(label[rows_of].sum())} for side, rows_of in at.items()
        }
    return DataReport(
        source=raw.source,
        hint=raw.hint,
        columns=raw.columns.__dict__,
        labels=raw.meaning.text,
        scores="" if raw.scale is None else raw.scale.described(),
        rows=rows,
        dropped=dropped,
        sides=sides,
        problem=found.problem,
        examples={
            name: [(found.pairs.text_a[at], found.pairs.text_b[at]) for at in examples(found.pairs, label)]
            for label, name in ((1, "positive"), (0, "negative"))
        },
    )


def examples(pairs: Pairs, label: int) -> Iterator[int]:
    """Yield indices of pairs of a label, spread over the data: files are often sorted, so first rows are alike."""
    found = np.flatnonzero(pairs.label == label)
    yield from found[np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int)].tolist()
