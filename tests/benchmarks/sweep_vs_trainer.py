"""A 64-trial sweep, embedding included, against SentenceTransformerTrainer's time for the same 64 trials.

The sweep is `run_search` with the local backend, from reading the pairs to the exported winner, with an empty cache:
MiniLM embeds every text once, then a grid of 64 trials (4 losses x 4 learning rates x 4 dims, 8 epochs) runs. The data
are seeded parts of the given split (8,000 train, 2,000 val, 2,000 test pairs), written to a temporary file.

The trainer's time is extrapolated: SentenceTransformerTrainer (tests/benchmarks/trainer.py) is timed in the same run on
1,000 pairs, and the training pairs of 64 trials are divided by its pairs per second. The sweep's time includes
validation and test, the trainer's does not. The trainer's steps differ between trials only in the Dense layer and the
loss, which are negligible beside the base model's forward pass. Target: at least 400 times.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.common import (
    SPLIT_COLUMN,
    Options,
    Result,
    Stopwatch,
    Target,
    first,
    pairs_config,
    some,
    split_of,
)
from tests.benchmarks.trainer import run_trainer
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.events import ignore
from tune.pipeline.local import LocalBackend
from tune.pipeline.search import SearchJob, run_search
from tune.train.outcomes import trial_outcomes

TITLE = "a 64-trial sweep, embedding included, against SentenceTransformerTrainer for the same 64"
EPOCHS = 8
SPACE = {
    "base_model": "minilm",
    "dims": "64,128,256,384",
    "loss": "cosent,angle,cosine,contrastive",
    "learning_rate": "3e-4,1e-3,3e-3,1e-2",
    "epochs": EPOCHS,
}
TRAINER_PAIRS = 1_000


def run(options: Options) -> Result:
    """Run the sweep, then time some steps of the trainer."""
    _, sides = split_of(pairs_config(options, space={"base_model": "minilm"}))
    sides = {
        "train": first(sides["train"], options.pick(8_000, 500)),
        "val": some(sides["val"], options.pick(2_000, 350)),
        "test": some(sides["test"], options.pick(2_000, 350)),
    }
    with tempfile.TemporaryDirectory() as folder:
        data = _write(sides, Path(folder) / "pairs.parquet")
        config = search_config(
            search={
                "search": "grid",
                "cache": str(Path(folder) / "cache"),
                "results": str(Path(folder) / "results"),
                "name": "sweep",
                "max_hours": 0.5,
            },
            data={"data": str(data), "split_column": SPLIT_COLUMN},
            space=SPACE | ({"dims": "64"} if options.quick else {}),
        )
        with Stopwatch() as sweep:
            results = run_search(SearchJob(config, "benchmark"), LocalBackend(), ignore)
        summary = json.loads(results.summary.read_text())
        outcomes = trial_outcomes(results.trials, results.asha)
        trained = sum(outcome.reports[-1].seconds for outcome in outcomes)
    pairs = summary["data"]["split"]["rows"]["train"] * EPOCHS
    timed = TrialConfig(base_model="minilm", dims=256, loss="cosent", learning_rate=1e-3, epochs=1)
    trainer = run_trainer(timed, first(sides["train"], options.pick(TRAINER_PAIRS, 160)))
    extrapolated = len(outcomes) * pairs / trainer.pairs_per_second
    result = Result()
    result.figures = {
        "trials": len(outcomes),
        "trials_done": sum(outcome.status == "done" for outcome in outcomes),
        "train_pairs": pairs // EPOCHS,
        "epochs": EPOCHS,
        "texts_embedded": summary["bases"]["minilm"]["embedded"],
        "sweep_seconds": sweep.seconds,
        "phases": {name: float(seconds) for name, seconds in summary["seconds"].items()},
        "trials_own_seconds": trained,
        "trainer_pairs_measured": trainer.pairs,
        "trainer_pairs_per_second": trainer.pairs_per_second,
        "trainer_hours_for_the_same_extrapolated": extrapolated / 3600,
        "ratio": extrapolated / sweep.seconds,
    }
    result.targets = [Target("the trainer's time over the sweep's", extrapolated / sweep.seconds, least=400)]
    return result


def _write(sides: dict[str, LabelledPairs], path: Path) -> Path:
    """Write the pairs with their sides, as a search reads them; return the path."""
    frames = [
        pd.DataFrame({"text1": p.text_a, "text2": p.text_b, "label": p.label.astype(np.int64), SPLIT_COLUMN: side})
        for side, p in sides.items()
    ]
    pd.concat(frames).to_parquet(path, index=False)
    return path
