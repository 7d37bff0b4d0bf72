"""Refuses a split whose val or test is too small, and says what would help: another --split, folds, or how many pairs.

Every option that is proposed was tried, and every number of pairs that is asked for exceeds the number there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.config.data import SplitMode
from tune.data._assign import Assignment, Column, Texts, assign, components, most_frequent, query_column
from tune.data.folds import fold_of
from tune.data.pairs import Pairs
from tune.data.sides import CLASS_NAMES, HELD_OUT, SIDES
from tune.errors import DataError

NEEDED = 100
"""Pairs of either class that val and test must each hold."""
FOLDED_NEEDED = 20
"""Pairs of either class that there must be in all to judge out of fold, without a test side."""
_FOLDS = 5
"""Folds to propose."""

_MARGIN = 1.3
"""An unlucky split holds fewer pairs than the mean one."""
_HUB = 0.5
"""A text in more than this share of the pairs is named as the cause."""
_LINKED, _HOPELESS = 0.1, 0.9
"""Share of the pairs in components too large for val or test: from here named as the cause, and past more pairs."""
_DOMINANT = 0.5
"""A component with more than this share of the pairs is too large to judge out of fold: it would be most of a fold."""
_UNBALANCED = 0.5
"""Positives per negative, or the other way round, below which the pairs needed are given for each class."""
_CLEARLY_FEWER = 0.7
"""Another mode is named if it needs less than this share of the pairs."""


@dataclass(frozen=True)
class Search:
    """Cleaned pairs and what they are split by.

    missing: the sides to draw; given: the sides that the user drew. folds: of train and val, 0 for none.
    """

    pairs: Pairs
    texts: Texts
    seed: int
    given: Sequence[str]
    missing: Sequence[str]
    folds: int = 0

    @property
    def needed(self) -> tuple[str, ...]:
        """The sides that need NEEDED pairs of either class: val does not if it is cross-validated with train."""
        return ("test",) if self.folds else HELD_OUT


def check_enough(search: Search, made: Assignment) -> bool:
    """Return whether all pairs must be judged out of fold: with folds, if no --split leaves a test side large enough.

    Raises DataError if val or test has fewer than NEEDED pairs of either class, train lacks a class, or there are too
    few pairs for folds.
    """
    held, source = held_of(search.pairs.label, made), search.pairs.source
    found, side, label = scarcest(held, search.needed)
    if found >= NEEDED:
        if 0 in held["train"] and not search.folds:
            raise DataError(f"{source}: train has pairs of one class only: add pairs of the other")
        return False
    short = f"only {found} {CLASS_NAMES[label]} pairs in {side}, but {NEEDED} of either class are needed"
    others = _others(search, made)
    enough = [other for other in others if _is_enough(search, other)]
    if side in search.given:
        instead = "to judge all pairs out of fold" if search.folds else "for a new split"
        raise DataError(
            f"{source}: the given split has {short}: add pairs there, or leave the given split out"
            f" (no --split-column, one file) {instead}{_or_folds(search, made, held, enough)}"
        )
    if search.folds and not enough and not _dominated(made):
        _check_folded(search)
        return True
    cause = _cause(search, made)
    raise DataError(
        f"{source}: {cause}{', which leaves ' if cause else ''}{short}:"
        f" {_fix(search, made, others, enough)}{_or_folds(search, made, held, enough)}"
    )


def _check_folded(search: Search) -> None:
    """Raise DataError if there are too few pairs of a class to judge out of fold."""
    fewest, label = min((count, label) for label, count in _there(search.pairs).items())
    if fewest < FOLDED_NEEDED:
        missing, rare = FOLDED_NEEDED - fewest, CLASS_NAMES[label].split()[0]
        raise DataError(
            f"{search.pairs.source}: only {fewest} {CLASS_NAMES[label]} pairs among {len(search.pairs):,}, but judging"
            f" out of fold (--folds) needs {FOLDED_NEEDED} of either class: add at least {missing} {rare}"
            f" pair{'s' * (missing > 1)}"
        )


def _is_enough(search: Search, made: Assignment) -> bool:
    """Return whether val and test hold enough pairs, train both classes, and the folds, if any, can be made."""
    held = held_of(search.pairs.label, made)
    enough = scarcest(held, search.needed)[0] >= NEEDED and (bool(search.folds) or 0 not in held["train"])
    return enough and (not search.folds or _foldable(search, made, search.folds, made.keep & (made.side != "test")))


def _dominated(made: Assignment) -> bool:
    """Return whether one component holds most of the pairs."""
    return int(np.bincount(components(made.first, made.second)).max(initial=0)) > _DOMINANT * len(made.first)


def _foldable(search: Search, made: Assignment, folds: int, rows: NDArray[np.bool_]) -> bool:
    """Return whether these rows can be put into folds."""
    try:
        fold_of(components(made.first[rows], made.second[rows]), folds, search.seed, search.pairs.label[rows])
    except DataError:
        return False
    return True


def _or_folds(search: Search, made: Assignment, held: dict[str, tuple[int, int]], enough: Sequence[Assignment]) -> str:
    """Return what --folds would do for these pairs, or how many it needs; "" if it is of no help."""
    if search.folds:
        return ""
    folds, there = f"search --folds {_FOLDS}", _there(search.pairs)
    if min(held["test"]) >= NEEDED:
        if not _foldable(search, made, _FOLDS, made.keep & (made.side != "test")):
            return ""
        return f"; or {folds}, which cross-validates over train and val, so val can be any size"
    if "test" in search.given or enough:
        return ""
    if (fewest := min(there.values())) < FOLDED_NEEDED:
        rare = CLASS_NAMES[min(there, key=there.__getitem__)].split()[0]
        return f"; {folds}, which judges out of fold, needs {FOLDED_NEEDED} of either class (only {fewest} are {rare})"
    if _dominated(made) or not _foldable(search, made, _FOLDS, np.ones(len(search.pairs), dtype=bool)):
        return ""
    return (
        f"; or {folds}, which judges all of them out of fold ({there[1]:,} positive and {there[0]:,} negative;"
        f" it needs {FOLDED_NEEDED} of either class)"
    )


def _there(pairs: Pairs) -> dict[int, int]:
    """Return the number of pairs of each class."""
    return {label: int((pairs.label == label).sum()) for label in CLASS_NAMES}


def held_of(label: NDArray[np.int8], made: Assignment) -> dict[str, tuple[int, int]]:
    """Return the number of negative and of positive pairs on each side."""
    sides = {name: made.keep & (made.side == name) for name in SIDES}
    return {name: (int((label[at] == 0).sum()), int((label[at] == 1).sum())) for name, at in sides.items()}


def scarcest(held: dict[str, tuple[int, int]], sides: Sequence[str] = HELD_OUT) -> tuple[int, str, int]:
    """Return the smallest class of these sides: number of pairs, side, label."""
    return min((held[name][label], name, label) for name in sides for label in CLASS_NAMES)


def _cause(search: Search, made: Assignment) -> str:
    """Return why pairs cannot be placed; "" if only their number is to blame."""
    n = len(search.pairs)
    share, column = most_frequent(search.texts)
    if share > _HUB and made.queries in (None, column):
        return (
            f"one text, in column {_name(search.pairs, column)}, is in {share:.0%} of the pairs and ties them together"
        )
    large = made.facts["large_rows"] / n
    if large < _LINKED:
        return ""
    one = f"shared texts link {made.largest / n:.1%} of the pairs into one component"
    several = "" if made.largest == made.facts["large_rows"] else f" and {large:.1%} into components"
    return f"{one}{several} too large for val or test"


def _fix(search: Search, made: Assignment, others: Sequence[Assignment], enough: Sequence[Assignment]) -> str:
    """Return what to do: use another --split that leaves enough, or else add how many pairs."""
    proposed = {
        other.mode: f"--split {other.mode}, which {_rule(search.pairs, other)}"
        f" ({_sizes(held_of(search.pairs.label, other), search.needed)})"
        for other in enough
    }
    own = _needed(search, made)
    alone = "" if own else "more pairs like these will not help; "
    if proposed:
        # Where whole components can be kept apart, nothing need be shared or dropped.
        return f"{alone}use {proposed.get('components') or ' or '.join(proposed.values())}"
    elsewhere = [(needed, other.mode) for other in others if (needed := _needed(search, other))]
    n = len(search.pairs)
    if elsewhere and (own is None or min(elsewhere)[0] < own * _CLEARLY_FEWER):
        needed, mode = min(elsewhere)
        alone = "" if own else "more pairs like these will not help alone; "
        return f"{alone}with --split {mode} about {needed:,} pairs like these should be enough (there are {n:,})"
    if own is None:
        return f"{alone}add pairs of other texts, or bring your own split (--split-column)"
    by_class = _needed_by_class(search, made)
    return f"add pairs: about {own:,} pairs like these should be enough (there are {n:,}){by_class}"


def _others(search: Search, made: Assignment) -> list[Assignment]:
    """Return what the other modes would do."""
    modes: list[SplitMode] = ["components", "queries", "cut"]
    if made.queries == query_column(search.texts, "queries"):
        modes.remove("queries")
    return [
        assign(search.pairs, search.texts, search.seed, mode, search.missing) for mode in modes if mode != made.mode
    ]


def _rule(pairs: Pairs, made: Assignment) -> str:
    if made.queries is not None:
        apart, shared = made.queries, "b" if made.queries == "a" else "a"
        return f"keeps the texts of {_name(pairs, apart)} apart and shares those of {_name(pairs, shared)}"
    return "splits by text and drops crossing pairs" if made.mode == "cut" else "keeps linked texts together"


def _sizes(held: dict[str, tuple[int, int]], sides: Sequence[str]) -> str:
    return "; ".join(f"{name} {sum(held[name]):,} pairs, {held[name][1]:,} positive" for name in sides)


def _name(pairs: Pairs, column: Column | str) -> str:
    return repr(pairs.columns.text_a if column == "a" else pairs.columns.text_b)


def _needed(search: Search, made: Assignment) -> int | None:
    """Return how many pairs of the same kind would be enough in this mode; None if no number would."""
    pairs, n = search.pairs, len(search.pairs)
    placeable = min(int((made.placeable & (pairs.label == label)).sum()) for label in CLASS_NAMES)
    if not placeable or made.facts["large_rows"] > _HOPELESS * n:
        return None
    found = scarcest(held_of(pairs.label, made), search.needed)[0]
    return _rounded_up(_MARGIN * max(NEEDED / made.share / placeable * n, NEEDED / found * n if found else 0, n))


def _needed_by_class(search: Search, made: Assignment) -> str:
    """Return the pairs needed of each class, if one is much rarer than the other."""
    pairs, held = search.pairs, held_of(search.pairs.label, made)
    there = _there(pairs)
    if min(there.values()) >= _UNBALANCED * max(there.values()):
        return ""
    parts = []
    for label, name in sorted(CLASS_NAMES.items(), reverse=True):
        found = min(held[side][label] for side in search.needed)
        if found < NEEDED:
            placeable = int((made.placeable & (pairs.label == label)).sum())
            times = max(NEEDED / made.share / placeable, NEEDED / found if found else 0, 1)
            total = _rounded_up(_MARGIN * times * there[label])
            parts.append(f"{total:,} {name.split()[0]} ones (there are {there[label]:,})")
    return f", or about {' and '.join(parts)}"


def _rounded_up(number: float) -> int:
    """Round up to two digits."""
    unit = int(10 ** max(int(math.log10(number)) - 1, 0))
    return math.ceil(number / unit) * unit
