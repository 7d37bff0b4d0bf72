"""ASHA's rungs on disk: what a resumed search must not forget.

`asha.json` holds everything up to a point, and `asha.log` beside it what has come since, a change per line in the same
form. So a decision costs the same however many trials there were before. A killed process leaves at most a torn last
line, which was not acted on yet. A search begins and ends with everything in asha.json and no log.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from tune.files import write_atomic

logger = logging.getLogger(__name__)


class RungFile:
    """The files: for each rung (a budget) the best_auc of every trial that reached it, and the stopped trials.

    None stands for a trial whose first report came after the rung. path: of asha.json.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rungs: dict[str, dict[str, float | None]] = {}
        self.stopped: dict[str, float] = {}
        self._log = path.with_suffix(".log")
        self._read = 0
        if path.exists():
            try:
                self._take_change(path.read_bytes())
            except ValueError:
                logger.warning("%s is damaged: stopped trials may resume", path)
        self.refresh()

    def refresh(self) -> None:
        """Read the changes that another RungFile has recorded since."""
        try:
            with open(self._log, "rb") as log:
                log.seek(self._read)
                new = log.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                self._take_change(line)
            except ValueError:
                logger.warning("%s is damaged: stopped trials may resume", self._log)
        self._read += len(whole)

    def record(self, rungs: Mapping[str, Mapping[str, float | None]], stopped: Mapping[str, float]) -> None:
        """Add entries to rungs, and stopped trials; they are on disk when this returns. One process may do so."""
        self.take(rungs, stopped)
        with open(self._log, "ab") as log:
            log.write(json.dumps({"rungs": rungs, "stopped": stopped}).encode() + b"\n")

    def take(self, rungs: Mapping[str, Mapping[str, float | None]], stopped: Mapping[str, float]) -> None:
        """Add entries to rungs, and stopped trials, in memory only."""
        for milestone, entries in rungs.items():
            self.rungs.setdefault(milestone, {}).update(entries)
        self.stopped.update(stopped)

    def clear(self) -> None:
        """Forget everything, in memory only."""
        self.rungs, self.stopped = {}, {}

    def write(self) -> None:
        """Write everything to asha.json and remove the log; before a first `record`, so that no torn line stays."""
        write_atomic(self.path, json.dumps({"rungs": self.rungs, "stopped": self.stopped}), sync=False)
        # If the process dies before this, the log only repeats what asha.json holds.
        self._log.unlink(missing_ok=True)
        self._read = 0

    def _take_change(self, content: bytes) -> None:
        """Take what asha.json or a line of the log holds. Raises ValueError if it is something else."""
        change = _Change.model_validate_json(content)
        self.take(change.rungs, change.stopped)


def damaged_rungs(path: Path) -> list[str]:
    """Return which of asha.json (`path`) and asha.log are damaged. A torn last line of the log is no damage."""
    log = path.with_suffix(".log")
    parts = {path: [path.read_bytes()] if path.exists() else []}
    parts[log] = log.read_bytes().rpartition(b"\n")[0].splitlines() if log.exists() else []
    return [file.name for file, changes in parts.items() if not all(map(_is_change, changes))]


def _is_change(content: bytes) -> bool:
    try:
        _Change.model_validate_json(content)
    except ValueError:
        return False
    return True


class _Change(BaseModel):
    rungs: dict[str, dict[str, float | None]] = {}
    stopped: dict[str, float] = {}
