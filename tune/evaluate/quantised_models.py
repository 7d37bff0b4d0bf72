"""The AUC of models with quantised vectors, while test is open: which models, on which vectors, with which intervals.

Ranges for int8 come from train texts alone. Which models are quantised is decided by val, and nothing by test.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.maps import gathered
from tune.embed.prepare import PreparedBase
from tune.embed.similarity import used_rows
from tune.embed.view import PairRows, View
from tune.evaluate.quantised import (
    PRECISIONS,
    Precision,
    Side,
    Vectors,
    bytes_per_vector,
    int8_ranges,
    quantised_scores,
)
from tune.metrics.intervals import Bootstrap, Resampled
from tune.metrics.score import roc_auc
from tune.train.trained import Final, TrialModel, baseline_key

_CALIBRATION_TEXTS = 10_000
_ENCODED_TEXTS = 2_000
"""The most train texts that ranges are taken from: with vectors at hand, and where each text must be encoded."""

_DRAWN_PAIRS = 20_000_000
_FEWEST_DRAWS = 200
"""Test pairs times draws, and the fewest draws, of the intervals of quantised vectors. A grid has dozens of these
vectors, and all draws of 30,000 pairs take 10 s each; intervals of 200 draws are 5% too wide or too narrow."""

_ValAndTrain = Callable[[], tuple[Side, Vectors]]
"""Returns the vectors of the val pairs, and those of train texts that ranges are taken from."""


def chosen_by_val(finalists: Sequence[TrialModel], grid: bool) -> dict[str, list[int]]:
    """Return which finalists' vectors are quantised: trial -> dims. finalists: best first.

    In a grid, the best by AUC on val of every cell (base model, kind, Matryoshka or not, dims); else the winner, at
    each of its dims.
    """
    if not grid:
        return {model.outcome.trial: list(model.dims) for model in finalists[:1]}
    best: dict[tuple[Any, ...], tuple[float, str, int]] = {}
    for model in finalists:
        for dims, final in model.val().items():
            cell = (model.base.name, model.kind.label, bool(model.config.matryoshka), dims)
            if cell not in best or final.val_auc > best[cell][0]:
                best[cell] = final.val_auc, model.outcome.trial, dims
    chosen: dict[str, list[int]] = {}
    for _, trial, dims in best.values():
        chosen.setdefault(trial, []).append(dims)
    return chosen


@dataclass(frozen=True)
class _Added:
    """Quantised vectors of a model at some dims. val_auc, test [n]: their AUC on val and scores on test; None with
    float32, which are those of the model.
    """

    key: str
    names: dict[str, str]
    dims: int
    precision: Precision
    val_auc: float | None = None
    test: NDArray[np.float64] | None = None


@dataclass
class QuantisedModels:
    """Collects the results of quantised vectors, model by model.

    bootstrap: of the test pairs. finals: model key -> its results with float32 vectors, test included; resampled: its
    draws on test. Both must be there when `to_json` is called. seed: of the sample of train texts. chosen: of
    `chosen_by_val`. note: why entries are missing, or "".
    """

    bootstrap: Bootstrap
    finals: dict[str, Final]
    resampled: dict[str, Resampled]
    cache: Path
    seed: int
    chosen: dict[str, list[int]]
    note: str = field(default="", init=False)
    _added: list[_Added] = field(default_factory=list, init=False)

    def add_base(self, base: PreparedBase, test: Side) -> None:
        """Add an untouched base model, unless it has folds in place of val. test: its vectors of the test pairs."""

        def val_and_train() -> tuple[Side, Vectors]:
            view = View.open(base.view(self.cache))
            used, (a, b) = used_rows(view.val)
            train = gathered(view.vectors, self._train_rows(view, _CALIBRATION_TEXTS))
            return (gathered(view.vectors, used), PairRows(a, b, view.val.label)), train

        key = baseline_key(base.name)
        if not base.folds:
            self._add({base.dims: key}, {"trial": key, "base_model": base.name}, test, val_and_train)

    def add_trial(self, model: TrialModel, test: Side) -> None:
        """Add a finalist at the dims that were chosen, if any. Else as `add_base`."""

        def val_and_train() -> tuple[Side, Vectors]:
            view = View.open(model.base.view(self.cache))
            most = _ENCODED_TEXTS if model.kind.trains_base else _CALIBRATION_TEXTS
            return model.val_vectors(), model.train_vectors(view, self._train_rows(view, most))

        trial = model.outcome.trial
        keys = {dims: model.key(dims) for dims in self.chosen.get(trial, [])}
        if keys and not model.base.folds:
            self._add(keys, {"trial": trial, "base_model": model.base.name}, test, val_and_train)

    def to_json(self, order: Sequence[str]) -> dict[str, Any]:
        """Return the entries as `quantised` and, if some are missing, the reason as `quantised_note`; {} with folds.

        order: of the entries, model keys. An entry has plain values: key, trial, base_model, dims, precision, bytes
        (per vector), val_auc, auc (test) and its interval, low and high (None if none can be given). Entries of trials
        also have `lost`: the test AUC of the best float32 vectors by val (`lost_from`, their key) minus that of these,
        and its paired interval, lost_low and lost_high.
        """
        self._added.sort(key=lambda one: order.index(one.key))  # stable: precisions stay as they were added
        found = {"quantised": self._compared(self._entries()), "quantised_note": self.note}
        return {name: value for name, value in found.items() if value}

    def _entries(self) -> list[tuple[dict[str, Any], Resampled]]:
        scores = [one.test for one in self._added if one.test is not None]
        pairs = max((len(one) for one in scores), default=1)
        drawn = iter(self.bootstrap.resample_all(scores, max(_DRAWN_PAIRS // max(pairs, 1), _FEWEST_DRAWS)))
        entries = []
        for one in self._added:
            if one.test is None:
                final, resampled = self.finals[one.key], self.resampled[one.key]
                assert final.test is not None
                auc, low, high = final.test.auc, final.test.auc_low, final.test.auc_high
                val_auc: float | None = final.val_auc
            else:
                resampled, val_auc = next(drawn), one.val_auc
                auc, (low, high) = resampled.value, self.bootstrap.interval_of(resampled) or (None, None)
            about = {"key": one.key, **one.names, "dims": one.dims, "precision": one.precision}
            about["bytes"] = bytes_per_vector(one.dims, one.precision)
            entries.append(({**about, "val_auc": val_auc, "auc": auc, "low": low, "high": high}, resampled))
        return entries

    def _compared(self, entries: list[tuple[dict[str, Any], Resampled]]) -> list[dict[str, Any]]:
        whole = [one for one in entries if one[0]["precision"] == "float32" and _is_trained(one[0])]
        if not whole:
            return [entry for entry, _ in entries]
        best, of_best = max(whole, key=lambda one: (one[0]["val_auc"], -one[0]["bytes"]))
        compared = []
        for entry, of_entry in entries:
            if _is_trained(entry):
                lost = self.bootstrap.difference_of(of_best, of_entry)
                ends = {"lost": lost.delta, "lost_low": lost.low, "lost_high": lost.high}
                entry = {**entry, **ends, "lost_from": best["key"]}
            compared.append(entry)
        return compared

    def _add(self, keys: dict[int, str], names: dict[str, str], test: Side, val_and_train: _ValAndTrain) -> None:
        try:
            val, train = val_and_train()
            self._added += self._scored(keys, names, (val, test), train)
        except Exception as error:
            # The scores on test must not be lost for it, since test is opened once.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self.note = self.note or f"quantised vectors of {names['trial']} were not scored ({reason})"

    def _scored(
        self, keys: dict[int, str], names: dict[str, str], sides: tuple[Side, Side], train: Vectors
    ) -> list[_Added]:
        """Score the vectors at all dims and precisions. sides: val, test. No int8 if there are no train texts."""
        val, test = sides
        scored = []
        for dims, key in keys.items():
            ranges = int8_ranges(train, dims)
            scored.append(_Added(key, names, dims, "float32"))
            for one in PRECISIONS:
                if one != "float32" and (one != "int8" or len(train)):
                    val_auc = roc_auc(quantised_scores(val, dims, one, ranges), val[1].label)
                    on_test = quantised_scores(test, dims, one, ranges)
                    scored.append(_Added(key, names, dims, one, val_auc, on_test))
        return scored

    def _train_rows(self, view: View, most: int) -> NDArray[np.int64]:
        """Return the rows of a seeded sample of the distinct train texts, ascending."""
        rows = np.unique(np.concatenate([view.train.a, view.train.b]))
        if len(rows) <= most:
            return rows
        return np.sort(np.random.default_rng(self.seed).choice(rows, most, replace=False))


def _is_trained(entry: dict[str, Any]) -> bool:
    return bool(entry["key"] != baseline_key(entry["base_model"]))
