"""What a Dense layer without a bias costs in AUC, and what a layer for queries alone reaches.

Demo pairs and Quora's, two base models, two losses. A pair of trials differs in the bias alone: same pairs, order,
initial weights, dims, loss, learning rate and seed. `cost` is the AUC with a bias minus that without, the mean over
such pairs, with its 95% interval (Student's t) and its range. `query` is a layer for queries alone (square, from the
identity), `both_DIMS` one for both sides without a bias; these are means over seeds and losses. `query_minus_both` is
the difference to the better of the dims. AUC is on all of val, of each trial's best report.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from tests.benchmarks.common import Options, Result, Target, prepared, split_of, threads
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.embed.prepare import PreparedBase, prepare_base
from tune.embed.similarity import cosine
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.metrics.score import roc_auc
from tune.train.kinds import kind_of

TITLE = "AUC cost of no bias, and of training the query side only"
BASES, LOSSES, DIMS = ("wordllama", "minilm"), ("cosent", "mnr"), (64, 256)


@dataclass(frozen=True)
class _Effort:
    """How many seeds a setting gets, and which learning rates: for both sides, and for queries alone."""

    seeds: int
    rates: tuple[float, ...]
    query_rates: tuple[float, ...]


_FEW = _Effort(2, (1e-3,), (3e-4,))
SIZES = {2_000: _FEW, 16_000: _Effort(1, (1e-3,), (3e-4,))}
"""Pairs to train on -> effort: a trial on many pairs takes as long as eight on few."""
MOST = 0.002
"""The cost that a default without a bias may have."""


@dataclass(frozen=True)
class _Setting:
    """Pairs to train on, in a view. size: how many; 0 for all. folder: of the trials."""

    base: PreparedBase
    view: View
    size: int
    effort: _Effort
    folder: Path

    def best(self, rates: Sequence[float], **axes: Any) -> float:
        """Return the best AUC on val of trials at these learning rates."""
        configs = (
            TrialConfig(base_model=self.base.name, learning_rate=rate, train_size=self.size, **axes) for rate in rates
        )
        return max(self._auc(config) for config in configs)

    def _auc(self, config: TrialConfig) -> float:
        directory = self.folder / config.digest(self.base.digest)
        return float(list(kind_of(config).open(config, directory, self.view))[-1].best_auc)


def run(options: Options) -> Result:
    """Train all pairs of trials, and the layers for queries."""
    result, costs = Result(), []
    # In the cache, so that a run that was stopped goes on where it was.
    with threads(1):
        for name, setting in _settings(options, options.cache / "bias_cost"):
            figures, found = _measured(setting, options)
            result.figures[name] = figures
            costs += found
    result.figures["all"] = _spread(costs)
    result.targets.append(Target("mean AUC cost of no bias", float(np.mean(costs)), most=MOST))
    return result


def _settings(options: Options, folder: Path) -> Iterator[tuple[str, _Setting]]:
    for base_model in BASES[: options.pick(len(BASES), 1)]:
        config = search_config(search={"cache": str(options.cache)}, space={"base_model": base_model})
        demo = prepare_base(load_source(base_model), split_of(config)[1], options.cache, ("", ""))
        yield f"demo_{base_model}", _Setting(demo, View.open(demo.view(options.cache)), 0, _FEW, folder)
        quora = prepared(options, base_model, options.pick(max(SIZES), 300))
        for size in list(SIZES)[: options.pick(len(SIZES), 1)]:
            view = View.open(quora.view(options.cache))
            yield f"quora_{base_model}_{size}", _Setting(quora, view, size, SIZES[size], folder)


def _measured(setting: _Setting, options: Options) -> tuple[dict[str, Any], list[float]]:
    effort, costs = setting.effort, []
    both: list[list[float]] = []
    query: list[float] = []
    for loss, seed in product(LOSSES, range(options.pick(effort.seeds, 1))):
        shared = {"loss": loss, "seed": seed}
        without = [setting.best(effort.rates, dims=dims, bias=False, **shared) for dims in DIMS]
        biased = [setting.best(effort.rates, dims=dims, bias=True, **shared) for dims in DIMS]
        costs += [one - other for one, other in zip(biased, without, strict=True)]
        both.append(without)
        query.append(setting.best(effort.query_rates, dims=None, side="query", bias=False, **shared))
    view, gains = setting.view, [one - max(other) for one, other in zip(query, both, strict=True)]
    figures = {
        "cost": _spread(costs),
        "untouched": roc_auc(cosine(view.vectors, view.val), view.val.label),
        **{f"both_{dims}": float(np.mean([one[place] for one in both])) for place, dims in enumerate(DIMS)},
        "query": float(np.mean(query)),
        "query_minus_both": _spread(gains),
    }
    return figures, costs


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean, its 95% interval over the values, and their range."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    ends = {"low": mean - half, "high": mean + half}
    return {"mean": mean, **ends, "least": min(values), "most": max(values), "pairs": len(values)}
