"""AUC of frozen base models on Quora's own split: untouched, and after a trial with 2,000 or 16,000 pairs.

CoSENT, 256 dims, batch 32, 8 epochs, learning rate 1e-3, two seeds each (a seed draws the training pairs, their order
and the initial Dense). A trial's weights are those of its best report on val (Quora's dev), and they score test once.
A plain training loop with MiniLM reached on test: untouched 0.8812, 2,000 pairs 0.890-0.891, 16,000 pairs 0.900-0.902.
Targets: the mean of the two seeds is at least the lower end. MiniLM's authors list Quora among its training data, so
its untouched figure is not zero-shot; wordllama's README does not list it. Intervals and differences are by components
(tune/metrics/intervals.py). Nothing is chosen by test: there is only one learning rate.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.common import Options, Result, Target, first, pairs_config, split_of
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.data.split import Split
from tune.embed.prepare import PreparedBase, prepare_base
from tune.embed.similarity import cosine
from tune.embed.sources import load_source
from tune.embed.view import PairRows, View
from tune.metrics.intervals import ComponentBootstrap
from tune.metrics.score import roc_auc
from tune.train.frozen.dense import dense_cosine, load_dense
from tune.train.frozen.trial import open_frozen_trial

TITLE = "frozen base models on Quora's own split (test AUC; CoSENT, 256 dims, batch 32, 8 epochs, best by val)"
SIZES = (2_000, 16_000)
SEEDS = (0, 1)
LEARNING_RATE = 1e-3
EXPECTED = {"untouched": 0.8812, "2000": 0.890, "16000": 0.900}
"""Lower ends of the AUCs that a plain loop reached with MiniLM."""


def run(options: Options) -> Result:
    """Run the trials in this process, without Ray."""
    result = Result()
    names = ("wordllama",) if options.quick else ("minilm", "wordllama")
    for name in names:
        result.figures[name] = _base(name, options)
    if "minilm" in result.figures:
        found = result.figures["minilm"]
        result.targets = [
            Target("minilm, untouched", found["untouched"]["test_auc"], least=EXPECTED["untouched"] - 5e-5),
            *(
                Target(f"minilm, {size} pairs (mean of seeds)", found[str(size)]["test_auc_mean"], least=least)
                for size, least in ((2_000, EXPECTED["2000"]), (16_000, EXPECTED["16000"]))
            ),
        ]
        result.notes.append("MiniLM's authors list Quora pairs among its training data")
    return result


@dataclass(frozen=True)
class _Test:
    """The test side of a base model: vectors, pairs and a bootstrap."""

    vectors: NDArray[np.float32]
    rows: PairRows
    bootstrap: ComponentBootstrap


def _base(name: str, options: Options) -> dict[str, Any]:
    source = load_source(name)
    figures: dict[str, Any] = {}
    untouched: NDArray[np.float64] | None = None
    for seed in SEEDS[: 1 if options.quick else None]:
        # The search's seed draws pairs and order, so each seed has its own view of the same snapshot.
        split, sides = split_of(pairs_config(options, search={"seed": seed}, space={"base_model": name}))
        sides = {**sides, "train": first(sides["train"], max(SIZES))}
        base = prepare_base(source, sides, options.cache, ("", ""))
        view = View.open(base.view(options.cache))
        test = _test_side(base, options, split, sides["test"])
        if untouched is None:
            untouched = cosine(test.vectors, test.rows)
            low, high = test.bootstrap.interval(untouched)
            figures["untouched"] = {
                "val_auc": roc_auc(cosine(view.vectors, view.val), view.val.label),
                "test_auc": roc_auc(untouched, test.rows.label),
                "test_auc_low": low,
                "test_auc_high": high,
            }
        for size in SIZES[: 1 if options.quick else None]:
            trial = TrialConfig(
                base_model=name, dims=256, loss="cosent", learning_rate=LEARNING_RATE, train_size=size, seed=seed
            )
            figures.setdefault(str(size), {})[f"seed_{seed}"] = _trial(trial, view, base, test, untouched)
    for size in SIZES[: 1 if options.quick else None]:
        seeds = figures[str(size)]
        seeds["test_auc_mean"] = float(np.mean([trial["test_auc"] for trial in seeds.values()]))
    return figures


def _test_side(base: PreparedBase, options: Options, split: Split, pairs: LabelledPairs) -> _Test:
    vectors, rows = base.rows(options.cache, pairs)
    return _Test(vectors, rows, ComponentBootstrap(pairs.label, split.component[split.side == "test"], seed=0))


def _trial(
    config: TrialConfig, view: View, base: PreparedBase, test: _Test, untouched: NDArray[np.float64]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "trial"
        reports = list(open_frozen_trial(config, directory, view))
        scores = dense_cosine(load_dense(config, directory / "best.safetensors", base.dims), test.vectors, test.rows)
    best = max(reports, key=lambda report: report.auc)
    gain = test.bootstrap.difference(scores, untouched)
    return {
        "test_auc": roc_auc(scores, test.rows.label),
        "val_auc": best.auc,
        "best_report": best.number,
        "gain_on_test": gain.delta,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "seconds": reports[-1].seconds,
        "training_pairs_per_second": float(np.median([report.pairs_per_second for report in reports])),
    }
