"""Losses of each pair's similarity, with their gradient by the pair's vectors."""

from collections.abc import Callable

import numpy as np
import torch

from tune.train.frozen.losses.scores import Floats, cosent

ScoreLoss = Callable[[Floats, Floats], tuple[float, Floats]]
"""(score [pairs], target [pairs]) -> (loss, d loss / d score [pairs])."""


class PairLoss:
    """A loss of the pairs' cosines.

    shortest: the length that shorter vectors count as having, in the function that sentence-transformers calls: 1e-12
    in `normalize`, 1e-8 in `cosine_similarity`.
    """

    def __init__(self, of_scores: ScoreLoss, shortest: float) -> None:
        self._of_scores = of_scores
        self._shortest = shortest

    def __call__(self, vectors: torch.Tensor, pairs: int, target: Floats) -> tuple[float, torch.Tensor]:
        """Return the loss and its gradient by `vectors`, [2 * pairs, dims]: first texts, then second texts."""
        return _pull(self._of_scores, vectors, (vectors[pairs:], vectors[:pairs]), target, self._shortest)


class AngleLoss:
    """CoSENT on the absolute AnglE similarity: AnglELoss.

    Of unit vectors x and y with halves (x1, x2) and (y1, y2), it is |x @ y + x2 @ y1 - x1 @ y2| = |x @ z| = |w @ y|
    with z = (y1 - y2, y1 + y2) and w = (x1 + x2, x2 - x1). With odd dims, the second halves end with a zero.
    """

    def __call__(self, vectors: torch.Tensor, pairs: int, target: Floats) -> tuple[float, torch.Tensor]:
        """Return the loss and its gradient by `vectors`, [2 * pairs, dims]: first texts, then second texts."""
        dims = vectors.shape[1]
        even = torch.nn.functional.pad(vectors, (0, 1)) if dims % 2 else vectors
        half = even.shape[1] // 2
        start, end = even[:, :half], even[:, half:]
        turned = torch.empty_like(even)
        torch.add(start, end, out=turned[:, :half])
        torch.sub(end, start, out=turned[:, half:])
        torch.sub(start[pairs:], end[pairs:], out=turned[pairs:, :half])
        torch.add(start[pairs:], end[pairs:], out=turned[pairs:, half:])
        loss, gradient = _pull(_absolute_cosent, even, (turned[pairs:], turned[:pairs]), target, 1e-12)
        return loss, gradient[:, :dims]


def _absolute_cosent(score: Floats, target: Floats) -> tuple[float, Floats]:
    loss, slope = cosent(np.abs(score), target)
    return loss, slope * np.sign(score)


def _pull(
    of_scores: ScoreLoss,
    vectors: torch.Tensor,
    partners: tuple[torch.Tensor, torch.Tensor],
    target: Floats,
    shortest: float,
) -> tuple[float, torch.Tensor]:
    """Return the loss of scores q = first @ p = second @ r over both lengths, and its gradient by `vectors`.

    partners: p [pairs, dims], linear in the second vectors, and r, linear in the first. With lengths l1 and l2 and
    s = d loss / d q, the gradient by first is s (p / (l1 l2) - q first / l1^2), and likewise by second.
    """
    pairs = len(target)
    lengths = torch.linalg.vector_norm(vectors, dim=1).numpy(force=True)
    inverse = (1.0 / np.maximum(lengths, shortest, dtype=np.float64)).reshape(2, pairs)
    both = inverse[0] * inverse[1]
    score = (vectors[:pairs] * partners[0]).sum(1).numpy(force=True) * both
    loss, slope = of_scores(score, target)
    factors = np.empty((3, pairs))
    factors[:2] = np.square(inverse) * (slope * -score)
    factors[2] = slope * both
    columns = torch.from_numpy(factors).to(vectors).view(-1, 1)
    gradient = vectors * columns[: 2 * pairs]
    gradient[:pairs].addcmul_(partners[0], columns[2 * pairs :])
    gradient[pairs:].addcmul_(partners[1], columns[2 * pairs :])
    return loss, gradient
