"""Opens test, once: scores the untouched base models and the finalists on it, with intervals on the same draws.

Thresholds come from val. With bf16 or int8 snapshots the test texts are embedded in fp32, so the numbers reported are
those of the exported model (fp32 weights).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.embed.similarity import cosine
from tune.evaluate.comparisons import judged, planned
from tune.evaluate.draws import draws_of
from tune.evaluate.quantised_models import QuantisedModels, chosen_by_val
from tune.evaluate.tfidf import TFIDF_KEY, TfidfBaseline
from tune.events import Emit, Progress, ignore, working
from tune.metrics.intervals import Difference, Resampled
from tune.metrics.score import score_pairs
from tune.metrics.spearman import correlate
from tune.metrics.verdict import correction
from tune.train.trained import Final, Models, TrialModel, base_on_val, baseline_key


@dataclass(frozen=True)
class Cosines:
    """The cosines of one model on single pairs, [n] each. val: all of val; with folds, train and then val."""

    val: NDArray[np.float32]
    test: NDArray[np.float32]


@dataclass(frozen=True)
class Opened:
    """What opening test has shown. result: plain values. cosines: by key, of base models, TF-IDF and the winner (at the
    dims that rank it).
    """

    result: dict[str, Any]
    cosines: dict[str, Cosines]


@dataclass(frozen=True)
class Opening:
    """What else to do. tfidf: to score as well. grid: whether the finalists come from a grid. emit: gets progress."""

    tfidf: TfidfBaseline | None = None
    grid: bool = False
    emit: Emit = ignore


_ALONE = Opening()


def open_test(
    finalists: Sequence[TrialModel],
    models: Models,
    pairs: LabelledPairs,
    seed: int,
    opening: Opening = _ALONE,
) -> Opened:
    """Score the base models, TF-IDF (if given) and the finalists on test. finalists[0] is the winner.

    pairs: the test side. The result has `pairs` (how many), `intervals` (how they were made: `Drawn.to_json`), `models`
    (key -> Final), `verdict` (the winner against its own untouched base), `verdicts` (against each base, its own
    first), `correction` (a sentence on them), `comparisons` (see `judged`), `tf_idf` (how it was made, if given:
    `TfidfBaseline.to_json`). If pairs have graded scores, also `spearman` (the winner's: rho, low and high).
    Without folds, the result also has `quantised` (see `QuantisedModels`), of the models that `chosen_by_val` returns.
    """
    test, tfidf = _TestScores(pairs, seed), opening.tfidf
    chosen = chosen_by_val(finalists, opening.grid)
    quantised = QuantisedModels(test.drawn.bootstrap, test.finals, test.resampled, models.cache, seed, chosen)
    scored, total = 0, len(models.bases) + len(finalists)
    progress = working(opening.emit, "scoring test", "models")
    if tfidf is not None:
        test.add(TFIDF_KEY, tfidf.final, tfidf.test(pairs), tfidf.val)
    for base in models.bases.values():
        vectors, rows = of_base = base.test_rows(models.cache, pairs)
        final, on_val = base_on_val(base, models.cache)
        test.add(baseline_key(base.name), final, cosine(vectors, rows), on_val)
        quantised.add_base(base, of_base)
        progress(scored := scored + 1, total)
        # Beside their base, whose vectors take long to gather and are many.
        for model in [one for one in finalists if one.base.name == base.name]:
            of_test = model.test_vectors(pairs, of_base)
            for dims, scores in model.scores(*of_test).items():
                ranks = model is finalists[0] and dims == model.dims[0]
                test.add(model.key(dims), model.val()[dims], scores, model.val_scores() if ranks else None)
            quantised.add_trial(model, of_test)
            progress(scored := scored + 1, total)
    order = [*map(baseline_key, models.bases), TFIDF_KEY, *(one.key(dims) for one in finalists for dims in one.dims)]
    test.resample(order, working(opening.emit, "intervals on test", "draws"))
    return Opened(_result(test, finalists, models, pairs, tfidf) | quantised.to_json(order), test.cosines)


def _result(
    test: "_TestScores",
    finalists: Sequence[TrialModel],
    models: Models,
    pairs: LabelledPairs,
    tfidf: TfidfBaseline | None,
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "pairs": len(pairs),
        "intervals": test.drawn.to_json(),
        "models": {key: final.to_json() for key, final in test.finals.items()},
        **({} if tfidf is None else {"tf_idf": tfidf.to_json()}),
        "verdict": None,
        "verdicts": [],
        "correction": "",
        "comparisons": [],
    }
    if finalists:
        if pairs.score is not None:
            result["spearman"] = test.spearman(finalists[0].key(finalists[0].dims[0]))
        comparisons = planned(finalists, models)
        entries = judged(comparisons, [test.difference(one.a, one.b) for one in comparisons])
        primary = [entry for entry in entries if entry["family"] == "primary"]
        against = sorted(
            (entry for entry in primary if entry["kind"] != "frozen"), key=lambda entry: entry["kind"] != "own"
        )
        result["comparisons"] = entries
        result["verdict"] = against[0]
        result["verdicts"] = [entry["sentence"] for entry in against]
        result["correction"] = correction(sum(entry["p_holm"] is not None for entry in primary))
    return result


class _TestScores:
    """Every model's scores on test, with their bootstrap draws. finals, resampled: by key, once `resample` was called.

    cosines: by key, of the models that were added with those on val.
    """

    def __init__(self, pairs: LabelledPairs, seed: int) -> None:
        self.drawn = draws_of(pairs, seed)
        self.finals: dict[str, Final] = {}
        self.cosines: dict[str, Cosines] = {}
        self._label, self._grades = pairs.label, pairs.score
        self.resampled: dict[str, Resampled] = {}
        self._added: dict[str, tuple[Final, NDArray[np.float64]]] = {}

    def add(
        self, key: str, final: Final, scores: NDArray[np.float64], on_val: NDArray[np.floating] | None = None
    ) -> None:
        """Add a model's scores [n]. final: its results on val. on_val: its cosines there, if they are kept."""
        if on_val is not None:
            self.cosines[key] = Cosines(on_val.astype(np.float32), scores.astype(np.float32))
        self._added[key] = final, scores

    def resample(self, order: Sequence[str], progress: Progress) -> None:
        """Score what was added, in this order, at the thresholds fitted on val, each draw made once for all models."""
        keys = [key for key in order if key in self._added]
        self.cosines = {key: self.cosines[key] for key in keys if key in self.cosines}
        bootstrap = self.drawn.bootstrap
        drawn = bootstrap.resample_all([self._added[key][1] for key in keys], progress=progress)
        for key, resampled in zip(keys, drawn, strict=True):
            final, scores = self._added[key]
            self.resampled[key] = resampled
            test = score_pairs(scores, self._label, final.threshold, final.logistic_threshold)
            test = bootstrap.scored(test, resampled)
            if self._grades is not None and (found := correlate(scores, self._grades, bootstrap)):
                test = replace(test, spearman=found.rho, spearman_low=found.low, spearman_high=found.high)
            self.finals[key] = replace(final, test=test)

    def spearman(self, key: str) -> dict[str, float | None]:
        """Return a model's correlation with the graded scores, and its interval; None where there is none."""
        test = self.finals[key].test
        assert test is not None
        return {"rho": test.spearman, "low": test.spearman_low, "high": test.spearman_high}

    def difference(self, a: str, b: str) -> Difference:
        """Return the difference between two models on the same draws."""
        return self.drawn.bootstrap.difference_of(self.resampled[a], self.resampled[b])
