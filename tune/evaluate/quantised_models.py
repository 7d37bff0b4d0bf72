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


@dataclass
class QuantisedModels:
    """Collects the results of quantised vectors, model by model.

    bootstrap: of the test pairs. finals: model key -> its results with float32 vectors, test included; resampled: its
    draws on test. Both must be there when the model is added. seed: of the sample of train texts. chosen: of
    `chosen_by_val`. entries: a dict of plain values per model key and precision: key, trial, base_model, dims,
    precision, bytes (per vector), val_auc, auc (test) and its interval, low and high (None if none can be given). note:
    why entries are missing, or "".
    """

    bootstrap: Bootstrap
    finals: dict[str, Final]
    resampled: dict[str, Resampled]
    cache: Path
    seed: int
    chosen: dict[str, list[int]]
    entries: list[dict[str, Any]] = field(default_factory=list, init=False)
    note: str = field(default="", init=False)
    _of_entry: list[Resampled] = field(default_factory=list, init=False)

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

    def to_json(self) -> dict[str, Any]:
        """Return the entries as `quantised` and, if some are missing, the reason as `quantised_note`; {} with folds.

        Entries of trials also have `lost`: the test AUC of the best float32 vectors by val (`lost_from`, their key)
        minus that of these, and its paired interval, lost_low and lost_high.
        """
        found = {"quantised": self._compared(), "quantised_note": self.note}
        return {name: value for name, value in found.items() if value}

    def _compared(self) -> list[dict[str, Any]]:
        whole = [
            place for place, entry in enumerate(self.entries) if entry["precision"] == "float32" and _is_trained(entry)
        ]
        if not whole:
            return self.entries
        best = max(whole, key=lambda place: (self.entries[place]["val_auc"], -self.entries[place]["bytes"]))
        compared = []
        for entry, of_entry in zip(self.entries, self._of_entry, strict=True):
            if _is_trained(entry):
                lost = self.bootstrap.difference_of(self._of_entry[best], of_entry)
                ends = {"lost": lost.delta, "lost_low": lost.low, "lost_high": lost.high}
                entry = {**entry, **ends, "lost_from": self.entries[best]["key"]}
            compared.append(entry)
        return compared

    def _add(self, keys: dict[int, str], names: dict[str, str], test: Side, val_and_train: _ValAndTrain) -> None:
        try:
            val, train = val_and_train()
            scored = self._scored(keys, (val, test), train)
        except Exception as error:
            # The scores on test must not be lost for it, since test is opened once.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self.note = self.note or f"quantised vectors of {names['trial']} were not scored ({reason})"
            return
        for (dims, precision), (numbers, resampled) in scored.items():
            about = {"key": keys[dims], **names, "dims": dims, "precision": precision}
            self.entries.append({**about, "bytes": bytes_per_vector(dims, precision), **numbers})
            self._of_entry.append(resampled)

    def _scored(
        self, keys: dict[int, str], sides: tuple[Side, Side], train: Vectors
    ) -> dict[tuple[int, Precision], tuple[dict[str, float | None], Resampled]]:
        """Return AUC on val, AUC on test with its interval, and draws, by dims and precision. sides: val, test.

        With float32 they are those in `finals`. There is no int8 if there are no train texts.
        """
        val, test = sides
        quantised = [one for one in PRECISIONS if one != "float32" and (one != "int8" or len(train))]
        ranges = {dims: int8_ranges(train, dims) for dims in keys}
        on_test = [quantised_scores(test, dims, one, ranges[dims]) for dims in keys for one in quantised]
        draws = _DRAWN_PAIRS // max(len(test[1].label), 1)
        resampled = iter(self.bootstrap.resample_all(on_test, max(draws, _FEWEST_DRAWS)))
        scored: dict[tuple[int, Precision], tuple[dict[str, float | None], Resampled]] = {}
        for dims, key in keys.items():
            final = self.finals[key]
            assert final.test is not None
            low, high = final.test.auc_low, final.test.auc_high
            own = {"val_auc": final.val_auc, "auc": final.test.auc, "low": low, "high": high}
            scored[dims, "float32"] = own, self.resampled[key]
            for one in quantised:
                of_test = next(resampled)
                low, high = self.bootstrap.interval_of(of_test) or (None, None)
                val_auc = roc_auc(quantised_scores(val, dims, one, ranges[dims]), val[1].label)
                scored[dims, one] = {"val_auc": val_auc, "auc": of_test.value, "low": low, "high": high}, of_test
        return scored

    def _train_rows(self, view: View, most: int) -> NDArray[np.int64]:
        """Return the rows of a seeded sample of the distinct train texts, ascending."""
        rows = np.unique(np.concatenate([view.train.a, view.train.b]))
        if len(rows) <= most:
            return rows
        return np.sort(np.random.default_rng(self.seed).choice(rows, most, replace=False))


def _is_trained(entry: dict[str, Any]) -> bool:
    return bool(entry["key"] != baseline_key(entry["base_model"]))
