"""Isolated: run parts of a trial with the trial's own random state, whatever else the process does in between."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


class Isolated:
    """A reusable context with the trial's own random state and one CPU thread: `with isolated(): ...`.

    A trial is a generator: between two reports other code runs in the same process and may draw random numbers or
    change the number of threads. Covers every generator that training can draw from: torch's (including the GPU's),
    numpy's and Python's. state: the trial's random state outside the context, to save or restore.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._cuda = [device] if device.type == "cuda" else []
        with self._preserved():
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            self.state = self._read()

    def _read(self) -> dict[str, Any]:
        """Return the state of all generators as plain values and tensors."""
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(device) for device in self._cuda],
            "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
            "python": random.getstate(),
        }

    def _write(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        for device, device_state in zip(self._cuda, state["cuda"], strict=True):
            torch.cuda.set_rng_state(device_state, device)
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        random.setstate(state["python"])

    @contextlib.contextmanager
    def _preserved(self) -> Iterator[None]:
        """Restore the process's own state on exit."""
        outside = self._read()
        try:
            yield
        finally:
            self._write(outside)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Switch to the trial's state, and back to the process's on exit; `state` is kept only if nothing is raised."""
        threads = torch.get_num_threads()
        with self._preserved():
            self._write(self.state)
            torch.set_num_threads(1)
            try:
                yield
            finally:
                torch.set_num_threads(threads)
            self.state = self._read()
