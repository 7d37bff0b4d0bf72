"""mnr with pairs labelled 0 as hard negatives (a third column) beside plain mnr, which does not use them.

Both are trained on the same pairs, at the same learning rates and seeds, and judged by the best AUC that a trial
reports: layers on all of val, models that train their base on a sample of it. `gain` is the mean difference over the
pairs of trials, `gain_of_best` that of the best trial of each; `seconds` the ratio of the time per training pair.
`own` is the share of positive pairs with a text that the data say does not belong to the anchor; in all other places
of the third column are texts of other pairs labelled 0.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common import Options, Result, prepared, threads
from tune.config.trial import TrialConfig
from tune.embed.view import View, write_sample
from tune.train.kinds import kind_of
from tune.train.stream import Report

TITLE = "mnr with hard negatives beside plain mnr"
LAYER, STATIC, WHOLE = (3e-4, 1e-3, 3e-3), (1e-3, 3e-3, 1e-2), (2e-5, 5e-5)
SETTINGS = (
    # base model, train pairs, freeze, epochs, learning rates, seeds
    ("wordllama", 2000, True, 8, LAYER, 3),
    ("wordllama", 16000, True, 8, LAYER, 2),
    ("wordllama", 2000, False, 2, STATIC, 2),
    ("minilm", 2000, True, 8, LAYER, 3),
    ("minilm", 2000, False, 1, WHOLE, 1),
)
SAMPLE = 1500


def run(options: Options) -> Result:
    """Train every setting with and without hard negatives."""
    result = Result()
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for setting in SETTINGS[: options.pick(len(SETTINGS), 1)]:
            base_model, size, freeze, *_ = setting
            name = f"{base_model}_{'layer' if freeze else 'whole'}_{size}"
            result.figures[name] = _compared(options, setting, Path(folder) / name)
    return result


def _compared(options: Options, setting: tuple[Any, ...], folder: Path) -> dict[str, Any]:
    base_model, size, freeze, epochs, rates, seeds = setting
    base = prepared(options, base_model, options.pick(size, 300))
    view = View.open(base.view(options.cache))
    sample = "" if freeze else write_sample(view.directory, np.arange(min(SAMPLE, len(view.val))))
    best: dict[bool, list[float]] = {False: [], True: []}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for rate in rates[: options.pick(len(rates), 1)]:
        for seed in range(options.pick(seeds, 1)):
            for hard in best:
                config = TrialConfig(
                    base_model=base_model, dims=128, loss="mnr", hard_negatives=hard, learning_rate=rate,
                    epochs=epochs, freeze=freeze, val_sample=sample, seed=seed,
                )  # fmt: skip
                reports = _trained(config, folder / config.digest(base.digest), view)
                best[hard].append(reports[-1].best_auc)
                seconds[hard].append(float(np.median([1 / report.pairs_per_second for report in reports])))
    gains = np.array(best[True]) - np.array(best[False])
    anchors = set(view.train.a[view.train.label == 0].tolist()) | set(view.train.b[view.train.label == 0].tolist())
    return {
        "trials": len(gains),
        "best_plain": max(best[False]),
        "best_hard": max(best[True]),
        "gain_of_best": max(best[True]) - max(best[False]),
        "gain": float(gains.mean()),
        "gain_least": float(gains.min()),
        "gain_most": float(gains.max()),
        "seconds": float(np.mean(seconds[True]) / np.mean(seconds[False])),
        "own": float(np.isin(view.train.a[view.train.label == 1], list(anchors)).mean()),
    }


def _trained(config: TrialConfig, directory: Path, view: View) -> list[Report]:
    return list(kind_of(config).open(config, directory, view))
