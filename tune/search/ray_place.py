"""Where a cluster of our own is started: Ray's folder, and an environment that points it nowhere else.

Does not import Ray, so that commands can check this at once.
"""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tune.errors import UserError
from tune.files import locked
from tune.machine import one_thread

_MOST_SOCKET_BYTES = 107 if sys.platform == "linux" else 103
"""The longest path of a Unix socket."""
_BELOW = len("/ray-abcdefgh/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Length of what is added to the chosen folder: one of our own, and in it what Ray creates."""
_USUAL = Path("/tmp")
OWNER = "owner.lock"
"""The file in Ray's folder that the process that has created it keeps locked."""

IGNORED = (
    "RAY_ADDRESS", "RAY_REDIS_ADDRESS", "RAY_GCS_SERVER_PORT", "RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS",
    "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_RUNTIME_ENV_HOOK", "RAY_gcs_storage",
)  # fmt: skip
"""Variables that would join a new cluster to another one, or give it that one's resources, port or working folder."""

_TOKEN = secrets.token_hex(32)
"""Ray keeps the first token that a process uses."""


@dataclass(frozen=True)
class RayPlace:
    """parent: where Ray's folder is created. notes: lines for people, on what was set otherwise."""

    parent: Path
    notes: tuple[str, ...] = ()


def ray_place(environ: Mapping[str, str] = os.environ) -> RayPlace:
    """Choose where Ray keeps its sockets and logs: RAY_TMPDIR, or the first of several that can be used.

    Raises UserError if RAY_TMPDIR cannot be used, or none can.
    """
    notes = []
    if ignored := [name for name in IGNORED if environ.get(name)]:
        verb = "is" if len(ignored) == 1 else "are"
        notes.append(
            f"{', '.join(ignored)} {verb} ignored: a search starts its own Ray cluster; --ray-address joins another"
        )
    if environ.get("RAY_TMPDIR"):
        folder = Path(environ["RAY_TMPDIR"]).absolute()
        if problem := _problem(folder):
            raise UserError(f"RAY_TMPDIR: {folder} {problem}; set it to a short path that you can write to")
        return RayPlace(folder, tuple(notes))
    given = {name: Path(environ[name]).absolute() for name in ("TMPDIR", "XDG_RUNTIME_DIR") if environ.get(name)}
    wanted = given.get("TMPDIR", _USUAL)
    for folder in dict.fromkeys((wanted, _USUAL, *given.values(), Path("/dev/shm"))):
        if _problem(folder) is None:
            if folder != wanted:
                name = "TMPDIR" if "TMPDIR" in given else str(wanted)
                notes.append(f"Ray's files go to {folder}: {name} {_problem(wanted)}")
            return RayPlace(folder, tuple(notes))
    raise UserError(f"no folder for Ray's files: {wanted} {_problem(wanted)}; set RAY_TMPDIR to one you can write to")


@contextlib.contextmanager
def own_environment(folder: Path, preload: str = "") -> Iterator[None]:
    """Within the context, this process and the ones it starts know no other cluster, and Ray's folder is `folder`.

    Ray listens on all of the machine's addresses, so it gets a token that only these processes know, unless the user
    has turned tokens off. preload: a module that workers import as they start, or "".
    """
    changed = {**dict.fromkeys(IGNORED), "RAY_TMPDIR": str(folder)}
    if preload:
        changed["RAY_preload_python_modules"] = preload
    changed["RAY_AUTH_TOKEN"] = os.environ.get("RAY_AUTH_TOKEN") or _TOKEN
    # Ray sets RAY_AUTH_MODE itself, and `only_for_trials` may limit threads.
    before = {name: os.environ.get(name) for name in (*changed, *one_thread(), "RAY_AUTH_MODE")}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


@contextlib.contextmanager
def new_ray_folder(place: RayPlace) -> Iterator[Path]:
    """Create a folder for one cluster and hold its lock within the context; whoever enters it removes it.

    Folders that killed processes have left are removed first. Raises UserError if none can be created.
    """
    _remove_left(place.parent)
    with contextlib.ExitStack() as held:
        try:
            # Locked before it has its name: another process would take it for left over.
            made = Path(tempfile.mkdtemp(prefix="ray_", dir=place.parent))
            held.enter_context(locked(made / OWNER))
            folder = made.with_name(made.name.replace("ray_", "ray-", 1))
            made.rename(folder)
        except OSError as error:
            raise UserError(
                f"cannot create a folder for Ray in {place.parent} ({error.strerror}); set RAY_TMPDIR to another"
            ) from None
        yield folder


def keep(folder: Path) -> None:
    """Let no later process remove the folder of a cluster, whose logs somebody may want to read."""
    (folder / OWNER).unlink(missing_ok=True)


def _remove_left(parent: Path) -> None:
    """Remove folders of clusters whose process was killed, and end what still runs of these clusters."""
    for owner in parent.glob(f"ray-*/{OWNER}"):
        # Somebody else's, or held by a process that lives.
        with contextlib.suppress(OSError), locked(owner, wait=False):
            _end_left(owner.parent)
            shutil.rmtree(owner.parent, ignore_errors=True)


def _end_left(folder: Path) -> None:
    """End the processes of a cluster whose process was killed: its agents wait for the rest of it for a minute."""
    for process in psutil.process_iter():
        # Other users' cannot be read; some have ended meanwhile.
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == str(folder):
                process.kill()


def last_log_line(folder: Path) -> str:
    """Return the last error that Ray's processes logged in the folder of their cluster; else their last line, or ""."""
    logs = sorted(folder.glob("session_latest/logs/*.*"), key=lambda path: path.stat().st_mtime, reverse=True)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in logs if path.suffix in (".out", ".err")]
    # As "[2026-01-02 03:04:05,678 E 12 12] (raylet) file.cc:1: ...", by severity; statistics and stack traces follow.
    lines = [line for text in texts for line in reversed(text.splitlines()) if line.startswith("[")]
    errors = [line for line in lines if any(f" {severity} " in line[:40] for severity in "CEF")]
    return " ".join((errors or lines or [""])[0].split())[:300]


def _problem(folder: Path) -> str | None:
    """Return why Ray's files cannot be in the folder, or None."""
    if len(os.fsencode(folder)) + _BELOW > _MOST_SOCKET_BYTES:
        return f"is too long for Ray's sockets (at most {_MOST_SOCKET_BYTES - _BELOW} bytes)"
    try:
        if not folder.is_dir():
            return "is not a folder"
    except OSError:
        # It is in a folder that cannot be entered.
        return "is not writable"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "is not writable"
    return None


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
