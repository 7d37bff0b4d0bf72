"""Clock: seconds per phase of a search."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tune.machine import release_memory


@dataclass
class Clock:
    """Seconds per phase; a phase that is timed again adds up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as phase `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            # The next phase may need what this one no longer does, and its workers run beside this process.
            release_memory()
