"""CallOpener: a Modal call as a stream of reports, with the same contract as a trial in this process.

The one source of truth is the trial's directory on the trials Volume, written by its container; the Queue only carries
news of it. Every message holds all reports so far (at most 16, about 4 KB), and so does the call's return value: a
reader that comes late, or after another one, misses nothing, and drops by number what it already has.
"""

import queue as standard_queue
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modal

from cluster.ledger import CallEntry, Ledger, cancel, is_over
from tune.config.trial import TrialConfig
from tune.train.directory import TrialDirectory
from tune.train.stream import Report, Reports, TrialFailed

TrialNews = dict[str, Any]
"""reports: all so far, as plain values. failed: reason, or None. container, began: where it trains, since when."""


class CallLost(RuntimeError):
    """The call ended without a result (container lost too often, cancelled from outside); trying again may help."""


@dataclass(frozen=True)
class CallOpener:
    """Opens trials as Modal calls. Plain data with ids, not hydrated handles, since Ray pickles it into its actors.

    function, queue: object ids. search: the search's folder on the trials Volume. root: local folder of the trial
    directories, which hold the ledgers. views: base model -> digest of its view on the snapshots Volume.
    """

    function: str
    queue: str
    search: str
    root: Path
    views: dict[str, str]
    poll_seconds: float = 2.0
    end_seconds: float = 30.0

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        trial, ledger = TrialDirectory(directory), Ledger(directory)
        if failure := trial.failure():
            raise TrialFailed(failure["reason"])
        if trial.done:
            yield from (report for report in trial.reports() if report.number > after)
            return
        with ledger.locked():
            entry = self._running_call(ledger) or self._new_call(config, directory, ledger)
        ended = False
        try:
            for message in self._messages(ledger, entry):
                reports = [Report(**values) for values in message["reports"]]
                # Set before the last report is yielded: a reader may not come back after it.
                ended = message["failed"] is not None or (bool(reports) and reports[-1].last)
                for report in reports[after:]:
                    after = report.number
                    yield report
                if message["failed"] is not None:
                    raise TrialFailed(message["failed"])
                if ended:
                    return
        except CallLost:
            ended = True
            raise
        finally:
            if ended:
                ledger.note(entry.call, finished=time.time())
            elif not ledger.entries()[entry.call].ending:
                cancel(directory, entry.call)

    def _running_call(self, ledger: Ledger) -> CallEntry | None:
        """Return the call that already trains this trial, if any; wait for one that is ending."""
        entry = ledger.latest()
        if entry is None or entry.over is not None:
            return None
        deadline = time.monotonic() + self.end_seconds
        while not is_over(entry.call):
            if not entry.ending:
                return entry
            if time.monotonic() > deadline:
                # A second container in the directory would mix its reports with the first's.
                raise CallLost(f"call {entry.call} has not ended within {self.end_seconds:.0f} s")
            time.sleep(0.2)
        ledger.note(entry.call, over=time.time())
        return None

    def _new_call(self, config: TrialConfig, directory: Path, ledger: Ledger) -> CallEntry:
        TrialDirectory(directory).begin(config)
        partition = uuid.uuid4().hex
        order = {
            "config": config.model_dump(),
            "place": f"{self.search}/{directory.relative_to(self.root)}",
            "view": self.views[config.base_model],
            "queue": self.queue,
            "partition": partition,
        }
        call = modal.Function.from_id(self.function).spawn(order)
        return ledger.spawned(call.object_id, partition)

    def _messages(self, ledger: Ledger, entry: CallEntry) -> Iterator[TrialNews]:
        """Yield news from the queue; if there is none, check on the call itself. Raises CallLost if it ends early."""
        queue = modal.Queue.from_id(self.queue)
        call = modal.FunctionCall.from_id(entry.call)
        container = entry.containers[-1] if entry.containers else ""
        while True:
            try:
                news = queue.get_many(100, timeout=self.poll_seconds, partition=entry.partition)
            except standard_queue.Empty:
                news = []
            if news:
                message: TrialNews = max(news, key=lambda message: (message["began"], len(message["reports"])))
                if message["container"] != container:
                    container = message["container"]
                    ledger.note(entry.call, container=container, began=message["began"])
                yield message
                continue
            try:
                result: TrialNews = call.get(timeout=0)
            except TimeoutError:
                continue
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                raise CallLost(f"its Modal call ended without a result: {type(error).__name__}: {reason}") from None
            yield result
            raise CallLost("its Modal call ended early")


__all__ = ["CallLost", "CallOpener", "TrialNews"]
