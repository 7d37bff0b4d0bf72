"""One frozen trial against SentenceTransformerTrainer: the same AUC, and how many times the training pairs per second.

Both train MiniLM with a Dense 384 -> 256 by CoSENT on the same pairs, batches, epochs, learning rate and warm-up
(tests/benchmarks/trainer.py). The trial reads vectors that were embedded before, on one thread; the embedding is stated
but not counted here (sweep_vs_trainer counts it). The trainer embeds every batch, on all cores. AUC is that of the same
val and test rows: the trainer's model scores them from their texts, the trial's Dense from vectors.

Held against targets: the difference of the AUCs (at most 0.005 on either side) and the ratio of training pairs per
second, validation in neither (at least 150). `wall` counts all that a trial does: set-up, 16 validations, files.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.common import Options, Result, Stopwatch, Target, first, pairs_config, some, split_of
from tests.benchmarks.trainer import run_trainer, scores
from tune.config.trial import TrialConfig
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
    """Trains both on the same pairs, one after the other."""
    config = pairs_config(options, space={"base_model": "minilm"})
    _, sides = split_of(config)
    sides = {
        "train": first(sides["train"], options.pick(TRAIN, 160)),
        "val": some(sides["val"], options.pick(SCORED, 300)),
        "test": some(sides["test"], options.pick(SCORED, 300)),
    }
    trial = TrialConfig(base_model="minilm", dims=256, loss="cosent", learning_rate=1e-3, epochs=EPOCHS)
    source = load_source("minilm")
    with Stopwatch() as embedding:
        base = prepare_base(source, sides, options.cache, ("", ""))
    view = View.open(base.view(options.cache))
    test_vectors, test_rows = base.rows(options.cache, sides["test"])
    with tempfile.TemporaryDirectory() as folder:
        # Twice: the first also pays for what runs for the first time in a process; trials share processes.
        _adapter(trial, Path(folder) / "warm", view)
        reports, wall = _adapter(trial, Path(folder) / "trial", view)
        best = max(reports, key=lambda report: report.auc)
        dense = load_dense(trial, Path(folder) / "trial" / "best.safetensors", base.dims)
        trial_test = roc_auc(dense_cosine(dense, test_vectors, test_rows), sides["test"].label)
    trainer = run_trainer(trial, sides["train"])
    trainer_auc = {side: roc_auc(scores(trainer.model, sides[side]), sides[side].label) for side in ("val", "test")}
    between = _pairs(reports, trainer.pairs)
    speed = trainer.pairs / sum(n / r.pairs_per_second for n, r in zip(between, reports, strict=True))
    differences = {"val": reports[-1].auc - trainer_auc["val"], "test": trial_test - trainer_auc["test"]}
    result = Result()
    result.figures = {
        "train_pairs": len(sides["train"]),
        "epochs": EPOCHS,
        "trial": {
            "val_auc": reports[-1].auc,
            "best_report": best.number,
            "reports": len(reports),
            "test_auc": trial_test,
            "pairs_per_second": speed,
            "wall_seconds": wall,
            "wall_pairs_per_second": trainer.pairs / wall,
        },
        "trainer": {
            "val_auc": trainer_auc["val"],
            "test_auc": trainer_auc["test"],
            "pairs_per_second": trainer.pairs_per_second,
            "seconds": trainer.seconds,
        },
        "ratio_pairs_per_second": speed / trainer.pairs_per_second,
        "ratio_wall": trainer.seconds / wall,
        "embedding": {
            "texts": base.texts,
            "embedded_now": base.embedded,
            "seconds": embedding.seconds,
        },
    }
    result.targets = [
        Target("AUC, largest difference", max(abs(value) for value in differences.values()), most=0.005),
        Target("training pairs per second, trial over trainer", speed / trainer.pairs_per_second, least=150),
    ]
    if best is not reports[-1]:
        result.notes.append("the trial's test AUC is that of its best report by val; the trainer's of its last weights")
    return result


def _adapter(config: TrialConfig, folder: Path, view: View) -> tuple[list[Report], float]:
    began = time.perf_counter()
    reports = list(open_frozen_trial(config, folder, view))
    return reports, time.perf_counter() - began


def _pairs(reports: list[Report], total: int) -> list[float]:
    """Training pairs between the reports."""
    return [float(pairs) for pairs in np.diff([0.0, *(report.budget * total for report in reports)])]
