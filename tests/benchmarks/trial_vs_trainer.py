"""One frozen trial against SentenceTransformerTrainer: equal AUC, and the ratio of training pairs per second.

Both train MiniLM with a Dense 384 -> 256 by CoSENT on the same pairs, batches, epochs, learning rate and warmup
(tests/benchmarks/trainer.py). The trial reads precomputed vectors, on one thread; embedding them is reported but not
counted (sweep_vs_trainer counts it). The trainer embeds every batch, on all cores. Both are scored on the same val and
test rows, the trainer's model from texts, the trial's Dense from vectors.

Targets: the AUCs differ by at most 0.005 on either side, and the training pairs per second, without validation, by a
factor of at least 400. `wall` counts everything that a trial does: setup, 16 validations, files.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common import Options, Result, Stopwatch, Target, first, pairs_config, some, split_of
from tests.benchmarks.trainer import run_trainer, scores
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.prepare import prepare_base
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.metrics.score import roc_auc
from tune.train.frozen.dense import dense_cosine, load_dense
from tune.train.frozen.trial import open_frozen_trial
from tune.train.stream import Report

TITLE = "one frozen trial against SentenceTransformerTrainer, embedding excluded"
TRAIN, SCORED, EPOCHS = 2_000, 2_000, 2


def run(options: Options) -> Result:
    """Train both on the same pairs, one after the other."""
    _, sides = split_of(pairs_config(options, space={"base_model": "minilm"}))
    sides = {
        "train": first(sides["train"], options.pick(TRAIN, 160)),
        "val": some(sides["val"], options.pick(SCORED, 300)),
        "test": some(sides["test"], options.pick(SCORED, 300)),
    }
    config = TrialConfig(base_model="minilm", dims=256, loss="cosent", learning_rate=1e-3, epochs=EPOCHS)
    trial = _train_trial(config, sides, options.cache)
    trainer = run_trainer(config, sides["train"])
    trainer_auc = {side: roc_auc(scores(trainer.model, sides[side]), sides[side].label) for side in ("val", "test")}
    between = _pairs(trial.reports, trainer.pairs)
    speed = trainer.pairs / sum(n / r.pairs_per_second for n, r in zip(between, trial.reports, strict=True))
    last, best = trial.reports[-1], trial.best
    result = Result()
    result.figures = {
        "train_pairs": len(sides["train"]),
        "epochs": EPOCHS,
        "trial": {
            "val_auc": last.auc,
            "best_report": best.number,
            "reports": len(trial.reports),
            "test_auc": trial.test_auc,
            "pairs_per_second": speed,
            "wall_seconds": trial.wall,
            "wall_pairs_per_second": trainer.pairs / trial.wall,
        },
        "trainer": {
            "val_auc": trainer_auc["val"],
            "test_auc": trainer_auc["test"],
            "pairs_per_second": trainer.pairs_per_second,
            "seconds": trainer.seconds,
        },
        "ratio_pairs_per_second": speed / trainer.pairs_per_second,
        "ratio_wall": trainer.seconds / trial.wall,
        "embedding": trial.embedding,
    }
    differences = (last.auc - trainer_auc["val"], trial.test_auc - trainer_auc["test"])
    result.targets = [
        Target("AUC, largest difference", max(map(abs, differences)), most=0.005),
        Target("training pairs per second, trial over trainer", speed / trainer.pairs_per_second, least=400),
    ]
    if best is not last:
        result.notes.append("the trial's test AUC is that of its best report on val, the trainer's of its last weights")
    return result


@dataclass(frozen=True)
class _Trial:
    """A trained trial. wall: its seconds in all. embedding: figures of the embedding before it."""

    reports: list[Report]
    wall: float
    test_auc: float
    embedding: dict[str, Any]

    @property
    def best(self) -> Report:
        return max(self.reports, key=lambda report: report.auc)


def _train_trial(config: TrialConfig, sides: dict[str, LabelledPairs], cache: Path) -> _Trial:
    source = load_source("minilm")
    with Stopwatch() as embedding:
        base = prepare_base(source, sides, cache, ("", ""))
    view = View.open(base.view(cache))
    vectors, rows = base.rows(cache, sides["test"])
    with tempfile.TemporaryDirectory() as folder:
        # Twice: the first trial also pays for first calls in a process, and trials share processes.
        _reports(config, Path(folder) / "warm", view)
        reports, wall = _reports(config, Path(folder) / "trial", view)
        dense = load_dense(config, Path(folder) / "trial" / "best.safetensors", base.dims)
        test_auc = roc_auc(dense_cosine(dense, vectors, rows), sides["test"].label)
    embedded = {"texts": base.texts, "embedded_now": base.embedded, "seconds": embedding.seconds}
    return _Trial(reports, wall, test_auc, embedded)


def _reports(config: TrialConfig, folder: Path, view: View) -> tuple[list[Report], float]:
    began = time.perf_counter()
    reports = list(open_frozen_trial(config, folder, view))
    return reports, time.perf_counter() - began


def _pairs(reports: list[Report], total: int) -> list[float]:
    """Return the number of training pairs between reports."""
    return [float(pairs) for pairs in np.diff([0.0, *(report.budget * total for report in reports)])]
