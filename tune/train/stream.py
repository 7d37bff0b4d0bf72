"""A trial as a stream of reports: the contract of every opener, wherever the trial runs.

`TrialOpener` is the port. Reports are numbered from 1 without gaps; closing the generator ends the trial; a trial
that cannot be trained raises TrialFailed; opening a finished directory replays it, an unfinished one resumes.
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
    """The state of a trial after part of its plan.

    number: 1, 2, ... within the trial. budget: share of the planned training pairs seen, 0 < budget <= 1 (exactly
    1.0 in the last report). auc, accuracy, threshold: on validation, with the current weights; the threshold is the
    one with the best accuracy. best_auc: highest auc so far. loss: mean training loss since the previous report.
    pairs_per_second: while training, excluding validation. seconds: spent on the trial so far, over all attempts.

    auc_by_dims: for Matryoshka, validation AUC at each of the dims, keyed by dims as text (for JSON); auc, accuracy
    and threshold are those at the smallest. val_pairs: number of val pairs scored, in trials that train the base.
    auc_std: with folds, the standard deviation of AUC over them (auc is the mean); fold_aucs: the AUC of each;
    auc_std_by_dims: for Matryoshka with folds, the standard deviation at each of the dims (empty in older reports).
    step: optimizer steps taken, with folds in the one that has taken fewest (0 in older reports: unknown).
    halved: whether batches are trained in halves, as whole ones had not enough memory.

    Raises TrialFailed if a number is not finite.
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
    auc_std_by_dims: dict[str, float] = field(default_factory=dict)
    step: int = 0
    halved: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "fold_aucs", tuple(self.fold_aucs))
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not math.isfinite(value):
                # ASHA would never stop such a trial and Optuna would wait for it forever.
                raise TrialFailed(f"{item.name} of report {self.number} is not finite")

    @property
    def last(self) -> bool:
        """Whether this report ends the plan."""
        return self.budget >= 1.0

    @property
    def sixteenth(self) -> int:
        """Completed sixteenths of the plan, 1 to 16, rising; the time axis that all trials share."""
        return sixteenth(self.budget)

    def to_line(self) -> str:
        """Return a line of reports.jsonl, without the newline."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Parse a line of reports.jsonl. Raises ValueError if it is torn or not a report."""
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"not a report: {line[:80]!r}") from error

    def metrics(self) -> dict[str, Any]:
        """Return plain values by field name, as Ray Tune expects them."""
        return asdict(self)


def sixteenth(budget: float) -> int:
    """Return the whole sixteenths of the plan in a budget."""
    return int(budget * REPORTS_PER_TRIAL + 1e-9)


Reports = Generator[Report, None, None]


class TrialOpener(Protocol):
    """Opens a trial, in this process or as a call on another machine."""

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        """Yield the reports of `config` numbered above `after`, in order.

        directory: the trial's own, named by the digest of its configuration and data; created if missing.
        Raises TrialFailed if the trial cannot be trained, and OSError or UserError if something outside it (disk,
        permission, network) prevents it: the trial is as good as before, and can be opened again.
        """
        ...


class TrialFailed(Exception):
    """The trial cannot be trained, for the reason in the message; retrying would fail the same way."""
