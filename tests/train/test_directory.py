"""A trial's directory: its lock, and reports that an earlier version wrote."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.helpers.conformance import lock_is_free
from tune.train.directory import TrialDirectory
from tune.train.stream import Report


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


def test_reports_of_an_earlier_version_have_an_unknown_step(tmp_path: Path) -> None:
    (tmp_path / "reports.jsonl").write_text(
        '{"number": 1, "budget": 0.0625, "auc": 0.7, "best_auc": 0.7, "accuracy": 0.6, "threshold": 0.5, "loss": 1.0,'
        ' "pairs_per_second": 9.0, "seconds": 2.0}\n'
    )
    directory = TrialDirectory(tmp_path)
    [early] = directory.reports()
    assert early.step == 0 and early.best_auc == 0.7
    directory.append(Report(2, 0.125, 0.8, 0.8, 0.7, 0.5, 0.9, 9.0, 4.0, step=7))
    assert [report.step for report in directory.reports()] == [0, 7]
