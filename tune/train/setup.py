"""What every kind of trial begins with: the device, the pairs that its loss learns from, the gradient limit."""

import torch

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows
from tune.train.stream import TrialFailed

MAX_GRADIENT_NORM = 1.0  # as transformers' Trainer has it by default


def training_device() -> torch.device:
    """Where fits train."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learned_from(config: TrialConfig, pairs: PairRows) -> PairRows:
    """The pairs that the trial's loss learns from. TrialFailed for one that wants positives where there are none."""
    if not config.positives_only:
        return pairs
    positives = pairs.take(pairs.label == 1)
    if not len(positives):
        raise TrialFailed(f"the loss {config.loss} learns from positive pairs, and there are none to train on")
    return positives


def weights_diverged() -> TrialFailed:
    """Return the failure of a trial whose weights are no longer finite."""
    return TrialFailed("the weights are no longer finite; try a lower learning rate")


def loss_diverged(loss: float, step: int, steps: int) -> TrialFailed:
    """Return the failure of a trial whose loss is no longer finite after `step` of `steps` steps."""
    return TrialFailed(f"the loss is {loss} after {step} of {steps} steps; try a lower learning rate")
