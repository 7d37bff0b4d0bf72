"""Opens test, once: scores the untouched base models and the finalists on it, with intervals on the same draws.

Thresholds come from val. With bf16 snapshots the test texts are embedded in fp32, so the numbers reported are those
of the exported model (fp32 weights).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.embed.similarity import cosine
from tune.metrics.intervals import ComponentBootstrap, with_interval
from tune.metrics.multiple import holm, two_sided_p
from tune.metrics.score import score_pairs
from tune.metrics.verdict import Verdict, correction, storage, verdict
from tune.train.kinds import TRAINS_BASE
from tune.train.trained import Final, Models, TrialModel, base_val, baseline_key


def open_test(
    finalists: Sequence[TrialModel], models: Models, pairs: LabelledPairs, component: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Score the base models and the finalists on test. finalists[0] is the winner.

    pairs, component: the test side, [n]. Returns plain values: `models` (key -> Final), `verdict` (the winner
    against its own untouched base), `verdicts` (against each base, its own first), `correction` (a sentence on them),
    `comparisons` (see `_comparisons`), `draws` (of the bootstrap).
    """
    test = _TestScores(pairs, component, seed)
    for base in models.bases.values():
        vectors, rows = base.test_rows(models.cache, pairs)
        test.add(baseline_key(base.name), base_val(base, models.cache), cosine(vectors, rows))
    for model in finalists:
        for dims, scores in model.test(pairs).items():
            test.add(model.key(dims), model.val()[dims], scores)
    result: dict[str, Any] = {
        "pairs": len(pairs),
        "components": test.bootstrap.components,
        "draws": test.bootstrap.draws,
        "redrawn": test.bootstrap.redraws,
        "models": {key: final.to_json() for key, final in test.finals.items()},
        "verdict": None,
        "verdicts": [],
        "correction": "",
        "comparisons": [],
    }
    if finalists:
        winner = finalists[0].key(finalists[0].dims[0])
        entries = result["comparisons"] = _comparisons(finalists, models, test)
        against = [entry for entry in entries if entry["a"] == winner and entry["kind"] in ("own", "other")]
        against.sort(key=lambda entry: entry["kind"] != "own")
        result["verdict"] = against[0]
        result["verdicts"] = [entry["sentence"] for entry in against]
        result["correction"] = correction(against, len(entries), test.bootstrap.draws)
    return result


class _TestScores:
    """Every model's scores on test, with their bootstrap draws. finals: by key, in the order they were added."""

    def __init__(self, pairs: LabelledPairs, component: NDArray[np.int64], seed: int) -> None:
        self.bootstrap = ComponentBootstrap(pairs.label, component, seed=seed)
        self.finals: dict[str, Final] = {}
        self._label = pairs.label
        self._auc: dict[str, float] = {}
        self._draws: dict[str, NDArray[np.float64]] = {}

    def add(self, key: str, final: Final, scores: NDArray[np.float64]) -> None:
        """Score a model [n] at the thresholds that were fitted on val."""
        draws = self.bootstrap.aucs(scores)
        test = score_pairs(scores, self._label, final.threshold, final.logistic_threshold)
        self._auc[key], self._draws[key] = test.auc, draws
        self.finals[key] = replace(final, test=with_interval(test, self.bootstrap, draws))

    def compare(self, a: str, b: str, names: tuple[str, str], aside: str) -> Verdict:
        """Return the verdict on model `a` against `b`, on the same draws. names: as the sentence has them."""
        difference = self.bootstrap.difference_of(self._auc[a] - self._auc[b], self._draws[a], self._draws[b])
        return verdict(*names, difference, aside)


def _comparisons(finalists: Sequence[TrialModel], models: Models, test: _TestScores) -> list[dict[str, Any]]:
    """Compare every finalist with every untouched base model, and the best trials that train the base with the rest.

    Plain values: `kind` (own: against its own base model; other; frozen: against the best frozen trial), `a`, `b`
    (keys), the verdict's own, `p` (two-sided, from the bootstrap) and `p_holm` (after Holm's correction for all of
    these comparisons).
    """
    entries: list[dict[str, Any]] = []

    def add(kind: str, a: str, b: str, names: tuple[str, str], aside: str = "") -> None:
        entries.append({"kind": kind, "a": a, "b": b, **test.compare(a, b, names, aside).to_json()})

    for model in finalists:
        subject = f"the winner ({described(model)})" if model is finalists[0] else described(model)
        for dims in model.dims:
            for name, base in models.bases.items():
                kind = "own" if name == model.base.name else "other"
                other = name if base.closed is not None else f"the untouched {name}"
                add(kind, model.key(dims), baseline_key(name), (subject, other), storage(dims, base.dims))
    frozen = next((model for model in finalists if not model.kind.trains_base), None)
    for trial_kind in TRAINS_BASE:
        whole = next((model for model in finalists if model.kind is trial_kind), None)
        if frozen is not None and whole is not None:
            a, b = whole.dims[0], frozen.dims[0]
            other = f"the best frozen one ({described(frozen, b)})"
            add("frozen", whole.key(a), frozen.key(b), (described(whole, a), other))
    p_values = [two_sided_p(entry["share_above_zero"], entry["draws"]) for entry in entries]
    for entry, p, p_holm in zip(entries, p_values, holm(p_values), strict=True):
        entry |= {"p": p, "p_holm": p_holm}
    return entries


def described(model: TrialModel, dims: int | None = None) -> str:
    """Return a model in a few words: "minilm, whole, 128 dims, cosent". dims None: leave them out."""
    kind = [model.kind.label] if model.kind.trains_base else []
    return ", ".join([model.config.base_model, *kind, *([f"{dims} dims"] if dims else []), model.config.loss])
