"""What the values of a label or score column mean: 1 for pairs that belong together, 0, or no label.

Values say it themselves (0/1, yes/no), by the names of their classes (`ClassLabel` of the `datasets` library), or the
user says it (--positive-label, --positive-from). Nothing is guessed: unclear values are refused, and what was not
plainly 0/1 is reported. Opens no file; every error is a one-line DataError that shows the values.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.data._columns import show
from tune.data._label_values import UNLABELLED, is_missing, listed, number_of, plain_label, positive_name
from tune.errors import DataError


@dataclass(frozen=True)
class LabelColumn:
    """The label column of a table. classes: the names of its values 0, 1, ...; None if the source has no names."""

    name: str
    where: str
    values: Sequence[Any]
    classes: Sequence[str] | None = None

    def error(self, what: str) -> DataError:
        """Return the error about this column."""
        return DataError(f"{self.where}: label column {show(self.name)} {what}")


@dataclass(frozen=True)
class Meaning:
    """Which values count as positive.

    text: the same in words. positive, negative: a value of either kind, for --positive-label; "" if there is none.
    notable: not plain 0/1 and the like, so a search should print it. given: the user said it; as_given: how.
    """

    text: str
    positive: str = ""
    negative: str = ""
    notable: bool = False
    given: bool = False
    as_given: str = "--positive-label says"


PLAIN = Meaning("1 is positive, 0 is negative", "1", "0")


@dataclass(frozen=True)
class _Class:
    """A value that has a class name."""

    index: int
    name: str


_Read = dict[Any, Any]
"""Value as written -> what it is: None if missing, a `_Class`, or the value."""
_Known = dict[Any, int]
"""What a value is -> its label."""


@dataclass(frozen=True)
class _Union:
    """All tables. read: for each, one reading of its values, or several if unnamed classes may have several names."""

    columns: Sequence[LabelColumn]
    read: Sequence[Sequence[_Read]]
    lists: Sequence[Sequence[str]]
    source: str

    def distinct(self) -> list[Any]:
        """Return what occurs in any table, without what is missing."""
        found = dict.fromkeys(is_ for table in self.read for read in table for is_ in read.values())
        return [is_ for is_ in found if is_ is not None]

    def error(self, what: str, about: Sequence[Any] = ()) -> DataError:
        """Return the error about the first table with one of these values, or about all tables."""
        for column, table in zip(self.columns, self.read, strict=True):
            if len(self.columns) == 1 or any(is_ in about for read in table for is_ in read.values()):
                return column.error(what)
        return replace(self.columns[0], where=self.source).error(what)


def parse_labels(
    columns: Sequence[LabelColumn], config: DataConfig, source: str
) -> tuple[list[NDArray[np.int8]], Meaning]:
    """Return labels 0, 1, or -1 for none (null, NaN, "", "NA", "null", "-" and such), [n] by table; what they mean.

    The values of all tables are read first, and mean the same in each. With `config.positive_from`, numbers are
    positive from that score on; with `config.positive_label`, the values (or classes) that it names. Else the names of
    the two classes decide if they are clear ("not_duplicate" and "duplicate"), or the values 0/1, true/false, yes/no,
    t/f, y/n, in any case. A table without class names takes those of the others if its values fit them. -1 is none if
    it is the value of a class without a name or there are also 0 and 1. source: what was read, for messages about
    several tables. Raises DataError showing up to three other values.
    """
    # True == 1 == 1.0 share a key and a meaning.
    keys = [_keys(column.values) for column in columns]
    distinct = [list(dict.fromkeys(table)) for table in keys]
    named = config.positive_from is None
    lists = list(dict.fromkeys(tuple(column.classes) for column in columns if column.classes is not None and named))
    read = [_read(table, column, lists) for table, column in zip(distinct, columns, strict=True)]
    union = _Union(columns, read, lists, source)
    if config.positive_from is not None:
        known, meaning = _by_score(union, config.positive_from)
    elif config.positive_label is not None:
        known, meaning = _by_choice(union, config.positive_label)
    else:
        known, meaning = _by_itself(union)
    _refuse_both_ways(union, known)
    known[None] = UNLABELLED
    labels = []
    for table, column, readings in zip(keys, columns, read, strict=True):
        ways = [{key: known[is_] for key, is_ in reading.items()} for reading in readings]
        if differ := [key for key in ways[0] if len({way[key] for way in ways}) > 1]:
            raise column.error(
                f"contains {listed(differ)} without class names, and other tables name these classes in different"
                " ways: write the names of the classes into the column"
            )
        labels.append(np.fromiter(map(ways[0].__getitem__, table), np.int8, len(table)))
    return labels, meaning


def _refuse_both_ways(union: _Union, known: _Known) -> None:
    """Raise DataError if a number is positive as that of a class, but negative in a table without names, or reverse."""
    of_class = {is_.index: label for is_, label in known.items() if isinstance(is_, _Class)}
    for is_, label in known.items():
        number = None if isinstance(is_, bool) else number_of(is_)
        if number in of_class and UNLABELLED != label != of_class[int(number)]:
            raise union.error(
                f"contains {show(is_)} without class names as label {label}, but other tables give that number to a"
                f" class with label {1 - label}: write the names of the classes into the column",
                [is_],
            )


def _keys(values: Sequence[Any]) -> Sequence[Any]:
    plain = {str, int, float, bool, type(None)}
    if plain.issuperset(map(type, values)):
        return values
    return [value if type(value) in plain else str(value) for value in values]


def _read(distinct: Sequence[Any], column: LabelColumn, lists: Sequence[Sequence[str]]) -> list[_Read]:
    """Return what each value is: by the names of its own classes, by those of other tables that fit, or as written."""
    if column.classes is not None and lists:
        read, odd = _as_classes(distinct, column.classes)
        if odd:
            raise column.error(
                f"contains {listed(odd)}, but its classes are {listed(column.classes, 5)}: use their numbers (from 0)"
                " or names, and -1 or nothing for no label"
            )
        return [read]
    plain: _Read = {key: None if is_missing(key) else key for key in distinct}
    fits = []
    for classes in lists:
        read, odd = _as_classes(distinct, classes)
        if odd or any(isinstance(key, bool) for key in distinct):
            continue
        numbers = {key: number for key in distinct if (number := number_of(key)) is not None and number >= 0}
        if both := [key for key, at in numbers.items() if f"{at:g}" in {*classes} - {*classes[int(at) : int(at) + 1]}]:
            raise column.error(
                f"contains {listed(both)}, which may be the number or the name of a class of the other tables"
                f" ({listed(classes, 5)}): keep the class names in all tables, or in none"
            )
        fits.append(read)
    return fits or [plain]


def _as_classes(distinct: Sequence[Any], classes: Sequence[str]) -> tuple[_Read, list[Any]]:
    """Return what each value is as a class, and those that are not a class, its number, missing or -1."""
    names = {name.strip().casefold(): _Class(i, name) for i, name in reversed(list(enumerate(classes)))}
    read: _Read = {}
    odd = []
    for key in distinct:
        number = number_of(key)
        name = names.get(key.strip().casefold()) if isinstance(key, str) else None
        if name is not None:
            read[key] = name
        elif is_missing(key) or number == -1:
            read[key] = None
        elif number is not None and number.is_integer() and 0 <= number < len(classes):
            read[key] = _Class(int(number), classes[int(number)])
        else:
            odd.append(key)
    return read, odd


def _by_score(union: _Union, least: float) -> tuple[_Known, Meaning]:
    distinct = union.distinct()
    numbers = {key: number_of(key) for key in distinct}
    if bad := [key for key, number in numbers.items() if number is None]:
        raise union.error(
            f"contains {listed(bad)}, which --positive-from cannot compare: use numbers, or leave out --positive-from"
            " for 0/1 labels",
            bad,
        )
    if all(number in (-1, 0, 1) for number in numbers.values()):
        numbers = {key: number for key, number in numbers.items() if number != -1}
    known = {key: UNLABELLED if (n := numbers.get(key)) is None else int(n >= least) for key in distinct}
    as_given = "--positive-from says (higher scores must mean more alike)"
    return known, Meaning(f"{least:g} and above is positive", given=True, as_given=as_given)


def _by_choice(union: _Union, positive: str) -> tuple[_Known, Meaning]:
    distinct = union.distinct()
    names = {name.strip().casefold() for classes in union.lists for name in classes}
    words = [word.strip() for word in positive.split(",") if word.strip()] or [positive]
    if any(_chosen(is_, positive.strip(), names) for is_ in distinct):
        words = [positive.strip()]  # a value with a comma
    chosen = {word: [is_ for is_ in distinct if _chosen(is_, word, names)] for word in words}
    if absent := [word for word in words if not chosen[word]]:
        if not distinct:
            return {}, Meaning("")
        there = list(dict.fromkeys(_as_written(is_) for is_ in distinct))
        more = f" and {len(there) - 5} more" if there[5:] else ""
        raise union.error(f"does not contain {', '.join(absent)} (--positive-label), only {listed(there, 5)}{more}")
    for word, found in chosen.items():
        classes = list(dict.fromkeys(is_.name for is_ in found if isinstance(is_, _Class)))
        if len(classes) > 1 and word.casefold() not in names:
            raise union.error(
                f"has the classes {listed(classes)} at number {word}, by table: give names to --positive-label", found
            )
    positives = {is_ for found in chosen.values() for is_ in found}
    unmarked = [is_ for is_ in distinct if is_ not in positives and number_of(is_) == -1]
    others = [is_ for is_ in distinct if is_ not in positives and is_ not in unmarked]
    if not others and not union.lists:
        others, unmarked = unmarked, []
    known = dict.fromkeys(positives, 1) | dict.fromkeys(others, 0) | dict.fromkeys(unmarked, UNLABELLED)
    shown = ", ".join(_explained(word, found) for word, found in chosen.items())
    text = f"{shown} is positive, all others are negative (--positive-label)"
    return known, Meaning(text, positive, str(_as_written(others[0])) if others else "", True, True)


def _chosen(is_: Any, word: str, names: Set[str]) -> bool:
    """Return whether a word of --positive-label chooses this value. Names of classes go before their numbers."""
    folded = word.casefold()
    if isinstance(is_, _Class):
        return is_.name.strip().casefold() == folded or (folded not in names and number_of(word) == is_.index)
    return str(is_).strip().casefold() == folded or (number_of(word) is not None and number_of(is_) == number_of(word))


def _explained(word: str, found: Sequence[Any]) -> str:
    """Return a word of --positive-label, and the class that it chooses if the word is a number."""
    number, chosen = number_of(word), next((is_ for is_ in found if isinstance(is_, _Class)), None)
    if number is None or chosen is None:
        return word
    if chosen.name.strip().casefold() != word.casefold():
        return f"{word} ({chosen.name})"
    return word if number == chosen.index else f"{word} (the name of class {chosen.index})"


def _by_itself(union: _Union) -> tuple[_Known, Meaning]:
    """Decide by the names of classes, and by the values that have none."""
    distinct = union.distinct()
    known, meanings = _by_class(union, {is_.name for is_ in distinct if isinstance(is_, _Class)})
    if values := [is_ for is_ in distinct if not isinstance(is_, _Class)]:
        by_value, meaning = _by_value(values, union)
        known |= by_value
        meanings.append(meaning)
    return known, together(meanings)


def _by_class(union: _Union, used: Set[str]) -> tuple[_Known, list[Meaning]]:
    known: _Known = {}
    meanings = []
    for classes in union.lists:
        there = [i for i, name in enumerate(classes) if name in used]
        pair = [0, 1] if len(classes) == 2 else there if len(there) == 2 else []
        if not there:
            continue
        place = positive_name([classes[i] for i in pair]) if pair else None
        if place is None and len(classes) != 2:
            raise union.error(
                f"has the classes {listed(classes, 5)}: name those that are positive with --positive-label",
                [_Class(i, classes[i]) for i in there],
            )
        positive = pair[1 if place is None else place]
        negative = next(i for i in pair if i != positive)
        for i in pair:
            if any(label != int(i == positive) for is_, label in known.items() if is_.name == classes[i]):
                raise union.error(
                    f"has a class {show(classes[i])} that is 1 in one table and 0 in another: name the classes that are"
                    " positive with --positive-label"
                )
            known[_Class(i, classes[i])] = int(i == positive)
        text = f"{positive} ({classes[positive]}) is positive, {negative} ({classes[negative]}) negative"
        # A number must choose the same class in all tables, and not be the name of another.
        numbers = len(union.lists) == 1 and not {str(i) for i in pair if classes[i] != str(i)}.intersection(classes)
        one, other = (str(i) if numbers else classes[i] for i in (positive, negative))
        meanings.append(Meaning(text, one, other, positive < negative))
    return known, meanings


def _by_value(distinct: Sequence[Any], union: _Union) -> tuple[_Known, Meaning]:
    known = {key: plain_label(key) for key in distinct}
    unmarked = [key for key in distinct if number_of(key) == -1]
    bad = [key for key, label in known.items() if label is None and key not in unmarked]
    if not bad:
        if unmarked and 0 not in known.values() and 1 in known.values():
            raise union.error("contains 1 and -1 but no 0: if -1 is negative, use --positive-label 1")
        plain = {key: UNLABELLED if label is None else label for key, label in known.items()}
        shown = {label: str(key).strip() for key, label in reversed(plain.items())}
        return plain, Meaning(_plainly(shown), shown.get(1, ""), shown.get(0, ""))
    place = positive_name([str(key) for key in distinct]) if len(distinct) == 2 else None
    if place is not None:
        positive, negative = distinct[place], distinct[1 - place]
        text = f"{positive} is positive, {negative} negative"
        return {positive: 1, negative: 0}, Meaning(text, str(positive), str(negative), True)
    odd = [key for key in distinct if known[key] is None]
    raise union.error(
        f"contains {listed(odd)}: use 0/1, true/false or yes/no, --positive-label for the value that is"
        " positive, or --positive-from for graded scores",
        odd,
    )


def together(meanings: Sequence[Meaning]) -> Meaning:
    """Return one meaning for all tables. They differ if their classes are numbered or written differently."""
    found = [one for one in meanings if one.text]
    if not found:
        return PLAIN
    fullest = max(found, key=lambda one: bool(one.positive and one.negative))
    texts = "; ".join(dict.fromkeys(one.text for one in found))
    notable, given = any(one.notable for one in found), all(one.given for one in found)
    return replace(fullest, text=texts, notable=notable, given=given)


def _plainly(shown: Mapping[int, str]) -> str:
    """Return the meaning of plain values in words; shown: label -> the value first found."""
    names = ((1, "positive"), (0, "negative"))
    return ", ".join(f"{shown[label]} is {name}" for label, name in names if label in shown)


def _as_written(is_: Any) -> Any:
    return is_.name if isinstance(is_, _Class) else is_
