"""The plan of a trial, fixed before it starts: batches, learning rates and the steps that end in a report."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import Scheduler
from tune.train.stream import REPORTS_PER_TRIAL


def learning_rate_factors(scheduler: Scheduler, steps: int, warmup: float) -> list[float]:
    """Return the factor on the learning rate at every step, [steps].

    warmup: a share of the steps if below 1, otherwise a number of steps. The formulas are those of
    transformers.get_scheduler. With restarts the cosine has two cycles: with one it would equal the one without.
    """
    rising = 0 if scheduler == "constantlr" else int(np.ceil(warmup * steps)) if warmup < 1 else int(warmup)
    after = _AFTER_WARMUP[scheduler]
    left = max(1, steps - rising)
    return [step / max(1, rising) if step < rising else after((step - rising) / left) for step in range(steps)]


_AFTER_WARMUP: dict[Scheduler, Callable[[float], float]] = {
    "constantlr": lambda done: 1.0,
    "warmupconstant": lambda done: 1.0,
    "warmuplinear": lambda done: 1.0 - done,
    "warmupcosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "warmupcosinewithhardrestarts": lambda done: 0.5 * (1.0 + math.cos(math.pi * (2.0 * done % 1.0))),
}
"""The factor by the share of the steps after the warmup that are done, 0 <= done < 1."""


_LOOK_AHEAD = 8
_WINDOW = 50
"""Number of batches whose pairs are sorted by length together: enough to save padding, few enough to stay random."""


@dataclass(frozen=True)
class Plan:
    """The batches of a trial over its pairs.

    a, b [n]: text ids of each pair. distinct: no text id appears twice in a batch. lengths [n]: if given, pairs of
    similar length share a batch, to save padding; the batches are still shuffled. The order of an epoch depends on
    (seed, epoch) alone, so a resumed trial sees the same batches.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    batch_size: int
    epochs: int
    seed: int
    distinct: bool = False
    lengths: NDArray[np.int64] | None = None

    @property
    def pairs(self) -> int:
        """Number of training pairs over all epochs."""
        return len(self.a) * self.epochs

    def epoch(self, number: int) -> list[NDArray[np.int64]]:
        """Return the batches of an epoch, each an index array into the pairs."""
        generator = np.random.default_rng([self.seed, number])
        order = generator.permutation(len(self.a))
        if self.lengths is None:
            return self._cut(order)
        batches = self._cut(self._by_length(order, self.lengths))
        return [batches[place] for place in generator.permutation(len(batches))]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        if self.distinct:
            return list(self._distinct_batches(order))
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def _by_length(self, order: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `order` with each window of it sorted by length."""
        span = _WINDOW * self.batch_size
        windows = [order[start : start + span] for start in range(0, len(order), span)]
        return np.concatenate([window[np.argsort(lengths[window], kind="stable")] for window in windows])

    def _distinct_batches(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield batches without a repeated text, in order; a pair that clashes waits for a later batch."""
        a, b = self.a.tolist(), self.b.tolist()
        waiting: deque[int] = deque()
        rest = iter(order.tolist())
        exhausted = False
        while True:
            batch: list[int] = []
            seen: set[int] = set()
            passed: list[int] = []
            # A text in very many pairs would fill the queue; scanning only its head bounds the work.
            for _ in range(min(len(waiting), _LOOK_AHEAD * self.batch_size)):
                if len(batch) == self.batch_size:
                    break
                pair = waiting.popleft()
                if a[pair] in seen or b[pair] in seen:
                    passed.append(pair)
                else:
                    batch.append(pair)
                    seen |= {a[pair], b[pair]}
            waiting.extendleft(reversed(passed))
            while len(batch) < self.batch_size and not exhausted:
                pair = next(rest, -1)
                if pair < 0:
                    exhausted = True
                elif a[pair] in seen or b[pair] in seen:
                    waiting.append(pair)
                else:
                    batch.append(pair)
                    seen |= {a[pair], b[pair]}
            if not batch:
                return
            yield np.array(batch, dtype=np.int64)


_MARKS = tuple(range(1, REPORTS_PER_TRIAL + 1))


def report_steps(batch_sizes: list[int], marks: Sequence[int] = _MARKS) -> dict[int, float]:
    """Return {step: budget} for the steps (counted from 1) that end in a report.

    marks: sixteenths of the plan, ascending, ending with 16. The report for mark k follows the first step with budget
    >= k/16; a step that passes several marks has one report.
    """
    total = sum(batch_sizes)
    due: dict[int, float] = {}
    seen, left = 0, deque(marks)
    for step, size in enumerate(batch_sizes, start=1):
        seen += size
        while left and seen * REPORTS_PER_TRIAL >= left[0] * total:
            left.popleft()
            due[step] = 1.0 if seen == total else seen / total
    return due
