"""Who scores which pairs how: the models of scores.parquet on one side, by their names and thresholds.

Before is the winner's own untouched base model, after is the winner. Without a winner, before is the untouched model
that is best by validation, and there is no after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tune.report.story import Line, Story
from tune.results.scores import Scores

SIDES = {"val": "validation", "test": "test", "folds": "out-of-fold"}
"""Names of the sides as people read them, before "pairs"."""


@dataclass(frozen=True, eq=False)
class Model:
    """A model's cosines of the pairs of a side, [n]. line: its row of the leaderboard. positive: [n], the labels."""

    line: Line
    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """The model's name in figures."""
        return self.line.name

    @property
    def threshold(self) -> float | None:
        """The cosine from which on a pair is called positive, fitted on validation; None if it is not known."""
        found = self.line.get("threshold")
        return None if found is None else float(found)

    @property
    def one_sided(self) -> str:
        """That the threshold calls no pair positive, or every pair, in words; "" if it tells them apart."""
        called = self.scores >= (np.nan if self.threshold is None else self.threshold)
        if self.threshold is None or (called.any() and not called.all()):
            return ""
        return f"{'every' if called.any() else 'no'} pair is called positive"

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Which pairs are on the wrong side of the threshold, [n]; none if it is not known."""
        if self.threshold is None:
            return np.zeros_like(self.positive)
        wrong: NDArray[np.bool_] = (self.scores >= self.threshold) != self.positive
        return wrong


@dataclass(frozen=True, eq=False)
class Side:
    """The n pairs of one side, and the models that scored them. others: the other untouched models, best by validation
    first.

    name: val, test or folds. row: [n], as in split.parquet. component: [n], the group of linked pairs, None if unknown.
    """

    name: str
    row: NDArray[np.int64]
    component: NDArray[np.int64] | None
    before: Model
    after: Model | None
    others: list[Model]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def label(self) -> str:
        """The side's name before "pairs"."""
        return SIDES[self.name]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """The labels, [n]."""
        return self.before.positive

    @property
    def optimistic(self) -> str:
        """What to know about scores out of fold; "" for other sides."""
        chosen_here = self.name == "folds" and self.after is not None
        return "optimistic for the winner, which was chosen on the same pairs" if chosen_here else ""

    @property
    def changed(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pairs training repaired, and which it broke, [n] each."""
        if self.after is None:
            return np.zeros_like(self.positive), np.zeros_like(self.positive)
        return self.before.wrong & ~self.after.wrong, ~self.before.wrong & self.after.wrong


def side_of(story: Story, names: Sequence[str]) -> Side | None:
    """Return the first of these sides that was scored; None if there is none, or it lacks a class or a model."""
    scores = story.scores
    name = next((name for name in names if scores is not None and (scores.side == name).any()), None)
    if scores is None or name is None:
        return None
    scores = scores.on(name)
    positive = scores.label == 1
    if positive.all() or not positive.any():
        return None
    untouched = [
        model
        for line in story.baselines
        if (model := _model(line, scores, f"baseline:{line.get('base_model')}")) is not None
    ]
    after = None if story.winner is None else _model(story.winner, scores, _winner_key(story.winner, scores))
    own = [model for model in untouched if after and model.line.get("base_model") == after.line.get("base_model")]
    if after is None:
        own = untouched[:1]
    if not own:
        return None
    others = [model for model in untouched if model is not own[0]]
    return Side(name, scores.row, _components(story, scores.row), own[0], after, others)


def _winner_key(winner: Line, scores: Scores) -> str:
    """Return the winner's key: TRIAL, or TRIAL@DIMS for Matryoshka."""
    nested = f"{winner.trial}@{winner.get('dims')}"
    return nested if nested in scores.models else winner.trial


def _model(line: Line, scores: Scores, key: str) -> Model | None:
    found = scores.models.get(key)
    if found is None or not np.isfinite(found).all():
        return None
    return Model(line, found.astype(np.float64), scores.label == 1)


def _components(story: Story, row: NDArray[np.int64]) -> NDArray[np.int64] | None:
    split = story.split
    if split is None:
        return None
    order = np.argsort(split.row, kind="stable")
    place = np.searchsorted(split.row[order], row)
    if place.size and (place.max() >= len(order) or (split.row[order[place]] != row).any()):
        return None
    return split.component[order[place]]
