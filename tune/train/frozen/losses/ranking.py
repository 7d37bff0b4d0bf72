"""The ranking loss: every anchor against all second texts of its batch and the hard negatives."""

import torch

from tune.train.frozen.losses.scores import SCALE, Floats


class RankingLoss:
    """Cross entropy of each anchor's own second text, by SCALE times the cosine: MultipleNegativesRankingLoss."""

    def __call__(self, vectors: torch.Tensor, pairs: int, target: Floats) -> tuple[float, torch.Tensor]:
        """Return the loss and its gradient by `vectors`, [2 * pairs + negatives, dims].

        vectors: anchors, their second texts, then hard negatives. target: not used, as all pairs belong together.
        """
        inverse = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min_(1e-12).reciprocal_()
        unit = vectors * inverse
        anchors, others = unit[:pairs], unit[pairs:]
        slopes = torch.log_softmax((anchors @ others.t()).mul_(SCALE), 1)
        loss = -float(slopes.diagonal().mean())
        slopes.exp_().diagonal().sub_(1.0)
        slopes.mul_(SCALE / pairs)
        gradient = torch.empty_like(unit)
        torch.mm(slopes, others, out=gradient[:pairs])
        torch.mm(slopes.t(), anchors, out=gradient[pairs:])
        along = (gradient * unit).sum(1, keepdim=True)
        return loss, gradient.addcmul_(unit, along, value=-1).mul_(inverse)
