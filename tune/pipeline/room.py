"""What the trials of a search need of the disk, compared with what is free before the first one starts."""

import shutil
from collections.abc import Callable, Mapping

from tune.config.search import SearchConfig
from tune.config.space import Space
from tune.embed.known import model_folders
from tune.embed.model_files import cached_folder
from tune.embed.prepare import PreparedBase
from tune.errors import ModelError, SearchPaused
from tune.search.points import planned_trials

_STATES = 3
"""The resume state of a running trial holds its weights and the optimizer's two moments."""
_FLOAT_BYTES = 4


def check_room(config: SearchConfig, bases: Mapping[str, PreparedBase], jobs: int, ended: Callable[[], int]) -> None:
    """Check that the results folder's disk has room for the trials that remain, at the largest of them.

    ended: returns how many trials have ended; asked only if there is no room for all that are planned. Raises
    SearchPaused, naming the need and what is free: texts have been embedded, and the search can be resumed.
    """
    place = config.search.results
    folds = max(config.search.folds, 1)
    weights = max(weights_bytes(space, bases, folds) for space in config.spaces)
    free = shutil.disk_usage(place).free
    planned = planned_trials(config)
    if _need(weights, planned, jobs) <= free:
        return
    remaining = max(planned - ended(), 0)
    need = _need(weights, remaining, jobs)
    if need > free:
        raise SearchPaused(
            f"{place} has {_size(free)} free, and {remaining} trials need up to {_size(need)} for their weights; free "
            "some space, or search fewer trials or smaller models"
        )


def _need(weights: int, trials: int, jobs: int) -> int:
    return weights * (trials + _STATES * min(jobs, trials))


def weights_bytes(space: Space, bases: Mapping[str, PreparedBase], folds: int = 1) -> int:
    """Return the bytes of the largest weights that a trial of the space keeps, without a base model's if unknown.

    folds: layers that a trial trains.
    """
    sizes = [0]
    for name in space.base_model:
        if name not in bases:
            continue
        layer = max(dims or bases[name].dims for dims in space.dims) * bases[name].dims * _FLOAT_BYTES
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


def _size(count: int) -> str:
    units = [(2**30, "GiB", 1), (2**20, "MiB", 0), (2**10, "KiB", 0)]
    size, unit, digits = next((unit for unit in units if count >= unit[0]), units[-1])
    return f"{count / size:.{digits}f} {unit}"
