"""Run `modal run cluster/launch.py` as a user does, against a stand-in; bounded in time, ended by process id."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.command import Ran, background
from tests.modal_local import Call, Container, ModalLocal

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 200
VOLUME = "embedtune-results"
SMALL = ("--base-model", "wordllama", "--dims", "16,32", "--max-concurrent", "2")


PRELOAD = ("sentence_transformers", "pandas", "scipy.stats", "sklearn.metrics", "pyarrow.parquet", "networkx", "jinja2")
"""What a head or a trial imports of other people's, but Ray: that looks at the process that it is in."""


def modal_local(root: Path, commit_seconds: float = 30.0, trials: int = 2) -> ModalLocal:
    """Return a stand-in with `trials` containers per function, and one more for the head."""
    env = {"HF_HUB_OFFLINE": "1", "EMBEDTUNE_COMMIT_SECONDS": str(commit_seconds)}
    return ModalLocal(root / "modal", max_containers=trials + 1, container_env=env, preload=PRELOAD)


def command(*arguments: object, detach: bool = False) -> list[str]:
    """Return the command line of `modal run cluster/launch.py ARGUMENTS`."""
    options = ["--detach"] if detach else []
    return [sys.executable, "-m", "modal", "run", *options, "cluster/launch.py", *map(str, arguments)]


def environment(stand_in: ModalLocal) -> dict[str, str]:
    """Return the environment: offline, with the stand-in as Modal."""
    return {**stand_in.env, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def launch(stand_in: ModalLocal, *arguments: object) -> Ran:
    """Run the command to its end."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(stand_in),
        cwd=REPOSITORY,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def on_volume(stand_in: ModalLocal, volume: str, pattern: str) -> list[Path]:
    """Return the committed paths of a Volume that match a pattern; [] if the Volume does not exist yet."""
    try:
        return sorted(stand_in.volume(volume).glob(pattern))
    except KeyError:
        return []


def reports(trial: Path) -> list[int]:
    """Return the numbers of the reports in a trial's directory."""
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line)["number"] for line in (trial / "reports.jsonl").read_text().splitlines()]
    return []


def trial_running(stand_in: ModalLocal, search: str, past: int) -> Call | None:
    """Return a running call of a trial that has its state and at least `past` reports on the Volume."""
    for state in on_volume(stand_in, "embedtune-trials", f"{search}/*/state.pt"):
        ledgers = on_volume(stand_in, VOLUME, f"{search}/trials/{state.parent.name}/calls.jsonl")
        known = ledgers[0].read_text() if ledgers else ""
        for call in stand_in.running_calls():
            if call.state == "running" and call.call_id in known and len(reports(state.parent)) >= past:
                return call
    return None


def container_of(stand_in: ModalLocal, call: Call) -> Container:
    """Return the container that runs a call, or ran it last."""
    return next(found for found in stand_in.containers if found.task_id == call.containers[-1])


def launched(
    stand_in: ModalLocal, *arguments: object, log: Path, detach: bool = False
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Run the command in the background."""
    return background(command(*arguments, detach=detach), environment(stand_in), log, REPOSITORY)
