"""Opens test, once: scores the untouched base models and the finalists on it, with intervals on the same draws.

Thresholds come from val. With bf16 snapshots the test texts are embedded in fp32, so the numbers reported are those
of the exported model (fp32 weights).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.clean import normalise
from tune.data.sides import LabelledPairs
from tune.embed.similarity import cosine
from tune.evaluate.comparisons import judged, planned
from tune.metrics.intervals import Difference, Resampled
from tune.metrics.score import score_pairs
from tune.metrics.spearman import correlate
from tune.metrics.two_way import Drawn, bootstrap_over
from tune.metrics.verdict import correction
from tune.train.trained import Final, Models, TrialModel, base_val, baseline_key


def open_test(finalists: Sequence[TrialModel], models: Models, pairs: LabelledPairs, seed: int) -> dict[str, Any]:
    """Score the base models and the finalists on test. finalists[0] is the winner.

    pairs: the test side. Returns plain values: `pairs` (how many), `intervals` (how they were made: `Drawn.to_json`),
    `models` (key -> Final), `verdict` (the winner against its own untouched base), `verdicts` (against each base, its
    own first), `correction` (a sentence on them), `comparisons` (see `judged`). If pairs have graded scores, also
    `spearman` (the winner's: rho, low and high).
    """
    test = _TestScores(pairs, seed)
    for base in models.bases.values():
        vectors, rows = base.test_rows(models.cache, pairs)
        test.add(baseline_key(base.name), base_val(base, models.cache), cosine(vectors, rows))
    for model in finalists:
        for dims, scores in model.test(pairs).items():
            test.add(model.key(dims), model.val()[dims], scores)
    result: dict[str, Any] = {
        "pairs": len(pairs),
        "intervals": test.drawn.to_json(),
        "models": {key: final.to_json() for key, final in test.finals.items()},
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


def draws_of(pairs: LabelledPairs, seed: int) -> Drawn:
    """Return the bootstrap that fits these pairs.

    What the split calls a component does not matter here: given a fixed model, texts that test shares with train do
    not tie the errors of test pairs to one another. Texts that two test pairs share do, on whichever side. As for the
    split, two texts are the same if their normalised forms are.
    """
    texts = [normalise(text) for side in (pairs.text_a, pairs.text_b) for text in side]
    # Numbered in sorted order, so that draws depend neither on the order of the rows nor on other rows of the data.
    number = {text: place for place, text in enumerate(sorted(set(texts)))}
    ids = np.fromiter((number[text] for text in texts), np.int64, len(texts))
    return bootstrap_over(pairs.label, ids[: len(pairs)], ids[len(pairs) :], seed=seed)


class _TestScores:
    """Every model's scores on test, with their bootstrap draws. finals: by key, in the order they were added."""

    def __init__(self, pairs: LabelledPairs, seed: int) -> None:
        self.drawn = draws_of(pairs, seed)
        self.finals: dict[str, Final] = {}
        self._label, self._grades = pairs.label, pairs.score
        self._resampled: dict[str, Resampled] = {}

    def add(self, key: str, final: Final, scores: NDArray[np.float64]) -> None:
        """Score a model [n] at the thresholds that were fitted on val."""
        resampled = self._resampled[key] = self.drawn.bootstrap.resample(scores)
        test = score_pairs(scores, self._label, final.threshold, final.logistic_threshold)
        test = self.drawn.bootstrap.scored(test, resampled)
        if self._grades is not None and (found := correlate(scores, self._grades, self.drawn.bootstrap)):
            test = replace(test, spearman=found.rho, spearman_low=found.low, spearman_high=found.high)
        self.finals[key] = replace(final, test=test)

    def spearman(self, key: str) -> dict[str, float | None]:
        """Return a model's correlation with the graded scores, and its interval; None where there is none."""
        test = self.finals[key].test
        assert test is not None
        return {"rho": test.spearman, "low": test.spearman_low, "high": test.spearman_high}

    def difference(self, a: str, b: str) -> Difference:
        """Return the difference between two models on the same draws."""
        return self.drawn.bootstrap.difference_of(self._resampled[a], self._resampled[b])
