"""Would a worker that trains eight layers at once finish more trials per CPU second than one that trains one?

Eight layers of one shape share their batches: one gather, one product forward and one for the gradient of all, with a
learning rate and an optimizer of their own each. `Together` is such a step, written as leanly as `Fit`'s is. Both
train MiniLM's vectors of 16,000 pairs in the trial's own batches at 64, 128 and 256 dims, with CoSENT and with the
squared error of the cosine, on one thread, and score validation as often as a trial does. The two alternate, and the
thread's CPU time counts. `weights_apart`: the largest difference between the weights of the layer that both train.

Trials are trained one at a time unless eight together finish at least 1.8 times as many over this sweep: below that, a
worker that shares batches is not worth its code. `--pairs 2000` trains as many steps on fewer pairs, which takes less
embedding.
"""

import time

import numpy as np
import torch

from tests.benchmarks.common import Options, Result, Target, prepared, threads
from tune.config.trial import Loss, TrialConfig
from tune.embed.view import View
from tune.metrics.score import fit_accuracy_threshold, roc_auc
from tune.train.frozen.dense import Dense, make_dense
from tune.train.frozen.fit import Fit, TrainingVectors
from tune.train.frozen.validation import Validation

TITLE = "eight layers trained together against one at a time: trials per CPU second"
K, BATCH, REPORTS = 8, 32, 16
DIMS = (64, 128, 256)
LOSSES: tuple[Loss, ...] = ("cosent", "cosine")
RATES = np.geomspace(3e-4, 1e-2, K).tolist()
CPU = torch.device("cpu")


def run(options: Options) -> Result:
    """Train every shape and loss both ways, for as many steps as an epoch of 16,000 pairs has."""
    steps_of = options.pick(16_000, 640)
    pairs = min(options.pairs[0], steps_of) if options.pairs else steps_of
    base = prepared(options, "minilm", pairs, options.pick(2_000, 200))
    view = View.open(base.view(options.cache))
    result, totals = Result(), np.zeros(2)
    with threads(1):
        for loss in LOSSES:
            for dims in DIMS:
                one, together, apart = _compared(view, loss, dims, steps_of // pairs)
                totals += one, together
                result.figures[f"{loss}, {dims} dims"] = {
                    "one_at_a_time_cpu_seconds": one,
                    "together_cpu_seconds_per_trial": together,
                    "ratio": one / together,
                    "weights_apart": apart,
                }
    result.figures |= {"train_pairs": len(view.train), "epochs": steps_of // pairs}
    name = "trials per CPU second, eight together over one at a time (worth building from 1.8)"
    result.targets = [Target(name, float(totals[0] / totals[1]), most=1.8)]
    return result


def _compared(view: View, loss: Loss, dims: int, epochs: int) -> tuple[float, float, float]:
    """Return CPU seconds per trial one at a time and together, and how far apart a layer trained both ways ends."""
    config = TrialConfig(base_model="minilm", dims=dims, loss=loss, learning_rate=RATES[-1], epochs=epochs)
    validation = Validation(view, view.val, (dims,), CPU)
    alone, plan = (Fit(config, TrainingVectors(view, view.train, CPU), view.train) for _ in range(2))
    together = Together(config, plan)
    seconds = np.zeros(2)
    for stop in np.linspace(0, alone.steps, REPORTS + 1).astype(int)[1:]:
        began = time.thread_time()
        alone._train_to(int(stop))
        _report(validation, alone.dense)
        between = time.thread_time()
        together.train_to(int(stop))
        for layer in range(K):
            _report(validation, together.layer(layer))
        seconds += between - began, (time.thread_time() - between) / K
    apart = float((together.layer(K - 1).linear.weight - alone.dense.linear.weight).abs().max())
    return float(seconds[0]), float(seconds[1]), apart


def _report(validation: Validation, dense: Dense) -> None:
    [scores] = validation.scores(dense)
    roc_auc(scores, validation.label)
    fit_accuracy_threshold(scores, validation.label)


class Together:
    """K layers [dims, dims_in], from one start, over the plan of a `Fit`, each with a learning rate of its own."""

    def __init__(self, config: TrialConfig, plan: Fit) -> None:
        dense = make_dense(config, plan._vectors.vectors.shape[1])
        self._plan, self._dims, self._loss = plan, config.dims, {"cosent": _cosent, "cosine": _cosine}[config.loss]
        weight = dense.linear.weight
        size = weight.numel()
        self._weights = weight.reshape(-1).repeat(K)
        self._biases = dense.linear.bias.repeat(K)
        self._gradients = [torch.zeros_like(self._weights), torch.zeros_like(self._biases)]
        cut = (size, dense.linear.out_features)
        kept = [torch.zeros_like(tensor) for tensor in (self._weights, self._biases) * 2]
        flat = [self._weights, self._biases, *self._gradients, *kept]
        parts = [torch.split(tensor, cut[place % 2]) for place, tensor in enumerate(flat)]
        self._arguments = [[[parts[i][layer], parts[i + 1][layer]] for i in range(0, 8, 2)] for layer in range(K)]
        self._shape, self._steps = weight.shape, torch.zeros(())

    def layer(self, number: int) -> Dense:
        """Return one of the layers."""
        weights, biases = self._arguments[number][0]
        return Dense(weights.view(self._shape), biases)

    @torch.inference_mode()
    def train_to(self, stop: int) -> None:
        """Train the steps before `stop`."""
        plan = self._plan
        for rows, target in plan._columns(stop):
            factor = plan._factors[plan.step]
            self._step(plan._vectors.vectors.index_select(0, rows), torch.from_numpy(target).float(), factor)
            plan.step += 1

    def _step(self, vectors: torch.Tensor, target: torch.Tensor, factor: float) -> None:
        pairs, dims = len(target), self._shape[0]
        mapped = torch.addmm(self._biases, vectors, self._weights.view(K * dims, -1).t()).view(2 * pairs, K, dims)
        inverse = torch.linalg.vector_norm(mapped, dim=-1).clamp_min_(1e-12).reciprocal_()  # [2 * pairs, K]
        first, second = mapped[:pairs], mapped[pairs:]
        both = inverse[:pairs] * inverse[pairs:]
        score = (first * second).sum(-1).mul_(both)
        slope = self._loss(score, target[:, None])
        own = (inverse.square().view(2, pairs, K) * (slope * score).neg_()).view(2 * pairs, K, 1)
        across = (slope * both)[..., None]
        gradient = mapped * own
        gradient[:pairs].addcmul_(second, across)
        gradient[pairs:].addcmul_(first, across)
        flat = gradient.view(2 * pairs, K * dims)
        torch.mm(flat.t(), vectors, out=self._gradients[0].view(K * dims, -1))
        torch.sum(flat, 0, out=self._gradients[1])
        squares = sum(tensor.view(K, -1).square().sum(1) for tensor in self._gradients)
        scales = torch.as_tensor(squares).sqrt_().add_(1e-6).clamp_min_(1.0)
        self._steps += 1
        for layer, (parameters, gradients, means, moments) in enumerate(self._arguments):
            torch._fused_adamw_(
                parameters, gradients, means, moments, [], [self._steps] * 2, lr=RATES[layer] * factor, beta1=0.9,
                beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False, grad_scale=scales[layer],
            )  # fmt: skip


def _cosent(score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the slope of CoSENT on labels of 0 and 1, [pairs, K]; see tune.train.frozen.losses.scores."""
    up = torch.exp(20.0 * score)
    down, zero = up.reciprocal(), 1.0 - target
    above, below = up * zero * (down * target).sum(0), down * target * (up * zero).sum(0)
    return (above - below) * (20.0 / (1.0 + above.sum(0)))


def _cosine(score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (score - target) * (2.0 / len(target))
