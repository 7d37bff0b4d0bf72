"""One adapter step against the bare matrix products of its forward and backward pass, on one thread.

The step is the one of tune/train/adapter.py (batch 32, 384 -> 256, CoSENT), put together here from the same parts and
in the same order. The bare products are two of 32x384 @ 384x256 for the forward pass and two of 256x32 @ 32x384 for
the weight's gradient (the vectors are no parameters, so no gradient goes to them). Both run in turn, ten calls at a
time, in many rounds, and are timed in CPU time of the one thread, so that other processes on the machine count little.
Target: the median of the rounds' ratios is at most 4.

Where the rest goes is told by variants that each do one thing more, in the same rounds: a part is the difference of
two neighbours. As a check on the copy, the figures hold what a real trial says of itself (`open_frozen_trial`, by the
clock, its fastest report).
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

TITLE = "one adapter step (batch 32, 384 -> 256, CoSENT, one thread) over its bare matrix products"
BATCH, DIMS_IN, DIMS = 32, 384, 256
TEXTS, PAIRS, VAL = 20_000, 32_000, 1_000
CALLS = 10
BARE, WHOLE = "bare products", "bookkeeping"
CONFIG = TrialConfig(base_model="random", dims=DIMS, loss="cosent", learning_rate=1e-3, epochs=4)


def run(options: Options) -> Result:
    """Measures on random vectors: what a step takes does not depend on what they mean."""
    view = _random_view()
    with threads(1):
        variants = {BARE: bare_products(), **step_variants(view)}
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
    """Microseconds of CPU time of one call."""
    began = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - began) / CALLS * 1e6


def bare_products() -> Callable[[], None]:
    """The products of one step and nothing else, in the layouts that a Linear layer has them in."""
    a, b = torch.randn(2, BATCH, DIMS_IN)
    weight, gradient = torch.randn(DIMS, DIMS_IN), torch.randn(BATCH, DIMS)

    def products() -> None:
        torch.mm(a, weight.t())
        torch.mm(b, weight.t())
        torch.mm(gradient.t(), a)
        torch.mm(gradient.t(), b)

    return products


def step_variants(view: View) -> dict[str, Callable[[], object]]:
    """Parts of a step, each with all before it: the last is the whole step."""
    vectors = torch.from_numpy(view.vectors)
    rows = torch.from_numpy(np.stack([view.train.a, view.train.b]))
    labels = torch.from_numpy(view.train.label).to(LOSS_KINDS["cosent"].labels)
    dense = make_dense(CONFIG, DIMS_IN).train()
    model = SentenceTransformer(modules=[dense], device="cpu").train()
    loss_of, optimizer = make_loss("cosent", model), make_optimizer(dense, CONFIG)
    parameters = list(dense.parameters())
    batches = np.random.default_rng(1).permutation(PAIRS).reshape(-1, BATCH)
    state = {"step": 0}
    loss_sum = torch.zeros(())

    def gather() -> tuple[list[dict[str, torch.Tensor]], torch.Tensor]:
        state["step"] = (state["step"] + 1) % len(batches)
        index = torch.from_numpy(batches[state["step"]])
        return [{"sentence_embedding": vectors[side]} for side in rows[:, index]], labels[index]

    def forward() -> None:
        for features in gather()[0]:
            model(features)

    def loss() -> torch.Tensor:
        value: torch.Tensor = loss_of(*gather())
        return value

    def backward() -> torch.Tensor:
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        return value

    def clip() -> torch.Tensor:
        value = backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        return value

    def adamw() -> torch.Tensor:
        value = clip()
        optimizer.step()
        return value

    def bookkeeping() -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        loss_sum.add_(adamw().detach() * BATCH)

    return {
        "gather": gather,
        "forward (Dense)": forward,
        "cosine and loss, forward": loss,
        "backward": backward,
        "clip": clip,
        "AdamW": adamw,
        WHOLE: bookkeeping,
    }


def _fastest_in_a_trial(view: View) -> float:
    """Microseconds of a step, by the clock, in the fastest report of a real trial."""
    with tempfile.TemporaryDirectory() as folder:
        reports = list(open_frozen_trial(CONFIG, Path(folder) / "trial", view))
    return BATCH / max(report.pairs_per_second for report in reports) * 1e6
