"""The loss of a trial: the one that its configuration names, at one or more dims."""

from collections.abc import Sequence
from typing import Protocol

import torch

from tune.config.trial import Loss, TrialConfig
from tune.train.frozen.losses.pairs import AngleLoss, PairLoss
from tune.train.frozen.losses.ranking import RankingLoss
from tune.train.frozen.losses.scores import Floats, contrastive, cosent, cosine, online_contrastive


class VectorLoss(Protocol):
    """A loss of a batch's vectors."""

    def __call__(self, vectors: torch.Tensor, pairs: int, target: Floats) -> tuple[float, torch.Tensor]:
        """Return the loss and its gradient by `vectors`, [rows, dims]: `pairs` first texts, as many second texts,
        then any hard negatives. target: [pairs], labels of 0 and 1 or graded scores.
        """
        ...


_LOSSES: dict[Loss, VectorLoss] = {
    "online_contrastive": PairLoss(online_contrastive, 1e-8),
    "contrastive": PairLoss(contrastive, 1e-8),
    "cosine": PairLoss(cosine, 1e-8),
    "cosent": PairLoss(cosent, 1e-12),
    "angle": AngleLoss(),
    "mnr": RankingLoss(),
}


def loss_for(config: TrialConfig) -> VectorLoss:
    """Return the loss of a trial; for Matryoshka, the sum of the losses on the first components at each of its dims."""
    loss = _LOSSES[config.loss]
    dims = [dims for dims in config.all_dims if dims is not None]
    return _Matryoshka(loss, dims) if config.matryoshka else loss


class _Matryoshka:
    def __init__(self, loss: VectorLoss, dims: Sequence[int]) -> None:
        self._loss = loss
        self._dims = dims

    def __call__(self, vectors: torch.Tensor, pairs: int, target: Floats) -> tuple[float, torch.Tensor]:
        total, gradient = 0.0, torch.zeros_like(vectors)
        for dims in self._dims:
            loss, part = self._loss(vectors[:, :dims], pairs, target)
            total += loss
            gradient[:, :dims] += part
        return total, gradient
