"""Isolated: stretches of a trial with the trial's own random state, undisturbed by what else the process does."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


class Isolated:
    """Runs a stretch of a trial with the trial's own random state and, on a CPU, on one thread.

    A trial is a generator: between two reports others run in the same process, and may draw or set threads. All
    generators that a training can draw from are covered: torch's (also the GPU's), numpy's and Python's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._cuda = [device] if device.type == "cuda" else []
        with self._kept():
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            self.state = self._read()

    def _read(self) -> dict[str, Any]:
        """The state of all generators, as plain values and tensors."""
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(device) for device in self._cuda],
            "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
            "python": random.getstate(),
        }

    def _write(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        for device, one in zip(self._cuda, state["cuda"], strict=True):
            torch.cuda.set_rng_state(one, device)
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        random.setstate(state["python"])

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Puts the process's own state back at the end."""
        outside = self._read()
        try:
            yield
        finally:
            self._write(outside)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """The trial's state inside, the process's outside."""
        threads = torch.get_num_threads()
        with self._kept():
            self._write(self.state)
            torch.set_num_threads(1)
            try:
                yield
            finally:
                torch.set_num_threads(threads)
            self.state = self._read()
