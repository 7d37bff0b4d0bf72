"""The losses of the `loss` axis: sentence-transformers' classes, with the label dtype each one expects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as st_losses

from tune.embed.view import PairRows


@dataclass(frozen=True)
class LossKind:
    """A loss class and the dtype of its labels; one that takes floats also learns from graded scores."""

    make: type[torch.nn.Module]
    labels: torch.dtype


LOSS_KINDS: dict[str, LossKind] = {
    "online_contrastive": LossKind(st_losses.OnlineContrastiveLoss, torch.int64),
    "contrastive": LossKind(st_losses.ContrastiveLoss, torch.int64),
    "cosine": LossKind(st_losses.CosineSimilarityLoss, torch.float32),
    "cosent": LossKind(st_losses.CoSENTLoss, torch.float32),
    "angle": LossKind(st_losses.AnglELoss, torch.float32),
    # In-batch negatives: every other pair's text counts as a negative, so a batch must not repeat a text.
    "mnr": LossKind(st_losses.MultipleNegativesRankingLoss, torch.int64),
}


def labels_for(name: str, pairs: PairRows) -> NDArray[np.float64] | NDArray[np.int8]:
    """Return what the loss learns from, [n]: graded scores if the pairs have them and it can, else labels of 0 and 1.

    cosent and angle learn from the order of the labels; cosine fits the cosine to them, so they must be in [0, 1].
    """
    if pairs.score is not None and LOSS_KINDS[name].labels.is_floating_point:
        return pairs.score
    return pairs.label


def make_loss(name: str, model: SentenceTransformer, dims: Sequence[int] = ()) -> torch.nn.Module:
    """Return the named loss over `model`; call it with ([features_a, features_b], labels).

    dims: if given, the loss is the sum of the losses on the first `dims` components, for each of them (Matryoshka).
    """
    loss = LOSS_KINDS[name].make(model)
    return st_losses.MatryoshkaLoss(model, loss, sorted(dims, reverse=True)) if dims else loss
