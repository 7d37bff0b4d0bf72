"""CallOpener: a Modal call as a stream of reports, with the same contract as a trial in this process.

The one source of truth is the trial's directory on the trials Volume, written by its container; the Queue only carries
news of it (`cluster/news.py`). Every message holds all reports so far (at most 16, about 4 KB), and so does the call's
return value: a reader that comes late, or after another one, misses nothing, and drops by number what it already has.

A thousand streams may be open in one process. Each is a thread that waits for the one that reads the Queue.
"""

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modal

from cluster.calls import Pauses, ask, described, patiently
from cluster.claims import ENDED, Claims
from cluster.ledger import CallEntry, Ledger, cancel
from cluster.news import News, TrialNews, listening, partition_of
from tune.config.trial import TrialConfig
from tune.train.directory import TrialDirectory
from tune.train.stream import Report, Reports, TrialFailed


class CallLost(RuntimeError):
    """The call ended without a result (container lost too often, cancelled from outside); trying again may help."""


@dataclass(frozen=True)
class CallOpener:
    """Opens trials as Modal calls. Plain data with ids, not hydrated handles, since Ray pickles it into its actors.

    function, queue, claims: object ids. search: the search's folder on the trials Volume. run: id of the search, as
    another with this name may have been before. root: local folder of the trial directories, which hold the ledgers.
    views: base model -> digest of its view on the snapshots Volume. poll_seconds: how long a reader waits for a report
    before it asks whether the call is still alive; longer if there are many. end_seconds: how long a cancelled call may
    take to end.
    """

    function: str
    queue: str
    search: str
    root: Path
    views: dict[str, str]
    poll_seconds: float = 2.0
    end_seconds: float = 30.0
    claims: str = ""
    run: str = ""

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        trial, ledger = TrialDirectory(directory), Ledger(directory)
        if failure := trial.failure():
            raise TrialFailed(failure["reason"])
        if trial.done:
            yield from (report for report in trial.reports() if report.number > after)
            return
        with contextlib.ExitStack() as stack:
            with ledger.locked():
                entry = known = self._running_call(ledger) or self._unrecorded_call(ledger)
                partition, key = (entry.partition, entry.key) if entry else self._place(ledger)
                # Before the call begins, so that no news of it comes too early.
                news = stack.enter_context(listening(self.queue, partition, key, self.poll_seconds))
                if entry is None:
                    entry = self._new_call(config, directory, ledger, (partition, key))
            yield from _Reader(ledger, entry, news).reports(after, look=known is not None)

    def _running_call(self, ledger: Ledger) -> CallEntry | None:
        """Return the call that trains this trial, or did while nobody read it, if any; wait for one that is ending.

        A call that Modal cannot be asked about may be running.
        """
        entry = ledger.latest()
        if entry is None or entry.over is not None:
            return None
        deadline, pauses = time.monotonic() + self.end_seconds, Pauses()
        while (answer := ask(entry.call)).state != "over":
            if not entry.ending:
                return entry
            if answer.state == "unknown":
                time.sleep(pauses.next())
                deadline = time.monotonic() + self.end_seconds
                continue
            if time.monotonic() > deadline:
                # A second container in the directory would mix its reports with the first's.
                raise CallLost(f"call {entry.call} has not ended within {self.end_seconds:.0f} s")
            time.sleep(0.2)
        if not entry.ending and answer.returned:
            return entry
        ledger.note(entry.call, over=time.time())
        return None

    def _unrecorded_call(self, ledger: Ledger) -> CallEntry | None:
        """Return a running call that an earlier head spawned, and had no time to record."""
        if not self.claims:
            return None
        claims = Claims.of(self.claims)
        while True:
            partition, key = self._place(ledger)
            holder = patiently(lambda key=key: claims.holder(key), math.inf)  # type: ignore[misc]
            if holder is None:
                return None
            if holder == ENDED:
                ledger.ended(key)
                continue
            ledger.spawned(holder, partition, key)
            if (entry := self._running_call(ledger)) is not None:
                return entry

    def _place(self, ledger: Ledger) -> tuple[str, str]:
        """Return where a new call puts its news: the partition, and its key there."""
        return partition_of(self.search), ledger.next_key(self.run or self.search)

    def _new_call(self, config: TrialConfig, directory: Path, ledger: Ledger, place: tuple[str, str]) -> CallEntry:
        """Spawn a call. If Modal does not answer, it is spawned again with the same key, so that only one trains."""
        TrialDirectory(directory).begin(config)
        partition, key = place
        order = {
            "config": config.model_dump(),
            "place": f"{self.search}/{directory.relative_to(self.root)}",
            "view": self.views[config.base_model],
            "queue": self.queue,
            "claims": self.claims,
            "partition": partition,
            "key": key,
        }
        ledger.intends(key, partition)
        call = patiently(lambda: _function(self.function).spawn(order), math.inf)
        return ledger.spawned(call.object_id, partition, key)


class _Reader:
    """Reads one call to its end, through outages of Modal."""

    def __init__(self, ledger: Ledger, entry: CallEntry, news: News) -> None:
        self._ledger = ledger
        self._entry = entry
        self._news = news

    def reports(self, after: int, look: bool) -> Reports:
        """Yield the reports of the call above `after`; if closed before the last one, cancel the call.

        look: ask about the call first, since it may have ended before anyone listened.
        """
        ended = False
        try:
            for message in self._messages(look):
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
            call = self._entry.call
            if ended:
                self._ledger.note(call, finished=time.time())
            elif not self._ledger.entries()[call].ending:
                cancel(self._ledger.path.parent, call)

    def _messages(self, look: bool) -> Iterator[TrialNews]:
        """Yield the call's news; if there is none, ask about the call itself. Raises CallLost if it ends early.

        While Modal cannot be asked, the call may be running: its news is waited for, and it is asked about less and
        less often.
        """
        pauses, patience = Pauses(), 0.0
        while True:
            message = None if look else self._news.next(patience)
            look = False
            if message is not None:
                pauses.reset()
                patience = 0.0
                self._follow(message.get("call", ""))
                self._record(message)
                yield message
                continue
            answer = ask(self._entry.call)
            if answer.state != "over":
                unknown = answer.state == "unknown"
                patience = pauses.next() if unknown else 0.0
                if not unknown:
                    pauses.reset()
                continue
            if answer.error is not None:
                raise CallLost(f"its Modal call ended without a result: {described(answer.error)}") from None
            if "elsewhere" in answer.result:
                self._follow(answer.result["elsewhere"])
                continue
            self._record(answer.result)
            yield answer.result
            raise CallLost("its Modal call ended early")

    def _record(self, message: TrialNews) -> None:
        """Record the call's container, if it is new, and when its work was done."""
        call, container = self._entry.call, message["container"]
        if not self._entry.stints or self._entry.stints[-1].container != container:
            self._ledger.note(call, container=container, began=message["began"], started=message.get("started"))
            self._entry = self._ledger.entries()[call]
        if "left" in message:
            self._ledger.note(call, left=message["left"])

    def _follow(self, call: str) -> None:
        """Read `call` from here on, if it is another one with the same key: it came first, so it trains."""
        if call in ("", self._entry.call):
            return
        if call == ENDED:
            raise CallLost("its Modal call came after the end of a search")
        second = self._entry
        known = self._ledger.entries()
        self._entry = known.get(call) or self._ledger.spawned(call, second.partition, second.key)
        # It would leave by itself, but only once it has a container.
        cancel(self._ledger.path.parent, second.call)


@functools.cache
def _function(function: str) -> Any:
    """Return the function with that object id. Looking it up is a round trip, so once is enough."""
    found = modal.Function.from_id(function)
    found.hydrate()
    return found


__all__ = ["CallLost", "CallOpener"]
