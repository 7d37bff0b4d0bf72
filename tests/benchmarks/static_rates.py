"""Which learning rates static vectors need when they are trained whole, and for how long.

wordllama on the first TRAIN_PAIRS labelled pairs, at its own dims and with a Dense layer, for two losses, 2 epochs; and
at some of the rates for 8. A trial counts by its best report on all of val, as in a search.

Targets: the best rate of the default range is as good as any tried, and the default of a grid nearly so.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common import Options, Result, Target, prepared, threads
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.embed.similarity import cosine
from tune.embed.view import View
from tune.metrics.score import roc_auc
from tune.train.kinds import kind_of
from tune.train.stream import Report

TITLE = "learning rates of static vectors that are trained whole"
BASE_MODEL, TRAIN_PAIRS = "wordllama", 2000
LOSSES, DIMS = ("cosent", "online_contrastive"), (None, 128)
RATES = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
LONG, LONG_RATES = 8, (1e-3, 3e-3, 1e-2, 3e-2)
"""Epochs of the longer trials, and their rates."""
IN_RANGE, OF_GRID = 0.002, 0.015
"""The most that the default range may lose against all rates, and the grid's rate against the range."""


def run(options: Options) -> Result:
    """Train a layer and the whole model at every rate."""
    result = Result()
    with threads(1), tempfile.TemporaryDirectory() as folder:
        view = _view(options)
        result.figures["untouched"] = roc_auc(cosine(view.vectors, view.val), view.val.label)
        for loss in LOSSES[: options.pick(2, 1)]:
            layers = [_auc(view, Path(folder), loss=loss, dims=128, learning_rate=rate) for rate in (1e-3, 3e-3, 1e-2)]
            result.figures[f"best layer, {loss}, 128 dims, 8 epochs"] = max(auc for auc, _ in layers)
            for dims in DIMS[: options.pick(2, 1)]:
                _whole(view, Path(folder), options, result, loss=loss, dims=dims)
    return result


def _view(options: Options) -> View:
    base = prepared(options, BASE_MODEL, options.pick(TRAIN_PAIRS, 300), 600 if options.quick else None)
    return View.open(base.view(options.cache))


def _whole(view: View, folder: Path, options: Options, result: Result, **axes: Any) -> None:
    """Train at every rate and add the figures and targets of this loss at these dims."""
    name = f"{axes['loss']}, {axes['dims'] or 'own'} dims"
    best: dict[float, float] = {}
    for epochs, rates in ((2, RATES), (LONG, LONG_RATES)):
        chosen = rates[: options.pick(len(rates), 2)]
        found = {rate: _auc(view, folder, freeze=False, epochs=epochs, learning_rate=rate, **axes) for rate in chosen}
        aucs = {rate: auc for rate, (auc, _) in found.items()}
        best = best or aucs
        result.figures[f"{name}, {epochs} epochs"] = {f"{rate:g}": auc for rate, auc in aucs.items()}
        result.figures[f"{name}, {epochs} epochs, best at its last report"] = [
            f"{rate:g}" for rate, (_, last) in found.items() if last
        ]
    if options.quick:
        return
    rates, in_a_grid = _default("random"), _default("grid")[0]
    within = max(auc for rate, auc in best.items() if rates.low <= rate <= rates.high)
    result.targets += [
        Target(f"{name}: best of all rates minus best of the range", max(best.values()) - within, most=IN_RANGE),
        Target(f"{name}: best of the range minus the grid's", within - best[in_a_grid], most=OF_GRID),
    ]


def _default(algorithm: str) -> Any:
    """Return the learning rates that a search tries by default."""
    [space] = search_config({"search": algorithm}, space={"base_model": BASE_MODEL, "freeze": False}).spaces
    return space.learning_rate


def _auc(view: View, folder: Path, **axes: Any) -> tuple[float, bool]:
    """Return the AUC of the best report, and whether it is the last one."""
    config = TrialConfig(base_model=BASE_MODEL, **axes)
    reports: list[Report] = list(kind_of(config).open(config, folder / config.digest("static"), view))
    aucs = [report.auc for report in reports]
    return max(aucs), int(np.argmax(aucs)) == len(aucs) - 1
