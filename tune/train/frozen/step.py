"""One optimizer step of a layer: forward, loss, gradient in closed form, clipping and AdamW, without autograd.

Same numbers as sentence-transformers' modules with autograd and torch's AdamW, up to rounding, at less than half the
time: one product for all texts of a batch, no graph, and all weights in one tensor for the optimizer.
"""

from typing import Any

import torch

from tune.config.trial import TrialConfig
from tune.train.frozen.dense import Dense
from tune.train.frozen.losses.matryoshka import loss_for
from tune.train.frozen.losses.scores import Floats
from tune.train.setup import MAX_GRADIENT_NORM


class Step:
    """The training steps of `dense`, whose weights become views of one tensor and are updated in place."""

    def __init__(self, config: TrialConfig, dense: Dense) -> None:
        self.dense = dense
        self._loss = loss_for(config)
        self._dropout, self._query = config.dropout, config.side == "query"
        self._adamw = _AdamW(dense, config.weight_decay)

    @torch.inference_mode()
    def __call__(self, vectors: torch.Tensor, pairs: int, target: Floats, rate: float) -> float:
        """Train on a batch at this learning rate; return its loss.

        vectors: [rows, dims_in], `pairs` first texts, as many second texts, then hard negatives. target: [pairs].
        """
        given = self._dropped(vectors[:pairs] if self._query else vectors, pairs)
        mapped = self.dense(given)
        every = torch.cat([mapped, vectors[pairs:]]) if self._query else mapped
        loss, gradient = self._loss(every, pairs, target)
        gradient = gradient[: len(mapped)]
        if self.dense.tanh:
            gradient = gradient * (1.0 - mapped.square())
        adamw = self._adamw
        torch.mm(gradient.t(), given, out=adamw.of_weight)
        if adamw.of_bias is not None:
            torch.sum(gradient, 0, out=adamw.of_bias)
        adamw.step(rate)
        return loss

    def _dropped(self, vectors: torch.Tensor, pairs: int) -> torch.Tensor:
        if not self._dropout:
            return vectors
        # A mask per column of texts, as drawn when every column has a forward pass of its own.
        columns = (vectors[:pairs], vectors[pairs : 2 * pairs], vectors[2 * pairs :])
        return torch.cat([torch.nn.functional.dropout(column, self._dropout) for column in columns if len(column)])

    def state(self) -> dict[str, Any]:
        """Return the optimizer's state as torch's AdamW has it, parameters numbered 0 (weight) and 1 (bias)."""
        return self._adamw.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`, or from that of torch's AdamW. The layer's weights are restored apart."""
        self._adamw.restore(state)


class _AdamW:
    """AdamW as transformers' Trainer sets it up: gradients clipped, no weight decay on a bias.

    of_weight, of_bias: where to write the gradients before `step`.
    """

    def __init__(self, dense: Dense, weight_decay: float) -> None:
        named = list(dense.parameters())
        self._shapes = [parameter.shape for parameter in named]
        self._weights = torch.cat([parameter.detach().reshape(-1) for parameter in named])
        self._gradients, self._first, self._second = (torch.zeros_like(self._weights) for _ in range(3))
        self._steps = torch.zeros((), device=self._weights.device)
        for parameter, part in zip(named, self._cut(self._weights), strict=True):
            parameter.data = part
        self.of_weight, *rest = self._cut(self._gradients)
        self.of_bias = rest[0] if rest else None
        flat = (self._weights, self._gradients, self._first, self._second)
        bias = len(self._weights) - self.of_weight.numel() if weight_decay else 0
        # Runs of weights with the same weight decay, each as arguments of the optimizer: one run where there is none.
        self._runs = [([[tensor[: len(tensor) - bias]] for tensor in flat], weight_decay)]
        if bias:
            self._runs.append(([[tensor[-bias:]] for tensor in flat], 0.0))

    def _cut(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return a flat tensor's parts in the shapes of weight and bias, as views."""
        parts = torch.split(flat, [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def step(self, rate: float) -> None:
        """Update the weights by their gradients, whose norm is first limited to MAX_GRADIENT_NORM."""
        norm = torch.linalg.vector_norm(self._gradients)
        scale = norm.add_(1e-6).div_(MAX_GRADIENT_NORM).clamp_min_(1.0)  # the optimizer divides gradients by it
        self._steps += 1
        for (weights, gradients, first, second), decay in self._runs:
            torch._fused_adamw_(
                weights, gradients, first, second, [], [self._steps], lr=rate, beta1=0.9, beta2=0.999,
                weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False, grad_scale=scale,
            )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """See `Step.state`."""
        parts = zip(self._cut(self._first), self._cut(self._second), strict=True)
        return {
            "state": {
                number: {"step": self._steps.clone(), "exp_avg": first, "exp_avg_sq": second}
                for number, (first, second) in enumerate(parts)
            }
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Step.restore`."""
        for number, parts in enumerate(zip(self._cut(self._first), self._cut(self._second), strict=True)):
            kept = state["state"][number]
            self._steps.copy_(kept["step"])
            for part, name in zip(parts, ("exp_avg", "exp_avg_sq"), strict=True):
                part.copy_(kept[name])
