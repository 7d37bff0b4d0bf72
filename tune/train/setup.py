"""What all kinds of trials share: the device, the pairs that a loss can use, the gradient limit, divergence errors."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tune.config.trial import Loss, TrialConfig
from tune.embed.view import PairRows
from tune.train.negatives import HardNegatives
from tune.train.stream import TrialFailed

MAX_GRADIENT_NORM = 1.0  # the default of transformers' Trainer


def training_device() -> torch.device:
    """Return the device that trials train on: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pairs_for_loss(config: TrialConfig, pairs: PairRows) -> PairRows:
    """Return the pairs that the trial's loss learns from.

    Raises TrialFailed if the loss learns from positive pairs only and there are none.
    """
    if not config.positives_only:
        return pairs
    positives = pairs.take(pairs.label == 1)
    if not len(positives):
        raise TrialFailed(f"loss {config.loss} learns from positive pairs only, and there are none to train on")
    return positives


GRADED_LOSSES: frozenset[Loss] = frozenset(["cosine", "cosent", "angle"])
"""Losses that learn from graded scores where pairs have them."""


def labels_for(loss: Loss, pairs: PairRows) -> NDArray[np.float64] | NDArray[np.int8]:
    """Return what the loss learns from, [n]: graded scores if the pairs have them and it can, else labels of 0 and 1.

    cosent and angle learn from the order of the labels; cosine fits the cosine to them, so they must be in [0, 1].
    """
    return pairs.score if pairs.score is not None and loss in GRADED_LOSSES else pairs.label


def negatives_for_loss(
    config: TrialConfig, pairs: PairRows, same: NDArray[np.int64], batches: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Return for every batch of `pairs_for_loss` the rows of its hard negatives; none unless the trial uses them.

    pairs: of both labels. same: see `HardNegatives`.
    """
    if not (config.positives_only and config.hard_negatives):
        return [np.empty(0, np.int64)] * len(batches)
    return HardNegatives(pairs, same, config.seed).over(pairs_for_loss(config, pairs), batches)


def weights_diverged() -> TrialFailed:
    """Return the failure of a trial whose weights are no longer finite."""
    return TrialFailed("the weights are no longer finite; try a lower learning rate")


def loss_diverged(loss: float, step: int, steps: int) -> TrialFailed:
    """Return the failure of a trial whose loss is no longer finite after `step` of `steps` steps."""
    return TrialFailed(f"the loss is {loss} after {step} of {steps} steps; try a lower learning rate")
