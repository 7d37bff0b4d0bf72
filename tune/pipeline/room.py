"""What the trials of a search need of the disk: compared with what is free before the first one starts, and after."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tune.config.search import SearchConfig
from tune.config.space import Space
from tune.config.trial import trial_config
from tune.embed.known import model_folders
from tune.embed.model_files import cached_folder
from tune.errors import ModelError, SearchPaused
from tune.evaluate.finalists import SPARE, cell_of
from tune.search.points import grid_points, planned_trials

_STATES = 3
"""The resume state of a running trial holds its weights and the optimizer's two moments."""
FLOAT_BYTES = 4
_LOW_BYTES = 256 * 2**20
_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Need:
    """Bytes on the results folder's disk. most: more than least if trials turn out too close to tell them apart."""

    least: int
    most: int


def check_room(
    config: SearchConfig, dims: Mapping[str, int], jobs: int, ended: Callable[[], int], sampled: bool = False
) -> str:
    """Check that the results folder's disk has room for the trials that remain, at the largest of them.

    dims: of base models, by name. ended: returns how many trials have ended; asked only if there is no room for all
    that are planned. sampled: whether trials report on a sample of val. Returns a sentence on the need if the search
    trains whole models, else "". Raises SearchPaused, naming the need and what is free: texts have been embedded, and
    the search can be resumed.
    """
    place, planned = config.search.results, planned_trials(config)
    weights = largest_weights(config, dims)
    need, free = weights_need(config, weights, planned, jobs, sampled), shutil.disk_usage(place).free
    if need.least > free:
        remaining = max(planned - ended(), 0)
        least = weights_need(config, weights, remaining, jobs, sampled).least
        if least > free:
            raise SearchPaused(
                f"{place} has {size_shown(free)} free, and {remaining} trials need up to {size_shown(least)} for their "
                "weights; free some space, or search fewer trials or smaller models"
            )
    if not config.whole or not weights:
        return ""
    if need.least == need.most:
        return f"weights: up to {size_shown(need.most)} on disk"
    most = f"{size_shown(need.most)} if no trial is clearly worse than the best"
    return f"weights: up to {size_shown(need.least)} on disk, or {most}"


def weights_need(config: SearchConfig, weights: int, trials: int, jobs: int, sampled: bool) -> Need:
    """Return what `trials` trials need, each with so many bytes of weights. sampled: see `check_room`.

    Of whole models only those stay that can be finalists; on a sample of val, all that it cannot tell from the best.
    """
    running = min(jobs, trials)
    most = weights * (trials + _STATES * running)
    if not config.whole or config.search.keep_weights == "all":
        return Need(most, most)
    kept = config.search.finalists + SPARE + (1 + SPARE) * (_cells(config) - 1)
    least = weights * (min(trials, kept + running) + _STATES * running)
    return Need(least, most if sampled else least)


def _cells(config: SearchConfig) -> int:
    """Return how many cells or kinds have a finalist of their own; see `tune.evaluate.finalists.leading`."""
    if config.search.search != "grid":
        return len({kind for space in config.spaces for kind in _kinds(space)})
    options = config.search.trial_options()
    return len({cell_of(trial_config(point, options)) for point in grid_points(config.spaces)})


def _kinds(space: Space) -> set[str]:
    return {*(["frozen"] if True in space.freeze else []), *(space.train if False in space.freeze else [])}


def largest_weights(config: SearchConfig, dims: Mapping[str, int]) -> int:
    """Return the bytes of the largest weights of any trial. dims: of base models, by name."""
    return max(weights_bytes(space, dims, max(config.search.folds, 1)) for space in config.spaces)


class LowDisk:
    """Says when the disk gets low: less than the largest file that a trial writes, or than 256 MiB, and at each half.

    place: a folder on the disk. weights: bytes of a trial's weights.
    """

    def __init__(self, place: Path, weights: int) -> None:
        self._place = place
        self._below = max(_LOW_BYTES, _STATES * weights)
        self._looked = float("-inf")

    def __call__(self) -> str:
        """Return a warning, or "" if there is nothing new to say; looks at most every 5 seconds."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return ""
        self._looked = now
        free = shutil.disk_usage(self._place).free
        if free > self._below:
            return ""
        self._below = free // 2
        return f"Warning: {self._place} has {size_shown(free)} free; the search pauses if that is used up"


def weights_bytes(space: Space, dims: Mapping[str, int], folds: int = 1) -> int:
    """Return the bytes of the largest weights that a trial of the space keeps, without a base model's if unknown.

    dims: of base models, by name. folds: layers that a trial trains.
    """
    sizes = [0]
    for name in space.base_model:
        if name not in dims:
            continue
        layer = max(out or dims[name] for out in space.dims) * dims[name] * FLOAT_BYTES
        if True in space.freeze:
            sizes.append(layer * folds)
        if False in space.freeze and "full" in space.train:
            sizes.append(layer + _base_bytes(name))
    return max(sizes)


def _base_bytes(name: str) -> int:
    """Return the size of a base model's weights here, as the file of its first module; 0 if it is elsewhere."""
    try:
        folders = model_folders(name) or [folder for folder in [cached_folder(name)] if folder is not None]
    except (ModelError, ValueError):
        return 0
    files = (file for folder in folders for file in folder.rglob("*.safetensors"))
    return sum(file.stat().st_size for file in files)


def size_shown(count: int) -> str:
    """Return a number of bytes for people."""
    units = [(2**30, "GiB", 1), (2**20, "MiB", 0), (2**10, "KiB", 0)]
    size, unit, digits = next((unit for unit in units if count >= unit[0]), units[-1])
    return f"{count / size:.{digits}f} {unit}"
