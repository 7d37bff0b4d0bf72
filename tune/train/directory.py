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

The driver writes three more. `lost.json`: the trial was given up because its worker died too often; reopening the trial
removes it. `stopped`: ASHA stopped the trial (a resumed search relies on asha.json, which is written first); state.pt
is removed after it.
`weights_deleted`: the trial has ended and cannot be a finalist, so its weights were deleted; written before they are.

`done` and `stopped` hold the number of reports and the SHA-256 of what belongs to them, so that `settle` finds what has
been damaged or lost since.

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
from tune.files import locked, read_object, sha256_of, sync_file, write_atomic
from tune.train.stream import Report, TrialFailed

STATE_SECONDS = 2.0
LOCK_SECONDS = 0.05
OUT_OF_FOLD = "out_of_fold.f32"


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
        self._deleted = path / "weights_deleted"
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
        while not self.stopped:
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(locked(self.path / ".lock", wait=False))
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
        write_atomic(self._stopped, self._record() + "\n", sync=False)
        self.state.unlink(missing_ok=True)

    def unstop(self) -> None:
        """Forget that the search has stopped the trial: another search decides about it anew.

        If it goes on there, it is trained from its start, without new reports until it gets to where it was.
        """
        self._stopped.unlink(missing_ok=True)

    @property
    def weights_deleted(self) -> bool:
        """Whether the weights were deleted on purpose, to save disk."""
        return self._deleted.exists()

    def delete_weights(self) -> None:
        """Delete the weights of an ended trial. It counts as whole without them."""
        write_atomic(self._deleted, "")
        self.best.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

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
            for line in self._reports.read_bytes().decode(errors="replace").splitlines():
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
        write_atomic(self._done, self._record() + "\n")
        self.state.unlink(missing_ok=True)

    def settle(self) -> str:
        """Finish what a kill left unfinished, and drop a trial that is damaged; return what is damaged, or "".

        After its last report a trial only needs to be marked as done. One whose files are not those that it ended with
        is not to be trusted: all but its configuration goes, and it is trained again from the start.
        """
        reports = self.reports()
        ended = self.done or self.stopped
        damaged = self._damaged(reports) if ended else ""
        if not ended and reports and reports[-1].last:
            if self.best.exists():
                self.finish()
            else:
                damaged = f"{self.best.name} is missing"
        if damaged:
            self.clear()
        return damaged

    def damage(self) -> str:
        """Return which file of an ended trial is not the one that it ended with, as "NAME is damaged"; "" if none."""
        return self._damaged(self.reports()) if self.done or self.stopped else ""

    def _record(self) -> str:
        """Return what belongs to the trial as it ends, as JSON."""
        files = [file for file in self._belongings() if file.exists()]
        return json.dumps({"reports": len(self.reports()), "sha256": {file.name: sha256_of(file) for file in files}})

    def _belongings(self) -> list[Path]:
        return [self._reports, self.best, self.path / OUT_OF_FOLD]

    def _damaged(self, reports: list[Report]) -> str:
        """Return which file is not the one that the trial ended with, or ""."""
        mark = self._done if self.done else self._stopped
        try:
            record = read_object(mark) if mark.stat().st_size else {}
            count, hashes = record.get("reports"), dict(record.get("sha256", {}))
        except (ValueError, TypeError):
            return f"{mark.name} is damaged"
        if not record:
            # Written by an earlier version.
            complete = self.stopped or (bool(reports) and reports[-1].last)
            weights = self.best.exists() or self.weights_deleted
            return "" if complete and weights == bool(reports) else "a file is missing or cut short"
        for file in self._belongings():
            if file == self.best and self.weights_deleted:
                continue
            if (file.name in hashes) != file.exists():
                return f"{file.name} is missing" if file.name in hashes else f"{file.name} is not the trial's"
            if file.name in hashes and sha256_of(file) != hashes[file.name]:
                return f"{file.name} is damaged"
        return "" if count == len(reports) else f"{self._reports.name} is damaged"

    def clear(self) -> None:
        """Remove everything but the configuration, in an order that has what is half removed trained again, too."""
        files = (self._done, self._stopped, self._reports, self.state, self.best, self.path / OUT_OF_FOLD)
        for path in (*files, self._deleted):
            path.unlink(missing_ok=True)

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
        return _reason_in(self._failed)

    def fail(self, error: BaseException) -> str:
        """Record the reason and the traceback, for people to read; return the reason."""
        reason = str(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {error}"
        text = "".join(traceback.format_exception(error))
        write_atomic(self._failed, json.dumps({"reason": reason, "traceback": text}, indent=1))
        return reason

    def forgive(self) -> None:
        """Forget that the trial failed: reopening it trains it again."""
        self._failed.unlink(missing_ok=True)
        self._lost.unlink(missing_ok=True)

    def lose(self, config: TrialConfig, reason: str) -> None:
        """Record that the driver gave the trial up (its worker died too often, perhaps before training began).

        For the search it has failed. Its state is kept: reopening it resumes it.
        """
        self.begin(config)
        write_atomic(self._lost, json.dumps({"reason": reason}))

    def lost(self) -> str:
        """Return why the driver gave the trial up, or ""."""
        found = _reason_in(self._lost)
        return "" if found is None else str(found["reason"])


def _reason_in(path: Path) -> dict[str, Any] | None:
    """Return what failed.json or lost.json says, with a `reason`; None without the file.

    That there is one says enough: one that cannot be read stands for a failure too.
    """
    try:
        found = read_object(path)
        return {"traceback": "", **found, "reason": str(found["reason"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        return {"reason": f"{path.name} is unreadable", "traceback": ""}
