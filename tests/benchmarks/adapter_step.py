"""One training step of a frozen trial against sentence-transformers' own step, and against its bare matrix products.

Both steps train the same layer on the same batches of 32 random pairs, on one thread: ours is `Fit` as a trial calls
it, the other sentence-transformers' Dense and loss with autograd, clipping and torch's fused AdamW
(tests/helpers/library_fit.py). The bare products are the floor: 64 x dims_in @ dims_in x dims of the forward pass, and
dims x 64 @ 64 x dims_in of the weight's gradient. All three alternate, CALLS steps at a time, and are timed by the
thread's CPU time, so other processes hardly matter; figures are medians over the rounds. Targets: at every shape, each
loss trains at least twice as fast as sentence-transformers does, and at 384 -> 256 with CoSENT a step takes at most
2.5 times its bare products.

The parts of our step, timed one after the other with CoSENT at 384 -> 256, show where the time goes.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from tests.benchmarks.common import Options, Result, Target, median, threads
from tests.helpers.library_fit import LibraryFit
from tune.config.space import LOSSES
from tune.config.trial import Loss, TrialConfig
from tune.embed.view import PairRows, View
from tune.train.frozen.fit import Fit, TrainingVectors
from tune.train.setup import pairs_for_loss

TITLE = "one training step of a layer (batch 32, one thread) against sentence-transformers' and its bare products"
BATCH, TEXTS, PAIRS = 32, 20_000, 9_600
SHAPES = ((384, 256), (384, 64), (256, 128), (768, 256))
CALLS = 12
CPU = torch.device("cpu")


def run(options: Options) -> Result:
    """Time steps on random vectors; their values do not affect the time."""
    result, rounds = Result(), options.pick(60, 5)
    with threads(1):
        for dims_in, dims in SHAPES:
            view = _random_view(dims_in)
            figures = {loss: _timed_loss(view, loss, dims, rounds) for loss in LOSSES}
            result.figures[f"{dims_in} -> {dims}"] = figures
            slowest = min(figures, key=lambda loss: figures[loss]["over_library"])
            least = figures[slowest]["over_library"]
            name = f"{dims_in} -> {dims}: sentence-transformers' time over ours, least ({slowest})"
            result.targets.append(Target(name, least, least=2.0))
        result.figures["parts of a step, us (384 -> 256, CoSENT)"] = _parts(_random_view(384), 256, rounds)
    floor = result.figures["384 -> 256"]["cosent"]["step_over_bare_products"]
    result.targets.append(Target("384 -> 256, CoSENT: a step over its bare products", floor, most=2.5))
    result.figures["rounds"] = rounds
    return result


def _random_view(dims_in: int) -> View:
    generator = np.random.default_rng(0)
    a, b = (generator.permutation(TEXTS)[:PAIRS] for _ in range(2))
    pairs = PairRows(a, b, (generator.random(PAIRS) < 0.37).astype(np.int8))
    return View(generator.standard_normal((TEXTS, dims_in), dtype=np.float32), pairs, pairs, "random")


def _config(loss: Loss, dims: int) -> TrialConfig:
    return TrialConfig(base_model="random", dims=dims, loss=loss, learning_rate=1e-3, epochs=1)


def _timed_loss(view: View, loss: Loss, dims: int, rounds: int) -> dict[str, float]:
    """Return the times of a step in microseconds, and their ratios."""
    config = _config(loss, dims)
    variants = {
        "bare_products_us": bare_products(view.vectors.shape[1], dims),
        "library_us": _library_steps(config, view),
        "step_us": _steps(config, view),
    }
    for call in variants.values():
        _timed(call)
    taken = [{name: _timed(call) for name, call in variants.items()} for _ in range(rounds)]
    return {name: median([each[name] for each in taken]) for name in variants} | {
        "over_library": median([each["library_us"] / each["step_us"] for each in taken]),
        "step_over_bare_products": median([each["step_us"] / each["bare_products_us"] for each in taken]),
    }


def _timed(call: Callable[[], object]) -> float:
    """Return the CPU time per step, in microseconds, of a call that makes CALLS steps."""
    began = time.thread_time()
    call()
    return (time.thread_time() - began) / CALLS * 1e6


def bare_products(dims_in: int, dims: int) -> Callable[[], None]:
    """Return a function that computes only the products of CALLS steps, with a Linear layer's memory layouts."""
    texts, gradient = torch.randn(2 * BATCH, dims_in), torch.randn(2 * BATCH, dims)
    weight = torch.randn(dims, dims_in)

    def products() -> None:
        for _ in range(CALLS):
            torch.mm(texts, weight.t())
            torch.mm(gradient.t(), texts)

    return products


def _fit(config: TrialConfig, view: View) -> Fit:
    return Fit(config, TrainingVectors(view, view.train, CPU), view.train)


def _steps(config: TrialConfig, view: View) -> Callable[[], None]:
    fit = _fit(config, view)

    def steps() -> None:
        if fit.step + CALLS > fit.steps:
            fit.step = 0
        fit._train_to(fit.step + CALLS)

    return steps


def _library_steps(config: TrialConfig, view: View) -> Callable[[], None]:
    fit = _fit(config, view)
    library, loss_sum = LibraryFit(config, view, pairs_for_loss(config, view.train)), torch.zeros(())
    number = 0

    def steps() -> None:
        nonlocal number
        for _ in range(CALLS):
            number = (number + 1) % fit.steps
            rate = config.learning_rate * fit._factors[number]
            loss_sum.add_(library.step(fit._batches[number], fit._negatives[number], rate) * BATCH)

    return steps


def _parts(view: View, dims: int, rounds: int) -> dict[str, float]:
    """Return the time of each part of a step, in microseconds; without what Python does between them."""
    fit = _fit(_config("cosent", dims), view)
    step, vectors = fit._train, fit._vectors.vectors
    rows, target = next(iter(fit._columns(1)))
    given = vectors.index_select(0, rows)
    mapped = fit.dense(given)
    _, gradient = step._loss(mapped, BATCH, target)
    parts: dict[str, Callable[[], object]] = {
        "rows of the batch": lambda: list(fit._columns(CALLS)),
        "gather": lambda: [vectors.index_select(0, rows) for _ in range(CALLS)],
        "forward": lambda: [fit.dense(given) for _ in range(CALLS)],
        "loss and its gradient": lambda: [step._loss(mapped, BATCH, target) for _ in range(CALLS)],
        "gradient of the weight": lambda: [
            torch.mm(gradient.t(), given, out=step._adamw.of_weight) for _ in range(CALLS)
        ],
        "clip and AdamW": lambda: [step._adamw.step(1e-3) for _ in range(CALLS)],
    }
    with torch.inference_mode():
        taken = [{name: _timed(call) for name, call in parts.items()} for _ in range(rounds)]
    return {name: median([each[name] for each in taken]) for name in parts}
