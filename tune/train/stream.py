"""A trial is a stream of reports: the one contract that every place a trial can run keeps.

`TrialOpener` is the port. Reports come numbered from 1 without gap; closing the generator ends the trial; a trial
that cannot be trained raises TrialFailed; a directory that is done replays; one that is half-way goes on.
"""

import json
import math
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, Self

from tune.config.trial import TrialConfig

REPORTS_PER_TRIAL = 16


@dataclass(frozen=True)
class Report:
    """The state of a trial after a part of its plan.

    number: 1, 2, ... within the trial. budget: share of the planned training pairs seen, 0 < budget <= 1 (exactly
    1.0 in the last report). auc, accuracy, threshold: on validation, of the weights at this report; the threshold
    is the one that accuracy is best at. best_auc: highest auc so far. loss: mean training loss since the last
    report. pairs_per_second: while training, validation not counted. seconds: since the trial began, all attempts
    counted.

    auc_by_dims: for Matryoshka, AUC on validation at each of the dims, by dims as text (JSON's keys); auc, accuracy
    and threshold are those at the smallest. val_pairs: validation pairs that were looked at. auc_std: with folds,
    the standard deviation of AUC over them, of which auc is the mean; fold_aucs: each of them.
    """

    number: int
    budget: float
    auc: float
    best_auc: float
    accuracy: float
    threshold: float
    loss: float
    pairs_per_second: float
    seconds: float
    auc_by_dims: dict[str, float] = field(default_factory=dict)
    val_pairs: int = 0
    auc_std: float = 0.0
    fold_aucs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fold_aucs", tuple(self.fold_aucs))
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not math.isfinite(value):
                # ASHA never stops such a trial and Optuna waits for it for ever, so it must not leave the trial.
                raise TrialFailed(f"{one.name} of report {self.number} is not finite")

    @property
    def last(self) -> bool:
        """True for the report that ends the plan."""
        return self.budget >= 1.0

    @property
    def sixteenth(self) -> int:
        """How many sixteenths of the plan are behind it: 1 to 16, rising, in every trial."""
        return sixteenth(self.budget)

    def to_line(self) -> str:
        """One line of reports.jsonl, without the line end."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The report of a line; ValueError where the line is torn or is no report."""
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"no report: {line[:80]!r}") from error

    def metrics(self) -> dict[str, Any]:
        """As Ray Tune takes it."""
        return asdict(self)


def sixteenth(budget: float) -> int:
    """Whole sixteenths of the plan in a budget."""
    return int(budget * REPORTS_PER_TRIAL + 1e-9)


Reports = Generator[Report, None, None]


class TrialOpener(Protocol):
    """Opens a trial somewhere: in this process, or as a call on another machine."""

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        """The reports of `config` with a number above `after`, in order.

        directory: the trial's own, named by the digest of its configuration and data; made where missing.
        Raises TrialFailed where the trial cannot be trained.
        """
        ...


class TrialFailed(Exception):
    """A trial that cannot be trained; the message is its reason, and trying again would end the same."""
