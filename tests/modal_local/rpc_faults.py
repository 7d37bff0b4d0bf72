"""RpcFault: what a test lets go wrong with the control plane itself."""

from dataclasses import dataclass, field
from random import Random

from grpclib import Status


@dataclass
class RpcFault:
    """Lets RPCs fail or answer late. names: of the RPCs, "" for all but those in `spared`.

    status: the error, None for an answer that is only late. count: how many are hit, then none; None for all. share: of
    them, at random by `seed`. delay_s: before the answer or error. lost: the RPC is carried out, only its answer fails.
    on: whether it works; a test switches it.
    """

    names: tuple[str, ...] = ()
    status: Status | None = Status.UNAVAILABLE
    count: int | None = None
    share: float = 1.0
    delay_s: float = 0.0
    lost: bool = False
    on: bool = True
    seed: int = 0
    spared: tuple[str, ...] = ("ContainerHeartbeat", "AppHeartbeat")
    hit: int = 0
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def hits(self, name: str) -> bool:
        """Return whether this RPC is to fail, and count it."""
        if not self.on or (self.count is not None and self.hit >= self.count):
            return False
        if (self.names and name not in self.names) or (not self.names and name in self.spared):
            return False
        if self._random.random() >= self.share:
            return False
        self.hit += 1
        return True
