"""One training step of a frozen trial against the bare matrix products of its forward and backward pass, one thread.

The step is that of tune/train/frozen/fit.py (batch 32, 384 -> 256, CoSENT), rebuilt here from the same parts in the
same order. The bare products are two of 32x384 @ 384x256 for the forward pass and two of 256x32 @ 32x384 for the
weight's gradient (the vectors are not parameters, so they get no gradient). Both alternate, ten calls at a time, over
many rounds, and are timed by the thread's CPU time, so other processes hardly matter. Target: the median ratio of the
rounds is at most 4.

Variants that each add one part of the step, timed in the same rounds, show where the time goes: a part is the
difference of two neighbours. To check the copy, the figures include the fastest report of a real trial (wall time).
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from tests.benchmarks.common import Options, Result, Target, median, threads
from tune.config.trial import TrialConfig
from tune.embed.view import PairRows, View
from tune.train.frozen.dense import make_dense
from tune.train.frozen.fit import make_optimizer
from tune.train.frozen.trial import open_frozen_trial
from tune.train.losses import LOSS_KINDS, make_loss
from tune.train.setup import MAX_GRADIENT_NORM

TITLE = "one training step of a layer (batch 32, 384 -> 256, CoSENT, one thread) over its bare matrix products"
BATCH, DIMS_IN, DIMS = 32, 384, 256
TEXTS, PAIRS, VAL = 20_000, 32_000, 1_000
CALLS = 10
BARE, WHOLE = "bare products", "bookkeeping"
CONFIG = TrialConfig(base_model="random", dims=DIMS, loss="cosent", learning_rate=1e-3, epochs=4)


def run(options: Options) -> Result:
    """Time steps on random vectors; their values do not affect the time."""
    view = _random_view()
    with threads(1):
        variants = {BARE: bare_products(), **_Step(view).variants()}
        for variant in variants.values():
            _timed(variant)
        taken: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(options.pick(400, 40)):
            for name, variant in variants.items():
                taken[name].append(_timed(variant))
        trial = _fastest_in_a_trial(view)
    ratios = [step / bare for step, bare in zip(taken[WHOLE], taken[BARE], strict=True)]
    times = {name: median(values) for name, values in taken.items()}
    cumulative = {name: value for name, value in times.items() if name != BARE}
    parts = dict(zip(cumulative, np.diff([0.0, *cumulative.values()]).tolist(), strict=True))
    result = Result()
    result.figures = {
        "ratio_median": median(ratios),
        "ratio_10_percent": float(np.quantile(ratios, 0.1)),
        "ratio_90_percent": float(np.quantile(ratios, 0.9)),
        "bare_products_us": times[BARE],
        "step_us": times[WHOLE],
        "step_us_by_parts": parts,
        "step_us_in_a_trial_fastest_report": trial,
        "rounds": len(ratios),
    }
    result.targets = [Target("step over bare products (median)", median(ratios), most=4.0)]
    return result


def _random_view() -> View:
    generator = np.random.default_rng(0)

    def pairs(count: int) -> PairRows:
        a, b = generator.integers(0, TEXTS, (2, count))
        return PairRows(a, b, (generator.random(count) < 0.37).astype(np.int8))

    vectors = generator.standard_normal((TEXTS, DIMS_IN), dtype=np.float32)
    return View(vectors, pairs(PAIRS), pairs(VAL), "random")


def _timed(call: Callable[[], object]) -> float:
    """Return the CPU time of one call in microseconds."""
    began = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - began) / CALLS * 1e6


def bare_products() -> Callable[[], None]:
    """Return a function that computes only the products of one step, with a Linear layer's memory layouts."""
    a, b = torch.randn(2, BATCH, DIMS_IN)
    weight, gradient = torch.randn(DIMS, DIMS_IN), torch.randn(BATCH, DIMS)

    def products() -> None:
        torch.mm(a, weight.t())
        torch.mm(b, weight.t())
        torch.mm(gradient.t(), a)
        torch.mm(gradient.t(), b)

    return products


class _Step:
    """A training step in parts: every method does the work of the one before it and one part more."""

    def __init__(self, view: View) -> None:
        self._vectors = torch.from_numpy(view.vectors)
        self._rows = torch.from_numpy(np.stack([view.train.a, view.train.b]))
        self._labels = torch.from_numpy(view.train.label).to(LOSS_KINDS["cosent"].labels)
        self._dense = make_dense(CONFIG, DIMS_IN).train()
        self._model = SentenceTransformer(modules=[self._dense], device="cpu").train()
        self._loss_of = make_loss("cosent", self._model)
        self._optimizer = make_optimizer(self._dense, CONFIG)
        self._parameters = list(self._dense.parameters())
        self._batches = np.random.default_rng(1).permutation(PAIRS).reshape(-1, BATCH)
        self._number = 0
        self._loss_sum = torch.zeros(())

    def variants(self) -> dict[str, Callable[[], object]]:
        """Return {part: the step up to this part}; the last is the whole step."""
        return {
            "gather": self._gather,
            "forward (Dense)": self._forward,
            "cosine and loss, forward": self._loss,
            "backward": self._backward,
            "clip": self._clip,
            "AdamW": self._adamw,
            WHOLE: self._bookkeeping,
        }

    def _gather(self) -> tuple[list[dict[str, torch.Tensor]], torch.Tensor]:
        self._number = (self._number + 1) % len(self._batches)
        index = torch.from_numpy(self._batches[self._number])
        return [{"sentence_embedding": self._vectors[side]} for side in self._rows[:, index]], self._labels[index]

    def _forward(self) -> None:
        for features in self._gather()[0]:
            self._model(features)

    def _loss(self) -> torch.Tensor:
        value: torch.Tensor = self._loss_of(*self._gather())
        return value

    def _backward(self) -> torch.Tensor:
        value = self._loss()
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        return value

    def _clip(self) -> torch.Tensor:
        value = self._backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        return value

    def _adamw(self) -> torch.Tensor:
        value = self._clip()
        self._optimizer.step()
        return value

    def _bookkeeping(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = 1e-3
        self._loss_sum.add_(self._adamw().detach() * BATCH)


def _fastest_in_a_trial(view: View) -> float:
    """Return the wall time of a step in microseconds, in the fastest report of a real trial."""
    with tempfile.TemporaryDirectory() as folder:
        reports = list(open_frozen_trial(CONFIG, Path(folder) / "trial", view))
    return BATCH / max(report.pairs_per_second for report in reports) * 1e6
