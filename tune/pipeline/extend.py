"""Extends a finished search: a new one begins with its trials and runs more.

The finished search stays as it is. What its trials have left is copied, so nothing is trained again.
"""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from tune.config.search import SearchConfig
from tune.data.split import Split
from tune.errors import ResultsError
from tune.pipeline.run import Run
from tune.results.layout import ResultsFolder, existing_folder
from tune.results.summary import Summary
from tune.search.points import planned_trials
from tune.train.directory import TrialDirectory
from tune.train.outcomes import settle_trials

_REPLACED = (".safetensors", ".pt")
"""Files that are replaced and never written to in place, so both searches can share them."""
_OF_ITS_RUN = ("calls.jsonl",)


def finished_search(config: SearchConfig, name: str, split: Split) -> ResultsFolder:
    """Return the folder of the search to extend. config: of the new search.

    Raises ResultsError if it has not finished, if the pairs have changed since, or if no trials are left to add.
    """
    folder = existing_folder(config.search.results / name)
    summary = Summary(folder.summary)
    if not summary.get("winner"):
        raise ResultsError(f"{folder.root} has no winner yet; finish it with --resume {name}, then extend it")
    if summary["data"]["split_hash"] != split.digest:
        raise ResultsError(f"{folder.root}: the pairs have changed since; bring them back, or start a new search")
    trials = sum((summary.get("trials") or {}).values())
    if planned_trials(config) <= trials:
        raise ResultsError(f"{folder.root} has tried all {trials} configurations of its space; start a search of more")
    return folder


def take_trials(run: Run, finished: ResultsFolder) -> None:
    """Begin the new search with what the finished one has: its trials, its decisions, and facts about its data.

    A search that decides in a logical order decides everything again, from the reports, as one that had this many
    trials from the start would have.
    """
    summary = Summary(finished.summary)
    ordered = finished.order.exists()
    with finished.locked():
        for directory in finished.trials.glob("*/"):
            _copy_trial(directory, run.folder.trials / directory.name)
        for path in (finished.order,) if ordered else (finished.asha,):
            if path.exists():
                shutil.copy2(path, run.folder.root)
    # While their marks say what belongs to them.
    for sentence in settle_trials(run.folder.trials, run.folder.asha):
        run.say(sentence)
    for directory in run.folder.trials.glob("*/") if ordered else ():
        TrialDirectory(directory).unstop()
    kept = {name: summary[name] for name in ("bases", "val_sample") if summary.get(name) is not None}
    run.summary.update(extends=_lineage(finished, summary), **kept)


def _copy_trial(old: Path, new: Path) -> None:
    new.mkdir(parents=True)
    for path in old.iterdir():
        if path.name.startswith(".") or path.name in _OF_ITS_RUN or not path.is_file():
            continue
        if path.suffix in _REPLACED:
            # Not across disks, nor on every file system.
            with contextlib.suppress(OSError):
                os.link(path, new / path.name)
                continue
        shutil.copy2(path, new)


def _lineage(finished: ResultsFolder, summary: Summary) -> dict[str, Any]:
    """Return which search is extended, its trials, and when the first in the line opened test; None if none did."""
    earlier = (summary.get("extends") or {}).get("test_opened")
    own = (summary.get("test") or {}).get("opened")
    return {"name": finished.name, "trials": sum(summary["trials"].values()), "test_opened": earlier or own}
