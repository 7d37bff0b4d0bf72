"""Checks of the machine and its environment: what a search needs of them, before any data are read.

Each raises UserError with what to change. A search runs them (preflight.py); `python -m tune doctor` prints them and
more (doctor.py). Imports neither torch nor Ray.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tune.config.closed import provider_of
from tune.errors import UserError
from tune.machine import address_space

LEAST_ADDRESS_SPACE = 4 * 2**30
"""Measured on a CPU: with 3.5 GiB, torch or a process of Ray fails in the middle of a search."""


def check_address_space() -> None:
    """Check that `ulimit -v` leaves enough for torch and Ray, which would hang or crash. Raises UserError if not."""
    limit = address_space()
    if limit is not None and limit < LEAST_ADDRESS_SPACE:
        raise UserError(
            f"ulimit -v limits this process to {limit / 2**30:.3g} GiB of address space, and torch and Ray need "
            f"{LEAST_ADDRESS_SPACE / 2**30:.0f} or more (several times that with a GPU); run ulimit -v unlimited, or "
            "ask your job system for more memory"
        )


def check_home() -> None:
    """Check that there is a home folder, which base models' libraries ask for. Raises UserError if not."""
    try:
        Path.home()
    except RuntimeError:
        raise UserError(
            f"user {os.getuid()} has no home folder and HOME is not set; set HOME to a folder that you can write to"
        ) from None


def check_cache(cache: Path) -> None:
    """Check that the cache can be written. Raises UserError if not."""
    try:
        cache = cache.expanduser()
    except RuntimeError:
        raise UserError(f"[search] cache: {cache}: no such home folder; set HOME, or choose another --cache") from None
    for folder in (cache, *(sub for name in ("snapshots", "views", "int8") if os.path.isdir(sub := cache / name))):
        existing = existing_folder_of(folder)
        if not _writable(existing):
            raise UserError(f"[search] cache: {cache} cannot be written ({existing}); choose another --cache")


def check_ray_folder() -> None:
    """Check that there is a folder for Ray's sockets and logs. Raises UserError if not."""
    from tune.search.ray_place import ray_place

    ray_place()


def check_hub_cache(base_models: Sequence[str]) -> None:
    """Check that the hub's cache can be written if one of the base models must be downloaded. Raises UserError."""
    from tune.embed.base_models import PACKAGED

    for name in base_models:
        if provider_of(name) is None and name not in PACKAGED and not name.startswith(("~", "/", ".")):
            _check_download(name)


def _check_download(name: str) -> None:
    if os.path.exists(name):
        return
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError

    from tune.embed.model_files import is_in_hub_cache

    try:
        if is_in_hub_cache(name):
            return
    except HFValidationError:
        # Not a name on the hub; check_source says so.
        return
    folder = Path(constants.HF_HUB_CACHE)
    if str(folder).startswith("~") or not _writable(existing_folder_of(folder)):
        raise UserError(
            f"[space] base_model: {name} must be downloaded, and the hub's cache {folder} cannot be written; "
            "set HF_HOME to a folder that you can write to"
        )


def existing_folder_of(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists and can be looked up."""
    return next(one for one in (folder, *folder.absolute().parents) if os.path.exists(one))


def _writable(folder: Path) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
