"""Claims: who may do what only one may do, decided by a Modal Dict: the first call that claims a name has it.

Two things are claimed. **A trial's calls.** The key of a trial's n-th call follows from the search, the trial and n, so
whoever spawns it again, because an answer was lost or a head died before its ledger was on the Volume, spawns it with
the same key. A call claims its key when it begins; the one that comes second leaves without training and says which
call has it. **A search.** Each head claims an epoch, the next one after its predecessor's. A head that finds the next
epoch claimed, after Modal has restarted it or while it commits, leaves: it spawns and writes nothing any more.

What remains open: Modal promises `put(skip_if_exists=True)` but not in so many words that it is atomic. An entry goes
after 7 days without use, longer than any call may take. A head that is replaced while it runs notices it at its next
commit (`COMMIT_SECONDS`); calls that it spawns until then have the keys that the newer head's would have.
"""

import time
from dataclasses import dataclass

import modal

from cluster import settings
from cluster.calls import Pauses, call_state, patiently
from tune.errors import ResultsError

ENDED = "ended"
"""Holder of a key whose call, should it ever begin, is to leave."""


class Superseded(Exception):
    """A newer head runs the search."""


class Claims:
    """The claims of all searches. id: of the Dict."""

    def __init__(self, dictionary: modal.Dict) -> None:
        self._dict = dictionary

    @classmethod
    def of(cls, dictionary: str) -> "Claims":
        """Return the claims in the Dict with that object id."""
        return cls(modal.Dict.from_id(dictionary))

    def claim(self, name: str, holder: str) -> str:
        """Claim a name for `holder`; return who has it: `holder`, or whoever came first."""
        if self._dict.put(name, holder, skip_if_exists=True):
            return holder
        return str(self._dict.get(name, holder))

    def holder(self, name: str) -> str | None:
        """Return who has a name, None if nobody has."""
        found = self._dict.get(name)
        return None if found is None else str(found)


@dataclass(frozen=True)
class Fence:
    """Keeps an older head out. search: its name. epoch: of the head that holds this fence."""

    claims: Claims
    search: str
    epoch: int

    def check(self) -> None:
        """Raise Superseded if a newer head has claimed the search."""
        newer = self.claims.holder(_epoch_name(self.search, self.epoch + 1))
        if newer is not None:
            raise Superseded(f"search {self.search} is run by a newer head, {newer}; this one ends without a change")


def enter(claims: Claims, search: str, epoch: int, call: str) -> Fence:
    """Claim a search for the head with the id `call`, from `epoch` on; return its fence.

    A restarted head gets its own epoch again; the epoch of a head that has ended is passed over. Raises ResultsError if
    another head runs the search, or may run it.
    """
    while True:
        name = _epoch_name(search, epoch)
        holder = patiently(lambda name=name: claims.claim(name, call), settings.ASK_SECONDS)  # type: ignore[misc]
        if holder == call:
            break
        _wait_until_over(search, holder)
        epoch += 1
    fence = Fence(claims, search, epoch)
    try:
        patiently(fence.check, settings.ASK_SECONDS)
    except Superseded as error:
        raise ResultsError(str(error)) from None
    return fence


def _wait_until_over(search: str, holder: str) -> None:
    """Return if a head is over. Raises ResultsError if it runs, or cannot be asked about for ASK_SECONDS."""
    pauses, deadline = Pauses(), time.monotonic() + settings.ASK_SECONDS
    while (state := call_state(holder)) == "unknown" and time.monotonic() < deadline:
        time.sleep(pauses.next())
    if state != "over":
        raise ResultsError(
            f"search {search} is run by another head, {holder}; watch it with: "
            f"modal run cluster/launch.py --resume {search}"
        )


def _epoch_name(search: str, epoch: int) -> str:
    return f"{search}/head/{epoch}"


__all__ = ["ENDED", "Claims", "Fence", "Superseded", "enter"]
