"""The plan of a trial that trains its base, known before it starts: steps, their batches and when reports are due."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows, View, ViewTexts
from tune.train.schedule import Plan, learning_rate_factors, report_steps
from tune.train.setup import negatives_for_loss, pairs_for_loss
from tune.train.whole.looks import plan_looks


@dataclass(frozen=True)
class Batch:
    """index [n]: the batch's pairs among those that are trained on. negatives: rows of hard negatives, at most n."""

    index: NDArray[np.int64]
    negatives: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)


Step = list[Batch]
"""The batches of an optimizer step: `accumulation` of them, fewer at the end of an epoch."""


@dataclass(frozen=True)
class WholePlan:
    """What a trial does.

    pairs: to train on. steps: all optimizer steps. rates: the learning rate of every step. epoch_starts: number of
    steps before each epoch. due: {step, counted from 1: budget of its report}. val: the pairs that every report scores.
    """

    pairs: PairRows
    steps: list[Step]
    rates: list[float]
    epoch_starts: set[int]
    due: dict[int, float]
    val: PairRows


def whole_plan(config: TrialConfig, view: View, texts: ViewTexts) -> WholePlan:
    """Return the plan of a trial. texts: of the view. Raises TrialFailed as `pairs_for_loss` does."""
    epochs = plan_steps(config, view, texts)
    steps = [step for epoch in epochs for step in epoch]
    sizes = [step_size(step) for step in steps]
    val = view.val.take(view.sample_index(config.val_sample))
    marks = plan_looks(config, len(val), sum(sizes))
    factors = learning_rate_factors(config.scheduler, len(steps), config.warmup)
    return WholePlan(
        training_pairs(config, view.train),
        steps,
        rates=[config.learning_rate * factor for factor in factors],
        epoch_starts={0, *np.cumsum([len(epoch) for epoch in epochs]).tolist()},
        due=report_steps(sizes, marks),
        val=val,
    )


def training_pairs(config: TrialConfig, train: PairRows) -> PairRows:
    """Return the pairs that the trial trains on. Raises TrialFailed as `pairs_for_loss` does."""
    return pairs_for_loss(config, train.prefix(config.train_size))


def plan_steps(config: TrialConfig, view: View, texts: ViewTexts) -> list[list[Step]]:
    """Return the optimizer steps of every epoch."""
    pairs, same = training_pairs(config, view.train), view.text_rows()
    length = np.array([len(text) for text in texts.texts], dtype=np.int64)
    plan = Plan(
        same[pairs.a],
        same[pairs.b],
        config.batch_size,
        config.epochs,
        config.seed,
        distinct=config.positives_only,
        lengths=length[pairs.a] + length[pairs.b],
    )
    epochs = [plan.epoch(number) for number in range(config.epochs)]
    every = [batch for batches in epochs for batch in batches]
    found = iter(negatives_for_loss(config, view.train.prefix(config.train_size), same, every))
    together = config.accumulation
    planned = []
    for batches in epochs:
        whole = [Batch(index, next(found)) for index in batches]
        planned.append([whole[start : start + together] for start in range(0, len(whole), together)])
    return planned


def step_size(step: Step) -> int:
    """Return the number of pairs in a step."""
    return sum(map(len, step))
