"""The losses of the `loss` axis: sentence-transformers' own classes, with the label type each wants."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as st_losses


@dataclass(frozen=True)
class LossKind:
    """A loss class and the dtype of its labels."""

    make: type[torch.nn.Module]
    labels: torch.dtype


LOSS_KINDS: dict[str, LossKind] = {
    "online_contrastive": LossKind(st_losses.OnlineContrastiveLoss, torch.int64),
    "contrastive": LossKind(st_losses.ContrastiveLoss, torch.int64),
    "cosine": LossKind(st_losses.CosineSimilarityLoss, torch.float32),
    "cosent": LossKind(st_losses.CoSENTLoss, torch.float32),
    "angle": LossKind(st_losses.AnglELoss, torch.float32),
    # In-batch negatives: another pair's text is taken for a negative, so a batch must hold no text twice.
    "mnr": LossKind(st_losses.MultipleNegativesRankingLoss, torch.int64),
}


def make_loss(name: str, model: SentenceTransformer, dims: Sequence[int] = ()) -> torch.nn.Module:
    """The loss of that name over `model`; call it with ([features_a, features_b], labels).

    dims: where given, the loss is the sum of the loss at each of them, of the first so many components (Matryoshka).
    """
    loss = LOSS_KINDS[name].make(model)
    return st_losses.MatryoshkaLoss(model, loss, sorted(dims, reverse=True)) if dims else loss
