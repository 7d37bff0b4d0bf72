"""Limits of a search: on money, time, AUC and failures. What ends when one is reached is decided in `interrupt.py`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tune.config.search import SearchOptions
from tune.train.outcomes import TrialOutcome

GRACE_SECONDS = 60.0
"""How long running trials have at least for their next report."""
GRACE_SHARE = 0.1
SAME_FAILURES = 5
"""So many trials that fail for one reason, before any other trial has ended, have a common cause."""
_PAY_SECONDS = 1.0
"""On Modal, asking what was spent reads files."""


@dataclass(frozen=True)
class Standing:
    """Where a search stands. seconds: of this run. usd, best_auc, failures: of earlier runs too."""

    seconds: float = 0.0
    usd: float = 0.0
    best_auc: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class Limits:
    """What ends a search early; None for no limit. max_failures: failed trials that are still allowed."""

    max_usd: float | None = None
    max_hours: float | None = None
    target_auc: float | None = None
    max_failures: int | None = None

    @classmethod
    def of(cls, options: SearchOptions) -> Self:
        """Return the limits that a search was given."""
        return cls(options.max_usd, options.max_hours, options.target_auc, options.max_failures)

    def reached(self, at: Standing) -> str:
        """Return which limit is reached, in words that follow "The search stopped early:"; "" if none is."""
        if self.max_usd is not None and at.usd >= self.max_usd:
            return f"after spending about {at.usd:.2f} USD (--max-usd {self.max_usd:g})"
        if self.max_hours is not None and at.seconds >= self.max_hours * 3600:
            return f"after {self.max_hours:g} hours (--max-hours)"
        if self.target_auc is not None and at.best_auc >= self.target_auc:
            return f"at validation AUC {at.best_auc:.4f} (--target-auc {self.target_auc:g})"
        if self.max_failures is not None and at.failures > self.max_failures:
            trials = "1 failed trial" if at.failures == 1 else f"{at.failures} failed trials"
            return f"after {trials} (--max-failures {self.max_failures})"
        return ""


class LimitWatch:
    """Follows a search. reached: the first limit that it reached, as `Limits.reached` says it, or "".

    common_cause: why the first trials all failed, or "". past: of earlier runs of the search. spent: returns the USD
    that the search has cost so far, with earlier runs.
    """

    def __init__(self, limits: Limits, past: Sequence[TrialOutcome], spent: Callable[[], float]) -> None:
        self.reached = ""
        self.common_cause = ""
        self._limits = limits
        self._spent = spent
        self._best = max((one.best.auc for one in past if one.best and one.status != "failed"), default=0.0)
        self._failures = sum(one.status == "failed" for one in past)
        self._reasons: list[str] | None = []
        self._usd = 0.0
        self._began = time.monotonic()
        self._asked = self._over_at = float("-inf")
        self.check()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without `spent`, which may hold a network client: Ray pickles what is never read back."""
        return {**self.__dict__, "_spent": float}

    def report(self, result: dict[str, Any]) -> None:
        """Take a report, as Ray passes it."""
        self._best = max(self._best, result.get("best_auc", 0.0))
        self.check()

    def end(self, reason: str) -> None:
        """Take the end of a trial. reason: why it failed, or ""."""
        if not reason:
            self._reasons = None
        elif self._reasons is not None:
            self._reasons.append(reason)
            if len(set(self._reasons)) > 1:
                self._reasons = None
            elif len(self._reasons) == SAME_FAILURES and self._limits.max_failures is None:
                self.common_cause, self._over_at = reason, time.monotonic()
        self._failures += bool(reason)
        self.check()

    def check(self) -> None:
        """See whether a limit is reached by now."""
        if self.over:
            return
        now = time.monotonic()
        if now - self._asked >= _PAY_SECONDS:
            self._asked, self._usd = now, self._spent()
        self.reached = self._limits.reached(Standing(now - self._began, self._usd, self._best, self._failures))
        if self.reached:
            self._over_at = now

    @property
    def over(self) -> bool:
        """Whether the search is to end."""
        return bool(self.reached or self.common_cause)

    @property
    def patient(self) -> bool:
        """Whether trials still have time for their next report: a tenth of what the search took, at least a minute."""
        grace = max(GRACE_SECONDS, GRACE_SHARE * (self._over_at - self._began))
        return time.monotonic() - self._over_at < grace


__all__ = ["SAME_FAILURES", "LimitWatch", "Limits", "Standing"]
