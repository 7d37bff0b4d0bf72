"""Out of memory in a step: its batches are trained in halves, whose gradients add up to the same step."""

import torch

from tune.train.whole.plan import Batch, Step


def out_of_memory(error: BaseException) -> bool:
    """Return whether torch could not allocate memory, on a GPU or for the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )


def halves(batch: Batch) -> Step:
    """Return a batch in two, each with its share of the hard negatives; as it is if it has one pair."""
    if len(batch) < 2:
        return [batch]
    middle = (len(batch) + 1) // 2
    negatives = (len(batch.negatives) + 1) // 2
    return [
        Batch(batch.index[:middle], batch.negatives[:negatives]),
        Batch(batch.index[middle:], batch.negatives[negatives:]),
    ]


__all__ = ["halves", "out_of_memory"]
