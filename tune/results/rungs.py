"""ASHA's rungs on disk: what a resumed search must not forget."""

import json
import logging
from pathlib import Path

from tune.files import write_atomic

logger = logging.getLogger(__name__)


class RungFile:
    """The file: for each rung (a budget) the best_auc of every trial that reached it, and the stopped trials.

    None stands for a trial whose first report came after the rung.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = {}
        if path.exists():
            try:
                content = json.loads(path.read_text())
            except ValueError:
                logger.warning("%s is damaged: stopped trials may resume", path)
        self.rungs: dict[str, dict[str, float | None]] = content.get("rungs", {})
        self.stopped: dict[str, float] = content.get("stopped", {})

    def write(self) -> None:
        """Write the present state to disk."""
        write_atomic(self.path, json.dumps({"rungs": self.rungs, "stopped": self.stopped}), sync=False)
