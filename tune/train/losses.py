"""The losses of the `loss` axis as sentence-transformers' classes, for trials that train the base model.

Trials on a frozen base compute the same losses by themselves, see `tune.train.frozen.losses`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as st_losses

from tune.config.trial import Loss
from tune.train.setup import GRADED_LOSSES


@dataclass(frozen=True)
class LossKind:
    """A loss class and the dtype of its labels: floats if it also learns from graded scores."""

    make: type[torch.nn.Module]
    labels: torch.dtype


_CLASSES: dict[Loss, type[torch.nn.Module]] = {
    "online_contrastive": st_losses.OnlineContrastiveLoss,
    "contrastive": st_losses.ContrastiveLoss,
    "cosine": st_losses.CosineSimilarityLoss,
    "cosent": st_losses.CoSENTLoss,
    "angle": st_losses.AnglELoss,
    # In-batch negatives: every other pair's text counts as a negative, so a batch must not repeat a text.
    "mnr": st_losses.MultipleNegativesRankingLoss,
}
LOSS_KINDS: dict[str, LossKind] = {
    name: LossKind(make, torch.float32 if name in GRADED_LOSSES else torch.int64) for name, make in _CLASSES.items()
}


def make_loss(name: str, model: SentenceTransformer, dims: Sequence[int] = ()) -> torch.nn.Module:
    """Return the named loss over `model`; call it with ([features_a, features_b], labels).

    dims: if given, the loss is the sum of the losses on the first `dims` components, for each of them (Matryoshka).
    """
    loss = LOSS_KINDS[name].make(model)
    return st_losses.MatryoshkaLoss(model, loss, sorted(dims, reverse=True)) if dims else loss
