"""How well trials that report on a part of val are chosen among: frozen on all and whole on some, or all on one sample.

Per base model, frozen trials and trials that train the base are trained on the same pairs and scored on all of val.
From these scores, many searches are played with other samples:

- before: frozen trials report on all of val, whole ones on a random sample as large as a short trial can afford; the
  best five by report, and the best of each kind, are scored on all of val, and the best of these is chosen;
- after: all trials report on one stratified sample; all whose interval overlaps the leader's are scored on all of val.

Regret is the AUC on all of val of the best trial minus that of the chosen one. A level pair is a frozen and a whole
trial within LEVEL of each other on all of val; it is shown apart if what they report differs by a point or more.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.common import Options, Result, Target, first, pairs_config, split_of, threads
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase, ViewOptions, prepare_base
from tune.embed.similarity import cosine
from tune.embed.sources import load_source
from tune.embed.view import View, write_sample
from tune.metrics.sample import sample_error, stratified_order
from tune.metrics.score import roc_auc
from tune.train.kinds import kind_of
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models

TITLE = "choosing among trials that report on a part of validation"
TRAIN_PAIRS, LEVEL, SHOWN = 2000, 0.003, 0.01
BEFORE_PAIRS, AFTER_PAIRS = (298, 597), (500, 1000, 2000)
BASES = {"wordllama": (1e-4, 3e-2, 2), "minilm": (1e-6, 1e-4, 1)}
"""Base model -> range of the learning rate of whole trials, and their epochs."""


def run(options: Options) -> Result:
    """Train the trials of each base model, and play the searches."""
    result = Result()
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for base_model in list(BASES)[: options.pick(len(BASES), 1)]:
            _play(_scores(options, base_model, Path(folder) / base_model), base_model, options, result)
    return result


def _scores(options: Options, base_model: str, folder: Path) -> dict[str, Any]:
    """Return {label, base [val], frozen, whole: [trials, val]} of cosine similarities on all of val."""
    _, sides = split_of(pairs_config(options, space={"base_model": base_model}))
    sides["train"] = first(sides["train"], options.pick(TRAIN_PAIRS, 300))
    sides["val"] = first(sides["val"], options.pick(len(sides["val"]), 600))
    base = prepare_base(load_source(base_model), sides, options.cache, ("", ""), ViewOptions(texts=True))
    view = View.open(base.view(options.cache))
    # What reports look at is not what is measured here; a short one saves an hour on MiniLM.
    sample = write_sample(view.directory, np.arange(min(1000, len(view.val))))
    for config in _configs(base_model, options, sample):
        directory = folder / "trials" / config.digest(base.digest)
        for _ in kind_of(config).open(config, directory, view):
            pass
    found = _scored(base, options.cache, folder, sides["val"])
    return {"label": view.val.label, "base": cosine(view.vectors, view.val), **found}


def _configs(base_model: str, options: Options, sample: str) -> list[TrialConfig]:
    """Return seeded draws of both kinds."""
    low, high, epochs = BASES[base_model]
    generator = np.random.default_rng(18)
    configs = []
    for number in range(options.pick(20 if base_model == "wordllama" else 16, 6)):
        frozen = number % 2 == 0
        rates = (1e-4, 1e-2) if frozen else (low, high)
        rate = float(np.exp(generator.uniform(*np.log(rates))))
        dims = int(generator.choice((64, 128, 256)))
        loss: Any = str(generator.choice(("cosent", "online_contrastive", "contrastive", "cosine", "angle")))
        configs.append(
            TrialConfig(
                base_model=base_model, dims=dims, loss=loss, learning_rate=rate, freeze=frozen,
                epochs=8 if frozen else epochs, val_sample=sample,
            )
        )  # fmt: skip
    return configs


def _scored(base: PreparedBase, cache: Path, folder: Path, val: LabelledPairs) -> dict[str, NDArray[np.float64]]:
    models = Models({base.name: base}, cache, None)
    scores: dict[str, list[NDArray[np.float64]]] = {"frozen": [], "whole": []}
    for outcome in trial_outcomes(folder / "trials", folder / "asha.json"):
        model = models.of(outcome)
        scores["whole" if model.kind.trains_base else "frozen"].append(next(iter(model.test(val).values())))
    return {kind: np.array(values) for kind, values in scores.items()}


def _play(found: dict[str, Any], base_model: str, options: Options, result: Result) -> None:
    label, draws = found["label"], options.pick(200, 20)
    scores = np.concatenate([found["frozen"], found["whole"]])
    whole = np.arange(len(scores)) >= len(found["frozen"])
    truth = np.array([roc_auc(one, label) for one in scores])
    level = [(a, b) for a in np.flatnonzero(~whole) for b in np.flatnonzero(whole) if abs(truth[a] - truth[b]) < LEVEL]
    figures: dict[str, Any] = {"trials": len(scores), "val_pairs": len(label), "level_pairs": len(level)}
    figures["auc"] = {"best": float(truth.max()), "worst": float(truth.min())}
    for pairs in BEFORE_PAIRS:
        outcomes = []
        for seed in range(draws):
            sample = np.random.default_rng(seed).permutation(len(label))[:pairs]
            reported = np.where(whole, [roc_auc(one[sample], label[sample]) for one in scores], truth)
            outcomes.append((reported, _best_five(reported, whole)))
        figures[f"before_{pairs}"] = _summary(outcomes, truth, level)
    for pairs in AFTER_PAIRS:
        outcomes, errors = [], []
        for seed in range(draws):
            sample = stratified_order(label, [found["base"]], seed)[:pairs]
            reported = np.array([roc_auc(one[sample], label[sample]) for one in scores])
            outcomes.append((reported, _overlapping(reported, label[sample], len(label), whole)))
            errors.append(reported - truth)
        figures[f"after_{pairs}"] = _summary(outcomes, truth, level)
        figures[f"after_{pairs}"]["auc_error"] = float(np.std(errors))
    result.figures[base_model] = figures
    after = figures["after_1000"]["mean_regret"]
    result.targets.append(Target(f"{base_model}: mean regret, 1,000 stratified pairs", after, most=0.0005))


def _best_five(reported: NDArray[np.float64], whole: NDArray[np.bool_]) -> set[int]:
    best = np.argsort(-reported, kind="stable")
    return {int(one) for one in (*best[:5], *(next(one for one in best if whole[one] == kind) for kind in (0, 1)))}


def _overlapping(
    reported: NDArray[np.float64], label: NDArray[np.int8], of_pairs: int, whole: NDArray[np.bool_]
) -> set[int]:
    positives = int((label == 1).sum())
    width = [1.96 * sample_error(float(auc), positives, len(label) - positives, of_pairs) for auc in reported]
    leader = int(reported.argmax())
    overlap = {one for one in range(len(reported)) if reported[leader] - reported[one] <= width[leader] + width[one]}
    return overlap | _best_five(reported, whole)


def _summary(
    outcomes: list[tuple[NDArray[np.float64], set[int]]], truth: NDArray[np.float64], level: list[tuple[int, int]]
) -> dict[str, float]:
    regrets = [float(truth.max() - max(truth[one] for one in scored)) for _, scored in outcomes]
    by_report = [float(truth.max() - truth[int(reported.argmax())]) for reported, _ in outcomes]
    apart = [abs(reported[a] - reported[b]) >= SHOWN for reported, _ in outcomes for a, b in level]
    return {
        "mean_regret": float(np.mean(regrets)),
        "largest_regret": max(regrets),
        "mean_regret_by_report_alone": float(np.mean(by_report)),
        "scored_on_all_of_val": float(np.mean([len(scored) for _, scored in outcomes])),
        "level_pairs_shown_apart": float(np.mean(apart)) if apart else 0.0,
    }
