"""What training costs on guard sets: AUC before (the untouched base model) and after (the trial's model).

Also the largest share of the training that keeps that cost within a limit, for trials that trained the base model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tune.data.guards import Guard
from tune.embed.similarity import cosine
from tune.evaluate.draws import draws_of
from tune.metrics.intervals import Bootstrap, Resampled
from tune.metrics.score import roc_auc
from tune.train.trained import Models, TrialModel, baseline_key

if TYPE_CHECKING:
    from tune.train.whole.trained import MixedModel

SHARES = tuple(round(1 - tenth / 10, 1) for tenth in range(10))
"""The shares of the training that are tried, the largest first."""
VAL_PAIRS = 2_000
"""The most pairs of val that a share is scored on, unless trials reported on a sample of it: that is then taken."""


class GuardScores:
    """The AUC of models on guard sets; the untouched base models' is computed once. Closed models have none."""

    def __init__(self, guards: Sequence[Guard], models: Models, seed: int) -> None:
        self._guards, self._models = guards, models
        self._bootstraps: list[Bootstrap] = [draws_of(guard.pairs, seed).bootstrap for guard in guards]
        self._bases: dict[str, list[Resampled]] = {}

    def known(self, base_model: str) -> bool:
        """Return whether the guard sets are embedded with this base model."""
        return self._models.bases[base_model].closed is None

    def before(self, base_model: str) -> float:
        """Return the mean AUC of the untouched base model."""
        return float(np.mean([one.value for one in self._base(base_model)]))

    def after(self, model: TrialModel) -> float:
        """Return the mean AUC of a trial's model at the dims that rank it."""
        first = model.dims[0]
        return float(np.mean([roc_auc(model.test(one.pairs)[first], one.pairs.label) for one in self._guards]))

    def of_base(self, base_model: str) -> dict[str, Any]:
        """Return before and after (the same), means over the guard sets, and both by guard set in `sets`."""
        found = self._base(base_model)
        sets = {
            guard.name: {"before": one.value, "after": one.value}
            for guard, one in zip(self._guards, found, strict=True)
        }
        return {"before": self.before(base_model), "after": self.before(base_model), "sets": sets}

    def of_trial(self, model: TrialModel) -> dict[str, Any]:
        """Return the same of a trial's model; by guard set also delta, low and high.

        delta: after minus before, with its 95% interval from the paired bootstrap; the ends are None if none can be
        given.
        """
        first, sets = model.dims[0], {}
        found = zip(self._guards, self._bootstraps, self._base(model.base.name), strict=True)
        for guard, bootstrap, before in found:
            after = bootstrap.resample(model.test(guard.pairs)[first])
            apart = bootstrap.difference_of(after, before)
            sets[guard.name] = {
                "before": before.value,
                "after": after.value,
                "delta": apart.delta,
                "low": apart.low,
                "high": apart.high,
            }
        after_all = float(np.mean([one["after"] for one in sets.values()]))
        return {"before": self.before(model.base.name), "after": after_all, "sets": sets}

    def of_all(self, finalists: Sequence[TrialModel]) -> dict[str, dict[str, Any]]:
        """Return `of_base` and `of_trial` by the models' keys (a trial's at the dims that rank it)."""
        bases = {baseline_key(name): self.of_base(name) for name in self._models.bases if self.known(name)}
        known = [model for model in finalists if self.known(model.base.name)]
        return bases | {model.key(model.dims[0]): self.of_trial(model) for model in known}

    def _base(self, name: str) -> list[Resampled]:
        if name not in self._bases:
            base, cache = self._models.bases[name], self._models.cache
            self._bases[name] = [
                bootstrap.resample(cosine(*base.test_rows(cache, guard.pairs)))
                for guard, bootstrap in zip(self._guards, self._bootstraps, strict=True)
            ]
        return self._bases[name]


def fallen(entry: dict[str, Any]) -> list[str]:
    """Return a sentence, without a full stop, per guard set on which the winner is worse for sure than its base model.

    entry: as `GuardScores.of_trial` returns it.
    """
    return [
        f"the winner forgot some of what its base model knew: on guard set {name}, AUC fell from {one['before']:.4f} to"
        f" {one['after']:.4f}, by {-100 * one['delta']:.1f} points [{-100 * one['high']:.1f}, {-100 * one['low']:.1f}]"
        for name, one in entry["sets"].items()
        if one["high"] is not None and one["high"] < 0
    ]


@dataclass(frozen=True)
class Share:
    """How a trial's model is merged with its base model: weights = base + share * (tuned - base).

    before: mean AUC of the untouched base model on the guard sets. limit: the loss of it that is allowed. points: what
    was tried, the largest share first: `share`, `val_auc` (on val_pairs pairs) and `guard_auc`.
    """

    share: float
    before: float
    limit: float
    points: list[dict[str, float]]
    val_pairs: int

    @property
    def chosen(self) -> dict[str, float]:
        """The point that was chosen."""
        return next(point for point in self.points if point["share"] == self.share)

    @property
    def met(self) -> bool:
        """Whether the loss is within the limit."""
        return self.before - self.chosen["guard_auc"] <= self.limit

    def sentence(self) -> str:
        """Return what was chosen, why and what it costs on validation, without a full stop."""
        trained, chosen = self.points[0], self.chosen
        lost, at_first = (100 * (self.before - point["guard_auc"]) for point in (chosen, trained))
        limit = f"{100 * self.limit:g} point{'s' * (self.limit != 0.01)}"
        if chosen is trained and self.met:
            return f"not merged with its base model: it loses {max(lost, 0):.1f} points of AUC on the guard sets"
        costs = (
            f"{lost:.1f} points, {at_first:.1f} as trained; AUC on validation {chosen['val_auc']:.4f},"
            f" {trained['val_auc']:.4f} as trained"
        )
        if self.met:
            return (
                f"merged with its base model at share {self.share:g}, the largest that loses at most {limit} of AUC on"
                f" the guard sets ({costs})"
            )
        none = f"no share of the training keeps the loss of AUC on the guard sets within {limit}"
        if chosen is trained:
            # A Dense layer, which stays as it is, was trained on vectors of this model: others can suit it less.
            return f"{none}; not merged with its base model, since it loses least as trained ({lost:.1f} points)"
        return f"{none}; merged with its base model at share {self.share:g}, which loses least ({costs})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the fields, met and the sentence."""
        return {**self.__dict__, "met": self.met, "sentence": self.sentence()}


def choose_share(
    model: "MixedModel", scores: GuardScores, limit: float, *, whole: bool, report: Callable[[str], None]
) -> Share:
    """Return the largest share whose mean AUC on the guard sets is at most `limit` below the untouched base model's.

    If there is none, the one with the least loss. whole: try all shares; else stop at the first that is within the
    limit. report: called with a line per share.
    """
    before, points, pairs = scores.before(model.base.name), [], 0
    for share in SHARES:
        mixed = model.at(share)
        val_auc, pairs = mixed.val_sample_auc(VAL_PAIRS)
        point = {"share": share, "val_auc": val_auc, "guard_auc": scores.after(mixed)}
        points.append(point)
        report(f"share {share:g}: AUC {val_auc:.4f} on validation, {point['guard_auc']:.4f} on the guard sets")
        if not whole and before - point["guard_auc"] <= limit:
            break
    return Share(chosen_share(points, before, limit), before, limit, points, pairs)


def chosen_share(points: Sequence[dict[str, float]], before: float, limit: float) -> float:
    """Return the largest share with a loss of at most `limit`; if there is none, the one with the least loss."""
    within = [point["share"] for point in points if before - point["guard_auc"] <= limit]
    return max(within) if within else max(points, key=lambda point: (point["guard_auc"], point["share"]))["share"]
