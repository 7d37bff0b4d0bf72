"""Imports beside a wait: a thread imports while the main one waits for processes.

Ray forks as it starts. That is safe beside imports, but not beside a multiplication in another thread: OpenBLAS ends
its threads before a fork, and would wait for one that works forever.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module

AS_RAY_STARTS = ("tune.train.frozen.trial", "tune.search.tensorboard", "scipy.stats")
"""What a search imports while Ray starts: torch, and what it needs later. Nothing of Ray, which imports its own."""

AS_TRIALS_RUN = (
    "sentence_transformers", "tune.report.page", "sklearn.feature_extraction.text", "sklearn.metrics",
    "sklearn.ensemble",
)  # fmt: skip
"""What a search imports while its trials run in other processes: for test, the export and the report."""


@contextlib.contextmanager
def imported(modules: Sequence[str]) -> Iterator[None]:
    """Within the context, import modules in a thread; at its end they are imported.

    What cannot be imported is left to whoever imports it next, and fails there.
    """
    thread = threading.Thread(target=_import, args=(modules,), name="imports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        with contextlib.suppress(Exception):
            import_module(module)
