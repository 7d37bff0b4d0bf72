"""TrialDirectory: the files of one trial, written in an order that survives a kill at any moment.

The process that trains the trial writes these files, in this order, while it holds the directory's lock:

1. `trial.json`          the configuration, before anything else.
2. `best.safetensors`    weights of the best report, replaced before the report that makes them best is written.
3. `state.pt`            everything needed to resume training, and the number of the last report it covers. Written at
                         most every STATE_SECONDS, and for large models rarely enough that writing takes at most a
                         tenth of the time. A resumed trial retrains any later reports silently and reaches the same
                         numbers, because training is deterministic. Without this file it starts from the beginning.
   `out_of_fold.f32`     out-of-fold scores of every report, if all pairs are in folds; written before the report.
4. `reports.jsonl`       one line per report, appended after 2 and 3. A torn last line is dropped on resume.
5. `failed.json`         reason and traceback if the trial cannot be trained. Nothing is written after it.
6. `done`                written last, after the last report; state.pt is removed after it.

The driver writes two more. `lost.json`: the trial was given up because its worker died too often; reopening the trial
removes it. `stopped`: ASHA stopped the trial (a resumed search relies on asha.json, which is written first).

Every file but reports.jsonl and out_of_fold.f32 is written under a temporary name and renamed, so it is complete or
absent.
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
    """The directory of one trial. Reading needs no lock; write only inside `locked`."""

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
        """Lock the directory for this process, waiting while another process holds it; yield True.

        A configuration drawn twice shares one directory: the second reader waits, then replays the first one's
        reports. It is a kernel lock, released when its process dies. Yields False, without the lock, if the trial is
        stopped while waiting: Ray parks a stopped trial's process with its stream open, so the lock would only be
        released once another trial reuses that process.
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
        """Whether the search has stopped the trial for good."""
        return self._stopped.exists()

    def stop(self) -> None:
        """Mark the trial as stopped for good: reopening it replays its reports without training."""
        write_atomic(self._stopped, "", sync=False)

    @property
    def done(self) -> bool:
        """Whether the trial has completed its plan."""
        return self._done.exists()

    def begin(self, config: TrialConfig) -> None:
        """Create the directory, record `config` in it and clear an earlier `lose`."""
        self._lost.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        if self.config() != config:
            write_atomic(self.path / "trial.json", config.model_dump_json(indent=1), sync=False)

    def config(self) -> TrialConfig | None:
        """Return the recorded configuration; None if the trial has not begun or the file is damaged."""
        try:
            return TrialConfig.model_validate_json((self.path / "trial.json").read_text())
        except (FileNotFoundError, ValidationError, UnicodeDecodeError):
            return None

    def reports(self) -> list[Report]:
        """Return the reports so far, up to the first torn, missing or repeated one."""
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
        """Rewrite reports.jsonl to hold exactly these, before training appends to it."""
        write_atomic(self._reports, "".join(report.to_line() + "\n" for report in reports), sync=False)

    def append(self, report: Report) -> None:
        """Append a report; the last one also marks the trial as done."""
        with open(self._reports, "a") as handle:
            handle.write(report.to_line() + "\n")
        if report.last:
            self.finish()

    def finish(self) -> None:
        """Flush weights and reports to disk, then mark the trial as done."""
        sync_file(self.best)
        sync_file(self._reports)
        write_atomic(self._done, "")
        self.state.unlink(missing_ok=True)

    def state_due(self, pause: float = 0.0) -> bool:
        """Return whether the resume state is at least STATE_SECONDS old (the first call starts the clock).

        pause: a longer minimum age in seconds, for states that are slow to write. True restarts the clock.
        """
        now = time.monotonic()
        if self._state_written == 0.0:
            self._state_written = now
        if now - self._state_written < max(STATE_SECONDS, pause):
            return False
        self._state_written = now
        return True

    def failure(self) -> dict[str, Any] | None:
        """Return `reason` and `traceback` of a failed trial, else None."""
        try:
            failure: dict[str, Any] = json.loads(self._failed.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            # Copied half-way: that it failed is known all the same.
            return {"reason": f"{self._failed.name} is unreadable", "traceback": ""}
        return failure

    def fail(self, error: BaseException) -> str:
        """Record the reason and the traceback, for people to read; return the reason."""
        reason = str(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {error}"
        text = "".join(traceback.format_exception(error))
        write_atomic(self._failed, json.dumps({"reason": reason, "traceback": text}, indent=1))
        return reason

    def lose(self, config: TrialConfig, reason: str) -> None:
        """Record that the driver gave the trial up (its worker died too often, perhaps before training began).

        The trial is unfinished, not failed: reopening it resumes it.
        """
        self.begin(config)
        write_atomic(self._lost, json.dumps({"reason": reason}))

    def lost(self) -> str:
        """Return why the driver gave the trial up, or ""."""
        try:
            return str(json.loads(self._lost.read_text())["reason"])
        except FileNotFoundError:
            return ""
        except ValueError:
            return f"{self._lost.name} is unreadable"
