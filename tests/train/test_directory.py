"""The lock of a trial's directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.helpers.conformance import lock_is_free


def test_a_killed_process_releases_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from tune.train.directory import TrialDirectory\n"
            "with TrialDirectory(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert not lock_is_free(tmp_path / ".lock")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    holder.stdout.close()
    assert lock_is_free(tmp_path / ".lock")
