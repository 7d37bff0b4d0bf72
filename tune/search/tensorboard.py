"""Restoring TensorBoard logs that Ray had not yet copied to the results folder when its driver was killed.

Ray writes logs to a temporary folder and copies them every ten seconds or so; the trial's own reports are complete.
"""

import json
import shutil
from pathlib import Path

from ray.tune.utils import flatten_dict
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from tune.config.space import point_of
from tune.train.outcomes import TrialOutcome


def restore_logs(experiment: Path, outcomes: list[TrialOutcome]) -> list[str]:
    """Write the logs of every trial with missing reports, as Ray would have; return those trials' names.

    experiment: Ray's folder, with a folder DIGEST_ID per trial. Scalars get the names that Ray uses.
    """
    restored = []
    for outcome in outcomes:
        folders = list(experiment.glob(f"{outcome.trial}_*"))
        if max((_logged(folder) for folder in folders), default=0) >= len(outcome.reports):
            continue
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        _write(experiment / f"{outcome.trial}_restored", outcome)
        restored.append(outcome.trial)
    return restored


def _logged(folder: Path) -> int:
    """Return the number of reports in a trial's log folder, which has one line each in Ray's result.json."""
    if not any(folder.glob("events.out.tfevents.*")):
        return 0
    try:
        return len((folder / "result.json").read_text().splitlines())
    except FileNotFoundError:
        return 0


def _write(folder: Path, outcome: TrialOutcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with SummaryWriter(str(folder)) as writer:
        for report in outcome.reports:
            # As Ray does: dict entries become separate scalars, and values that are not numbers are skipped.
            for name, value in flatten_dict(report.metrics()).items():
                if isinstance(value, int | float):
                    writer.add_scalar(f"ray/tune/{name}", value, report.sixteenth)
        if outcome.last is not None:
            settings = {
                name: value if isinstance(value, int | float | str | bool) else str(value)
                for name, value in point_of(outcome.config).items()
            }
            for summary in hparams(settings, {"ray/tune/best_auc": outcome.last.best_auc}):
                writer.file_writer.add_summary(summary)
    lines = (json.dumps(report.metrics()) for report in outcome.reports)
    (folder / "result.json").write_text("".join(line + "\n" for line in lines))
