"""TrialDirectory: what a trial leaves on disk, and in which order, so that it can be killed at any moment.

Who writes what, and when (always the one process that trains the trial, under the directory's lock):

1. `trial.json`          the configuration, before anything else.
2. `best.safetensors`    weights of the best report, replaced before the report that names it best is written.
3. `state.pt`            all that training needs to go on, at most every STATE_SECONDS, and for large models so seldom
                         that writing takes a tenth of the time at most; it holds the number of the last report that
                         it covers. Training comes to the reports after that again, in silence and to the same
                         numbers, since it is deterministic. Without it training begins at the start.
4. `reports.jsonl`       one line per report, appended after 2 and 3. A torn last line is dropped on resume.
5. `failed.json`         reason and traceback, where the trial cannot be trained. Then nothing follows.
6. `done`                last of all, after the last report. state.pt is removed after it.

Two files are the driver's. `lost.json`: the trial was given up because its worker died too often; opening it again
removes it. `stopped`: ASHA has stopped the trial (asha.json, written before, is what a resumed search goes by).

Every file but reports.jsonl is written beside its name and moved onto it, so it is complete or absent.
"""

import contextlib
import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tune.config.trial import TrialConfig
from tune.files import lock_file, sync_file, write_atomic
from tune.train.stream import Report, TrialFailed

STATE_SECONDS = 2.0
LOCK_SECONDS = 0.05


class TrialDirectory:
    """The directory of one trial. Reading needs no lock; writing happens inside `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.state = path / "state.pt"
        self._reports = path / "reports.jsonl"
        self._failed = path / "failed.json"
        self._lost = path / "lost.json"
        self._stopped = path / "stopped"
        self._done = path / "done"
        self._state_written = 0.0

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Holds the directory for this process; waits while another holds it.

        A configuration drawn twice is the same directory: the second reader waits, and then replays what the first
        has made. The lock is the kernel's, so it goes with the process that holds it. Yields False, without the lock,
        where the trial is stopped meanwhile: Ray parks a stopped trial's process with its stream open, and the lock
        would not be free before another trial takes that process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as handle:
            while not self.stopped:
                try:
                    lock_file(handle, wait=False)
                except BlockingIOError:
                    time.sleep(LOCK_SECONDS)
                else:
                    yield True
                    return
            yield False

    @property
    def stopped(self) -> bool:
        """True where the search has stopped the trial for good."""
        return self._stopped.exists()

    def stop(self) -> None:
        """Marks the trial as stopped for good: opened again, it replays its reports and trains no more."""
        write_atomic(self._stopped, "", sync=False)

    @property
    def done(self) -> bool:
        """True where the trial has ended by its plan."""
        return self._done.exists()

    def begin(self, config: TrialConfig) -> None:
        """Says what is trained here."""
        self._lost.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        if self.config() != config:
            write_atomic(self.path / "trial.json", config.model_dump_json(indent=1), sync=False)

    def config(self) -> TrialConfig | None:
        """The configuration that is trained here; None where the trial has not begun, or its file is damaged."""
        try:
            return TrialConfig.model_validate_json((self.path / "trial.json").read_text())
        except (FileNotFoundError, ValidationError, UnicodeDecodeError):
            return None

    def reports(self) -> list[Report]:
        """The reports so far, without a torn last line, gap or repeat."""
        reports: list[Report] = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._reports.read_text().splitlines():
                try:
                    report = Report.from_line(line)
                except ValueError:
                    break
                if report.number != len(reports) + 1:
                    break
                reports.append(report)
        return reports

    def keep_reports(self, reports: list[Report]) -> None:
        """Makes reports.jsonl hold exactly these, before training goes on behind them."""
        write_atomic(self._reports, "".join(report.to_line() + "\n" for report in reports), sync=False)

    def append(self, report: Report) -> None:
        """Adds a report; after the last one the trial is done."""
        with open(self._reports, "a") as handle:
            handle.write(report.to_line() + "\n")
        if report.last:
            self.finish()

    def finish(self) -> None:
        """Marks the trial as done, once all that it leaves is on disk."""
        sync_file(self.best)
        sync_file(self._reports)
        write_atomic(self._done, "")
        self.state.unlink(missing_ok=True)

    def state_due(self, pause: float = 0.0) -> bool:
        """True where the resume state is older than STATE_SECONDS (the first call starts the clock).

        pause: seconds that it must be old at least, for states that take long to write.
        """
        now = time.monotonic()
        if self._state_written == 0.0:
            self._state_written = now
        if now - self._state_written < max(STATE_SECONDS, pause):
            return False
        self._state_written = now
        return True

    def failure(self) -> dict[str, Any] | None:
        """reason and traceback of a failed trial, else None."""
        try:
            failure: dict[str, Any] = json.loads(self._failed.read_text())
        except FileNotFoundError:
            return None
        return failure

    def fail(self, error: BaseException) -> str:
        """Keeps the reason and the traceback, for people; returns the reason."""
        reason = str(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {error}"
        text = "".join(traceback.format_exception(error))
        write_atomic(self._failed, json.dumps({"reason": reason, "traceback": text}, indent=1))
        return reason

    def lose(self, config: TrialConfig, reason: str) -> None:
        """Notes that the trial was given up from outside (its worker died too often, maybe before it began).

        It is half-way, not failed: opened again, it goes on.
        """
        self.begin(config)
        write_atomic(self._lost, json.dumps({"reason": reason}))

    def lost(self) -> str:
        """Why the trial was given up from outside, or ""."""
        try:
            return str(json.loads(self._lost.read_text())["reason"])
        except FileNotFoundError:
            return ""
