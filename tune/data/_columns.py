"""Which column is which, and what its values mean: texts, labels, sides.

Column names are compared without case, spaces, underscores and hyphens. Opens no file; every error is a one-line
DataError that shows the offending names or values.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tune.config.data import DataConfig
from tune.errors import DataError

_NUMBERED = [(f"{word}{a}", f"{word}{b}") for word in (
    "text", "sentence", "question", "title", "sent", "string", "s", "q"
) for a, b in (("1", "2"), ("a", "b"), ("0", "1"))]  # fmt: skip
_ROLES = [
    ("query", "document"), ("query", "doc"), ("query", "passage"), ("query", "answer"), ("query", "positive"),
    ("question", "answer"), ("question", "passage"), ("question", "document"), ("anchor", "positive"),
    ("anchor", "pos"), ("query", "pos"), ("question", "positive"), ("question", "pos"),
    ("premise", "hypothesis"), ("ticket", "article"), ("left", "right"), ("a", "b"),
]  # fmt: skip
PAIR_NAMES: tuple[tuple[str, str], ...] = (*_NUMBERED, *_ROLES)
LABEL_NAMES: tuple[str, ...] = (
    "label", "labels", "isduplicate", "duplicate", "relevant", "isrelevant", "relevance", "match", "ismatch",
    "similar", "score", "similarity", "similarityscore", "goldlabel", "gold", "target", "class", "y",
)  # fmt: skip
_DOCUMENTS = ("document", "doc", "passage")
_POSITIVES = ("positive", "pos")
_NEGATIVE = re.compile(r"neg(?:ative)?s?\d*")

_SIDE_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_EVAL = ("eval", "evaluation")


@dataclass(frozen=True)
class Columns:
    """Column names as written in the source.

    label: the column that labels come from, which may be `score`; None for anchor/positive data (all pairs are 1), and
    if there is a score but nothing that makes it a label.
    """

    text_a: str
    text_b: str
    label: str | None = None
    split: str | None = None
    score: str | None = None

    @property
    def query_document(self) -> bool:
        """Whether the names are query and document, so that a base model's own two prompts apply."""
        return _key(self.text_a) == "query" and _key(self.text_b) in _DOCUMENTS

    def names(self) -> list[str]:
        """Return the distinct names in use."""
        found = (self.text_a, self.text_b, self.label, self.split, self.score)
        return list(dict.fromkeys(name for name in found if name is not None))


def find_columns(names: Sequence[str], config: DataConfig, where: str) -> Columns:
    """Return the columns to read out of `names`. Names given in the config win over the usual names.

    Raises DataError if a column is missing (and lists those present), appears twice, or if several usual pairs of names
    match.
    """
    text_a, text_b = _find_pair(names, config, where)
    score = _given(names, config.score, "--score", where)
    label = _find_label(names, config, (text_a, text_b), score, where)
    if label is None and score is None and _key(text_b) not in _POSITIVES:
        raise DataError(f"{where}: no label column found among {_listed(names)}: name it with --label")
    split = _given(names, config.split_column, "--split-column", where)
    columns = Columns(text_a, text_b, label, split, score)
    purposes = (text_a, text_b, split, score, None if label == score else label)
    if len(columns.names()) < sum(name is not None for name in purposes):
        raise DataError(
            f"{where}: one column is given for two purposes ({', '.join(columns.names())}): give each column once"
        )
    twice = [name for name in columns.names() if list(names).count(name) > 1]
    if twice:
        raise DataError(f"{where}: column {show(twice[0])} appears twice: rename one of them")
    return columns


def negative_columns(names: Sequence[str], columns: Columns) -> list[str]:
    """Return the columns of texts that do not belong to the first text, if the rows are triplets without labels."""
    if columns.label is not None or columns.score is not None or _key(columns.text_b) not in _POSITIVES:
        return []
    return [name for name in names if _NEGATIVE.fullmatch(_key(name)) and name not in columns.names()]


def is_usual(name: str) -> bool:
    """Return whether texts, labels or negatives usually have this name."""
    key = _key(name)
    return key in LABEL_NAMES or any(key in pair for pair in PAIR_NAMES) or _NEGATIVE.fullmatch(key) is not None


def has_label(names: Sequence[str], config: DataConfig) -> bool:
    """Return whether one of these columns may hold labels: a usual name, --label or --score."""
    given = [_key(name) for name in (config.label, config.score) if name is not None]
    return any(_key(name) in (given or LABEL_NAMES) for name in names)


def _find_label(
    names: Sequence[str], config: DataConfig, texts: tuple[str, str], score: str | None, where: str
) -> str | None:
    """Return the label's column. With --positive-from, that is the score's, if there is one."""
    label = _given(names, config.label, "--label", where)
    if score is not None and config.positive_from is not None:
        if label not in (None, score):
            raise DataError(
                f"{where}: --positive-from could mean {show(score)} (--score) or {show(label)} (--label): leave out"
                " --label for labels by the score, or --positive-from for labels from that column"
            )
        return score
    if label is not None:
        return None if label == score else label
    except_for = texts if score is None else (*texts, score)
    return next((found for key in LABEL_NAMES for found in _named(names, key, except_for)), None)


def _find_pair(names: Sequence[str], config: DataConfig, where: str) -> tuple[str, str]:
    given_a = _given(names, config.text_a, "--text-a", where)
    given_b = _given(names, config.text_b, "--text-b", where)
    if given_a is not None and given_b is not None:
        return given_a, given_b
    found = {
        (a, b)
        for key_a, key_b in PAIR_NAMES
        for a in ([given_a] if given_a is not None else _named(names, key_a))
        for b in ([given_b] if given_b is not None else _named(names, key_b))
        if _key(a) == key_a and _key(b) == key_b
    }
    if len(found) == 1:
        return found.pop()
    if found:
        shown = " or ".join(f"{a}/{b}" for a, b in sorted(found)[:3])
        raise DataError(f"{where}: the text columns could be {shown}: choose with --text-a and --text-b")
    raise DataError(
        f"{where}: no pair of text columns found among {_listed(names)}: name them with --text-a and --text-b"
        " (the first line of a csv or tsv must contain the column names)"
    )


def _given(names: Sequence[str], name: str | None, flag: str, where: str) -> str | None:
    if name is None:
        return None
    found = [name] if name in names else _named(names, _key(name))
    if len(found) != 1:
        raise DataError(f"{where}: no column {show(name)} ({flag}): choose from {_listed(names)}")
    return found[0]


def _named(names: Iterable[str], key: str, except_for: Sequence[str] = ()) -> list[str]:
    return [name for name in dict.fromkeys(names) if _key(name) == key and name not in except_for]


def _key(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in " _-\t\ufeff")


def show(value: object) -> str:
    """Format a data value for a one-line message: quoted, line breaks escaped, at most 40 characters."""
    text = str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(show(name) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "no columns"


def parse_texts(values: Sequence[Any], column: str, where: str) -> list[str]:
    """Return texts as written; null and NaN become "". Raises DataError for lists, objects and undecodable bytes."""
    if all(type(value) is str for value in values):
        return list(values)
    return [value if type(value) is str else _text(value, row, column, where) for row, value in enumerate(values)]


def _text(value: Any, row: int, column: str, where: str) -> str:
    if is_null(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()  # as JSON writes it
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(
                f"{where}: column {show(column)}, row {row + 1} is not UTF-8: save the texts as UTF-8"
            ) from None
    if isinstance(value, list | tuple | dict):
        raise DataError(
            f"{where}: column {show(column)}, row {row + 1} is a {type(value).__name__}, not text:"
            " choose a text column with --text-a or --text-b"
        )
    return str(value)


def is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def parse_sides(values: Sequence[Any], column: str, where: str) -> list[str]:
    """Return the side of each value, [n]. Case is ignored; `eval` is val if there is also a test, otherwise test.

    Raises DataError showing up to three values that do not name a side.
    """
    distinct = list(dict.fromkeys(values))
    words = ["" if is_null(value) else str(value).strip().casefold() for value in distinct]
    sides = dict(zip(distinct, _sides(words), strict=True))
    bad = [value for value, side in sides.items() if side is None][:3]
    if bad:
        raise DataError(
            f"{where}: split column {show(column)} contains {', '.join(show(value) for value in bad)}:"
            " use train, val (or dev, validation) and test"
        )
    return [sides[value] or "" for value in values]


def sides_of_names(names: Sequence[str]) -> list[str | None]:
    """Return the side that each file stem or hub split names, None if it names none or several.

    `train`, `train-00000-of-00002` and `quora_train` are all train.
    """
    words = []
    for name in names:
        parts = "".join(c if c.isalnum() else " " for c in name.casefold()).split()
        found = [part for part in parts if part in _SIDE_WORDS or part in _EVAL]
        words.append(found[0] if len(found) == 1 else "")
    return _sides(words)


def _sides(words: Sequence[str]) -> list[str | None]:
    # "eval" means val to some and test to others; if there is a test, it can only be val.
    evaluation = "val" if any(_SIDE_WORDS.get(word) == "test" for word in words) else "test"
    return [evaluation if word in _EVAL else _SIDE_WORDS.get(word) for word in words]
