"""What the trials of a search need of the disk, compared with what is free before the first one starts."""

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tune.config.search import SearchConfig
from tune.config.space import Space
from tune.embed.base_models import PACKAGED
from tune.embed.model_files import cached_folder, local_folder
from tune.embed.prepare import PreparedBase
from tune.errors import ModelError, ResultsError
from tune.search.points import planned_trials

_STATES = 3
"""The resume state of a running trial holds its weights and the optimizer's two moments."""
_FLOAT_BYTES = 4


def check_room(config: SearchConfig, bases: Mapping[str, PreparedBase], ended: int, jobs: int) -> None:
    """Check that the results folder's disk has room for the trials that remain, at the largest of them.

    ended: trials that have ended. Raises ResultsError, naming the need and what is free.
    """
    place = config.search.results
    folds = max(config.search.folds, 1)
    weights = max(weights_bytes(space, bases, folds) for space in config.spaces)
    remaining = max(planned_trials(config) - ended, 0)
    need = weights * (remaining + _STATES * min(jobs, remaining))
    free = shutil.disk_usage(place).free
    if need > free:
        raise ResultsError(
            f"{place} has {_size(free)} free, and {remaining} trials need up to {_size(need)} for their weights; free "
            "some space, choose another --results, or search fewer trials or smaller models"
        )


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
        if name in PACKAGED:
            spec = find_spec(PACKAGED[name])
            folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
        else:
            folder = local_folder(name) or cached_folder(name)
    except (ModelError, ValueError):
        return 0
    return 0 if folder is None else sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
