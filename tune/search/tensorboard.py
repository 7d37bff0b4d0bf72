"""TensorBoard logs of trials whose logs Ray had not brought to the results folder when its driver was killed.

Ray writes them elsewhere first and copies them every ten seconds or so; the trial's own reports have it all.
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
    """Writes the logs of every trial whose logs lack a report, as Ray would have; returns the trials' names.

    experiment: Ray's folder, with a folder DIGEST_ID for every trial. Names of the scalars are Ray's.
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
    """Reports that a trial's log folder holds, by Ray's result.json, a line each."""
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
            # As Ray does: an entry of a dict has a path of its own, and what is no number has no curve.
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
