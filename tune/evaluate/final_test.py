"""Opens test, once: scores the untouched base models and the finalists on it, with intervals on the same draws.

Thresholds come from val. With bf16 snapshots the test texts are embedded in fp32, so that what is reported is what
the exported model (fp32 weights) gives.
"""

from collections.abc import Callable, Sequence
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
from tune.train.trained import Final, Models, TrialModel, base_val, baseline_key


def open_test(
    finalists: Sequence[TrialModel], models: Models, pairs: LabelledPairs, component: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Scores baselines and finalists on test. finalists[0] is the winner.

    pairs, component: the test side, [n]. Returns plain values: `models` (key -> Final), `verdict` (the winner
    against its own untouched base), `verdicts` (against each base, its own first), `correction` (a sentence on them),
    `comparisons` (see `_comparisons`), `draws` (of the bootstrap).
    """
    bootstrap = ComponentBootstrap(pairs.label, component, seed=seed)
    finals: dict[str, Final] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    for base in models.bases.values():
        vectors, rows = base.test_rows(models.cache, pairs)
        scores[baseline_key(base.name)] = cosine(vectors, rows)
        finals[baseline_key(base.name)] = base_val(base, models.cache)
    for model in finalists:
        for dims, of_dims in model.test(pairs).items():
            scores[model.key(dims)] = of_dims
            finals[model.key(dims)] = model.val()[dims]
    draws = {key: bootstrap.aucs(values) for key, values in scores.items()}
    scored: dict[str, Final] = {}
    aucs: dict[str, float] = {}
    for key, final in finals.items():
        test = score_pairs(scores[key], pairs.label, final.threshold, final.logistic_threshold)
        aucs[key] = test.auc
        scored[key] = replace(final, test=with_interval(test, bootstrap, draws[key]))

    def compared(a: str, b: str, name: str, other: str, aside: str) -> Verdict:
        delta = aucs[a] - aucs[b]
        return verdict(name, other, bootstrap.difference_of(delta, draws[a], draws[b]), aside)

    result: dict[str, Any] = {
        "pairs": len(pairs),
        "components": bootstrap.components,
        "draws": bootstrap.draws,
        "redrawn": bootstrap.redraws,
        "models": {key: final.to_json() for key, final in scored.items()},
        "verdict": None,
        "verdicts": [],
        "correction": "",
        "comparisons": [],
    }
    if finalists:
        winner = finalists[0].key(finalists[0].dims[0])
        entries = result["comparisons"] = _comparisons(finalists, models, compared)
        against = [entry for entry in entries if entry["a"] == winner and entry["kind"] in ("own", "other")]
        against.sort(key=lambda entry: entry["kind"] != "own")
        result["verdict"] = against[0]
        result["verdicts"] = [entry["sentence"] for entry in against]
        result["correction"] = correction(against, len(entries), bootstrap.draws)
    return result


def _comparisons(
    finalists: Sequence[TrialModel], models: Models, compared: Callable[[str, str, str, str, str], Verdict]
) -> list[dict[str, Any]]:
    """Every finalist against every untouched base model, and the best model of either kind against one another.

    Plain values: `kind` (own: against its own base model, other, frozen), `a`, `b` (keys), the verdict's own, `p`
    (two-sided, of the bootstrap) and `p_holm`: after Holm's correction for as many comparisons as there are here.
    """
    entries: list[dict[str, Any]] = []

    def add(kind: str, a: str, b: str, name: str, other: str, aside: str = "") -> None:
        entries.append({"kind": kind, "a": a, "b": b, **compared(a, b, name, other, aside).to_json()})

    for model in finalists:
        told = f"the winner ({described(model)})" if model is finalists[0] else described(model)
        for dims in model.dims:
            for name, base in models.bases.items():
                kind = "own" if name == model.base.name else "other"
                other = name if base.closed is not None else f"the untouched {name}"
                add(kind, model.key(dims), baseline_key(name), told, other, storage(dims, base.dims))
    frozen = next((model for model in finalists if model.config.freeze), None)
    for train in ("full", "lora"):
        whole = next((one for one in finalists if not one.config.freeze and one.config.train == train), None)
        if frozen is not None and whole is not None:
            a, b = whole.dims[0], frozen.dims[0]
            other = f"the best frozen one ({described(frozen, b)})"
            add("frozen", whole.key(a), frozen.key(b), described(whole, a), other)
    p_values = [two_sided_p(entry["share_above_zero"], entry["draws"]) for entry in entries]
    for entry, p, p_holm in zip(entries, p_values, holm(p_values), strict=True):
        entry |= {"p": p, "p_holm": p_holm}
    return entries


def described(model: TrialModel, dims: int | None = None) -> str:
    """A model in a few words: "minilm, whole, 128 dims, cosent"; dims None: without them."""
    kind = [] if model.config.freeze else ["whole" if model.config.train == "full" else "LoRA"]
    return ", ".join([model.config.base_model, *kind, *([f"{dims} dims"] if dims else []), model.config.loss])
