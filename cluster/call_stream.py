"""CallOpener: a Modal call as a stream of reports, with the same contract as a trial in this process.

The one source of truth is the trial's directory on the trials Volume, written by its container; the Queue only carries
news of it (`cluster/news.py`). Every message holds all reports so far (at most 16, about 4 KB), and so does the call's
return value: a reader that comes late, or after another one, misses nothing, and drops by number what it already has.

A thousand streams may be open in one process. Each is a thread that waits for the one that reads the Queue.
"""

import contextlib
import functools
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modal

from cluster.ledger import CallEntry, Ledger, cancel, has_returned, is_over
from cluster.news import News, TrialNews, listening, partition_of
from tune.config.trial import TrialConfig
from tune.train.directory import TrialDirectory
from tune.train.stream import Report, Reports, TrialFailed


class CallLost(RuntimeError):
    """The call ended without a result (container lost too often, cancelled from outside); trying again may help."""


@dataclass(frozen=True)
class CallOpener:
    """Opens trials as Modal calls. Plain data with ids, not hydrated handles, since Ray pickles it into its actors.

    function, queue: object ids. search: the search's folder on the trials Volume. root: local folder of the trial
    directories, which hold the ledgers. views: base model -> digest of its view on the snapshots Volume. poll_seconds:
    how long a reader waits for a report before it asks whether the call is still alive; longer if there are many.
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
        with contextlib.ExitStack() as stack:
            with ledger.locked():
                entry = known = self._running_call(ledger)
                partition, key = (entry.partition, entry.key) if entry else self._place()
                # Before the call begins, so that no news of it comes too early.
                news = stack.enter_context(listening(self.queue, partition, key, self.poll_seconds))
                if entry is None:
                    entry = self._new_call(config, directory, ledger, (partition, key))
            yield from self._reports(ledger, entry, self._messages(ledger, entry, news, look=known is not None), after)

    def _reports(self, ledger: Ledger, entry: CallEntry, messages: Iterator[TrialNews], after: int) -> Reports:
        """Yield the reports of a call above `after`; if closed before the last one, cancel the call."""
        ended = False
        try:
            for message in messages:
                reports = message["reports"]
                # Set before the last report is yielded: a reader may not come back after it.
                ended = message["failed"] is not None or (bool(reports) and Report(**reports[-1]).last)
                for values in reports[after:]:
                    after = values["number"]
                    yield Report(**values)
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
                cancel(ledger.path.parent, entry.call)

    def _running_call(self, ledger: Ledger) -> CallEntry | None:
        """Return the call that trains this trial, or did while nobody read it, if any; wait for one that is ending."""
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
        if not entry.ending and has_returned(entry.call):
            return entry
        ledger.note(entry.call, over=time.time())
        return None

    def _place(self) -> tuple[str, str]:
        """Return where a new call puts its news: the partition, and its key there."""
        return partition_of(self.search), uuid.uuid4().hex

    def _new_call(self, config: TrialConfig, directory: Path, ledger: Ledger, place: tuple[str, str]) -> CallEntry:
        TrialDirectory(directory).begin(config)
        partition, key = place
        order = {
            "config": config.model_dump(),
            "place": f"{self.search}/{directory.relative_to(self.root)}",
            "view": self.views[config.base_model],
            "queue": self.queue,
            "partition": partition,
            "key": key,
        }
        call = _function(self.function).spawn(order)
        return ledger.spawned(call.object_id, partition, key)

    def _messages(self, ledger: Ledger, entry: CallEntry, news: News, look: bool) -> Iterator[TrialNews]:
        """Yield the call's news; if there is none, check on the call itself. Raises CallLost if it ends early.

        look: check on it first, since it may have ended before anyone listened.
        """
        call = modal.FunctionCall.from_id(entry.call)
        container = entry.containers[-1] if entry.containers else ""
        while True:
            message = None if look else news.next()
            look = False
            if message is not None:
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


@functools.cache
def _function(function: str) -> Any:
    """Return the function with that object id. Looking it up is a round trip, so once is enough."""
    found = modal.Function.from_id(function)
    found.hydrate()
    return found


__all__ = ["CallLost", "CallOpener"]
