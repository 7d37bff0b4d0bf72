"""Progress: a trial's step, reports, best weights and resume state, kept in its directory."""

import logging
import time
from typing import Any, Protocol

import torch
from safetensors.torch import save_file

from tune.files import replace_atomic
from tune.train.directory import TrialDirectory
from tune.train.stream import Report

logger = logging.getLogger(__name__)

STATE_SHARE = 0.1
"""Largest share of a trial's time to spend on writing the resume state."""

_BYTES_PER_SECOND = 200e6  # assume a slow disk until the first state has been written and timed


class Learner(Protocol):
    """What is being trained: the part of it that `Progress` keeps on disk."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the trained weights by name (views, not copies)."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything needed to resume except the step: plain values and tensors."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        ...


class Progress:
    """Write best weights, resume state and reports in the order that `TrialDirectory` promises.

    step: optimizer steps done, advanced by the caller. number: of the latest report.
    """

    def __init__(self, trial: TrialDirectory, learner: Learner) -> None:
        self.step = 0
        self.number = 0
        self._trial = trial
        self._learner = learner
        self._kept: list[Report] = []
        # Weights plus the optimizer's two moments.
        size = 3 * sum(t.numel() * t.element_size() for t in learner.weights().values())
        self._state_seconds = size / _BYTES_PER_SECOND

    def resume(self) -> list[Report]:
        """Restore the resume state, or start from the beginning; return the reports kept on disk.

        Reports after the state are kept too: training reaches them again silently. best.safetensors already holds the
        best of them all, because it is replaced before its report is written.
        """
        self._kept = self._trial.reports()
        state = self._load_state()
        if state is not None and len(self._kept) >= state["report"]["number"] - 1:
            if len(self._kept) < state["report"]["number"]:
                # Killed between writing the state and its report's line; the state holds the report.
                self._kept.append(Report(**state["report"]))
            self.step, self.number = state["step"], state["report"]["number"]
            self._learner.load(state["learner"])
        self._trial.keep_reports(self._kept)
        self._trial.state_due()
        return list(self._kept)

    def report(self, *, took: float, **numbers: Any) -> Report | None:
        """Write weights, state and report, in that order; return the report, or None if it was kept already.

        took: seconds since the previous report. numbers: the other fields of `Report`, without number, step and
        best_auc.
        """
        self.number += 1
        if self.number <= len(self._kept):
            return None
        last = self._kept[-1] if self._kept else None
        best = last is None or numbers["auc"] > last.best_auc
        report = Report(
            number=self.number,
            step=self.step,
            best_auc=numbers["auc"] if last is None or best else last.best_auc,
            seconds=(last.seconds if last else 0.0) + took,
            **numbers,
        )
        if best:
            weights = {name: t.detach().cpu().contiguous() for name, t in self._learner.weights().items()}
            replace_atomic(self._trial.best, lambda part: save_file(weights, str(part)), sync=False)
        self._kept.append(report)
        if not report.last and self._trial.state_due(self._state_seconds * (1 / STATE_SHARE - 1)):
            self._write_state(report)
        self._trial.append(report)
        return report

    def _write_state(self, report: Report) -> None:
        began = time.perf_counter()
        state = {"step": self.step, "learner": self._learner.state(), "report": report.metrics()}
        replace_atomic(self._trial.state, lambda part: torch.save(state, part), sync=False)
        self._state_seconds = time.perf_counter() - began

    def _load_state(self) -> dict[str, Any] | None:
        if not self._trial.state.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._trial.state, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises a different class for every way a file can be damaged
            logger.warning("cannot read %s (%s); training starts from the beginning", self._trial.state, error)
            return None
        # A state written by an earlier version is ignored.
        return state if "learner" in state else None
