"""What the values of a label or score column mean: 1 for pairs that belong together, 0, or no label.

Values say it themselves (0/1, yes/no), by the names of their classes (`ClassLabel` of the `datasets` library), or the
user says it (--positive-label, --positive-from). Nothing is guessed: unclear values are refused, and what was not
plainly 0/1 is reported. Opens no file; every error is a one-line DataError that shows the values.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.data._columns import is_null, show
from tune.errors import DataError

UNLABELLED = -1
"""Label of rows without a label; cleaning drops them."""

_YES = ("1", "true", "yes", "t", "y")
_NO = ("0", "false", "no", "f", "n")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "\\n")
"""Words for no value, casefolded. "-": SNLI's pairs without a majority. \\N: null in exports of PostgreSQL."""

_POSITIVE_NAMES = frozenset((
    "positive", "pos", "yes", "y", "true", "t", "1", "same", "match", "matches", "matched", "matching", "duplicate",
    "duplicates", "similar", "relevant", "related", "entailment", "entails", "entailed", "equivalent", "equal",
    "paraphrase", "paraphrases", "linked",
))  # fmt: skip
_NEGATIVE_NAMES = frozenset((
    "negative", "neg", "no", "n", "false", "f", "0", "different", "differs", "distinct", "mismatch", "unmatched",
    "dissimilar", "irrelevant", "unrelated", "contradiction", "neutral", "other", "unique",
))  # fmt: skip
_NEGATIONS = frozenset(("not", "no", "non"))
_FILLERS = frozenset(("is", "are", "a", "an", "the"))
_PREFIXES = ("not", "non", "no", "un", "dis", "ir", "mis")
_SHORTEST_STEM = 3
"""Letters of a word that a prefix may negate."""


@dataclass(frozen=True)
class LabelColumn:
    """A label column of a table. classes: the names of its values 0, 1, ...; None if the source has no names."""

    name: str
    where: str
    classes: Sequence[str] | None = None

    def error(self, what: str) -> DataError:
        """Return the error about this column."""
        return DataError(f"{self.where}: label column {show(self.name)} {what}")


@dataclass(frozen=True)
class Meaning:
    """Which values of a column count as positive.

    text: the same in words. positive, negative: a value of either kind, for --positive-label; "" if there is none.
    notable: not plain 0/1 and the like, so a search should print it. given: the user said it.
    """

    text: str
    positive: str = ""
    negative: str = ""
    notable: bool = False
    given: bool = False


PLAIN = Meaning("1 is positive, 0 is negative", "1", "0")

_Known = dict[Any, int]


def parse_labels(values: Sequence[Any], column: LabelColumn, config: DataConfig) -> tuple[NDArray[np.int8], Meaning]:
    """Return labels 0, 1, or -1 for none (null, NaN, "", "NA", "null", "-" and such), [n], and what they mean.

    With `config.positive_from`, numbers are positive from that score on; with `config.positive_label`, the values (or
    classes) that it names. Else the names of the two classes decide if they are clear ("not_duplicate" and
    "duplicate"), or the values 0/1, true/false, yes/no, t/f, y/n, in any case. -1 is none if it is the value of a class
    without a name or there are also 0 and 1. Raises DataError showing up to three other values.
    """
    # True == 1 == 1.0 share a key and a meaning.
    keys = [value if value is None or type(value) in (str, int, float, bool) else str(value) for value in values]
    distinct = list(dict.fromkeys(keys))
    if config.positive_from is not None:
        known, meaning = _by_score(distinct, config.positive_from, column)
    elif config.positive_label is not None:
        known, meaning = _by_choice(distinct, config.positive_label, column)
    elif column.classes is not None:
        known, meaning = _by_class(distinct, column.classes, column)
    else:
        known, meaning = _by_value(distinct, column)
    return np.fromiter((known[key] for key in keys), np.int8, len(keys)), meaning


def parse_scores(values: Sequence[Any], column: str, where: str) -> NDArray[np.float64]:
    """Return graded scores, NaN for none (as in `parse_labels`), [n]. Raises DataError showing up to three others."""
    out = np.full(len(values), np.nan)
    bad: dict[str, None] = {}
    for i, value in enumerate(values):
        if _is_missing(value):
            continue
        number = _number(value)
        if number is None or math.isinf(number):
            bad[show(value)] = None
        else:
            out[i] = number
    if bad:
        raise DataError(
            f"{where}: score column {show(column)} contains {', '.join(list(bad)[:3])}: use finite numbers, or leave"
            " the field empty to drop the row"
        )
    return out


def positive_name(names: Sequence[str]) -> int | None:
    """Return which of two class names is positive, 0 or 1, if that is clear from the words; None if not.

    Clear: one is the negation of the other, or one is a usual word for positive and the other for negative.
    """
    words = ["".join(c if c.isalnum() else " " for c in name.casefold()).split() for name in names]
    joined = ["".join(name) for name in words]
    negated = [bool(_NEGATIONS.intersection(name)) for name in words]
    stems = ["".join(word for word in name if word not in _NEGATIONS | _FILLERS) for name in words]
    if stems[0] == stems[1] and stems[0] and negated[0] != negated[1]:
        return int(negated[0])
    for i in (0, 1):
        if len(joined[i]) >= _SHORTEST_STEM and joined[1 - i] in {prefix + joined[i] for prefix in _PREFIXES}:
            return i
        if joined[i] in _POSITIVE_NAMES and joined[1 - i] in _NEGATIVE_NAMES:
            return i
    return None


def _by_score(distinct: Sequence[Any], least: float, column: LabelColumn) -> tuple[_Known, Meaning]:
    numbers = {key: _number(key) for key in distinct if not _is_missing(key)}
    if bad := [key for key, number in numbers.items() if number is None]:
        raise column.error(
            f"contains {_shown(bad)}, which --positive-from cannot compare: use numbers, or leave out --positive-from"
            " for 0/1 labels"
        )
    if all(number in (-1, 0, 1) for number in numbers.values()):
        numbers = {key: number for key, number in numbers.items() if number != -1}
    known = {key: UNLABELLED if (n := numbers.get(key)) is None else int(n >= least) for key in distinct}
    return known, Meaning(f"{least:g} and above is positive")


def _by_choice(distinct: Sequence[Any], positive: str, column: LabelColumn) -> tuple[_Known, Meaning]:
    wanted = {word.strip().casefold() for word in positive.split(",")}
    numbers = {number for word in wanted if (number := _number(word)) is not None}
    present = [key for key in distinct if not _is_missing(key)]

    def chosen(key: Any) -> bool:
        return str(key).strip().casefold() in wanted or _number(key) in numbers or _named(key) in wanted

    def _named(key: Any) -> str | None:
        name = _class_of(key, column.classes)
        return None if name is None else name.casefold()

    others = [key for key in present if not chosen(key)]
    if present and len(others) == len(present):
        shown = [_class_of(key, column.classes) or key for key in present]
        raise column.error(f"has no value {positive} (--positive-label): it contains {_shown(shown)}")
    unmarked = [key for key in others if _number(key) == -1]
    if len(others) > len(unmarked) or column.classes is not None:
        others = [key for key in others if key not in unmarked]
    known = dict.fromkeys(distinct, UNLABELLED) | {key: int(key not in others) for key in present}
    known |= {key: UNLABELLED for key in unmarked if key not in others}
    text = f"{positive} is positive, all else negative (--positive-label)"
    return known, Meaning(text, positive, str(others[0]) if others else "", True, True)


def _by_class(distinct: Sequence[Any], classes: Sequence[str], column: LabelColumn) -> tuple[_Known, Meaning]:
    index = {key: int(number) for key in distinct if (number := _number(key)) is not None and number >= 0}
    used = sorted(set(index.values()))
    pair = [0, 1] if len(classes) == 2 else used if len(used) == 2 else []
    names = [classes[i] for i in pair if i < len(classes)]
    place = positive_name(names) if len(names) == 2 else None
    if place is None and len(classes) != 2:
        if not used:
            return dict.fromkeys(distinct, UNLABELLED), Meaning("")
        raise column.error(f"has the classes {_shown(classes, 5)}: name those that are positive with --positive-label")
    positive = pair[1 if place is None else place]
    negative = next(i for i in pair if i != positive)
    known = {key: int(index[key] == positive) if key in index else UNLABELLED for key in distinct}
    text = f"{positive} ({classes[positive]}) is positive, {negative} ({classes[negative]}) negative"
    return known, Meaning(text, str(positive), str(negative), positive < negative)


def _by_value(distinct: Sequence[Any], column: LabelColumn) -> tuple[_Known, Meaning]:
    known = {key: _plain(key) for key in distinct}
    unmarked = [key for key in distinct if _number(key) == -1]
    bad = [key for key, label in known.items() if label is None and key not in unmarked]
    if not bad:
        if unmarked and 0 not in known.values() and 1 in known.values():
            raise column.error("contains 1 and -1 but no 0: if -1 is negative, use --positive-label 1")
        plain = {key: UNLABELLED if label is None else label for key, label in known.items()}
        shown = {label: str(key).strip() for key, label in reversed(plain.items())}
        return plain, Meaning(_plainly(shown), shown.get(1, ""), shown.get(0, ""))
    present = [key for key in distinct if not _is_missing(key)]
    place = positive_name([str(key) for key in present]) if len(present) == 2 else None
    if place is not None:
        positive, negative = present[place], present[1 - place]
        named = dict.fromkeys(distinct, UNLABELLED) | {positive: 1, negative: 0}
        return named, Meaning(f"{positive} is positive, {negative} negative", str(positive), str(negative), True)
    odd = _shown([key for key in distinct if key in bad or key in unmarked])
    raise column.error(
        f"contains {odd}: use 0/1, true/false or yes/no, --positive-label for the value that is"
        " positive, or --positive-from for graded scores"
    )


def _plainly(shown: Mapping[int, str]) -> str:
    """Return the meaning of plain values in words; shown: label -> the value first found."""
    names = ((1, "positive"), (0, "negative"))
    return ", ".join(f"{shown[label]} is {name}" for label, name in names if label in shown)


def _plain(value: Any) -> int | None:
    """Return 0, 1, -1 for a missing label, or None if the value does not say it."""
    if _is_missing(value):
        return UNLABELLED
    word = str(value).strip().casefold()
    if word in _YES or word in _NO:
        return int(word in _YES)
    number = _number(value)
    return int(number) if number in (0.0, 1.0) else None


def _class_of(value: Any, classes: Sequence[str] | None) -> str | None:
    number = _number(value)
    if classes is None or number is None or not number.is_integer() or not 0 <= number < len(classes):
        return None
    return classes[int(number)]


def _shown(values: Iterable[Hashable], most: int = 3) -> str:
    return ", ".join(show(value) for value in list(dict.fromkeys(values))[:most])


def _is_missing(value: Any) -> bool:
    return is_null(value) or str(value).strip().casefold() in _MISSING


def _number(value: Any) -> float | None:
    """Return a number, a boolean or the text of a number as a float; None for anything else, and for NaN."""
    if isinstance(value, bool):
        return float(value)
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return None if math.isnan(number) else number
