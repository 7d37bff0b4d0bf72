"""TensorBoard logs: one run per trial in results/NAME/runs, written by the driver a report at a time.

Every record is appended whole, so a killed driver loses at most the last one. What is missing, also in results of
earlier versions, is written again from the trials' own reports, which are complete.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.plugins.pr_curve import metadata as pr_curves
from tensorboard.summary.writer.record_writer import RecordWriter

from tune.config.trial import TrialConfig
from tune.results.naming import short_name
from tune.search.hparams import Hparams, session_end, session_start
from tune.train.kinds import kind_of
from tune.train.outcomes import TrialOutcome
from tune.train.stream import sixteenth

THRESHOLDS = 501
"""Points of a precision-recall curve: a step of 0.004 in cosine similarity."""
PR_CURVE = "val/precision_recall"
_PR_NOTE = (
    "On validation, with the weights of the best report. TensorBoard wants scores from 0 to 1: the threshold shown is "
    "(cosine + 1) / 2."
)
_LONGEST = 200
"""Characters before the trial's name; file systems allow 255 in all."""
_SCALARS = {
    "auc": "val/auc", "best_auc": "val/best_auc", "accuracy": "val/accuracy", "threshold": "val/threshold",
    "loss": "train/loss", "pairs_per_second": "train/pairs_per_second", "seconds": "train/seconds",
    "budget": "train/budget",
}  # fmt: skip
"""Field of a report -> tag, in every report."""
_WHERE_KNOWN = {"auc_std": "val/auc_std", "val_pairs": "val/pairs", "step": "train/step"}
"""Field of a report -> tag; 0 means that there is none."""


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalars of a report by tag. metrics: its fields by name; others, such as Ray's own, are left out."""
    found = {tag: float(metrics[name]) for name, tag in _SCALARS.items()}
    found |= {tag: float(metrics[name]) for name, tag in _WHERE_KNOWN.items() if metrics.get(name)}
    for name in ("auc_by_dims", "auc_std_by_dims"):
        found |= {f"val/{name}/{dims}": float(value) for dims, value in (metrics.get(name) or {}).items()}
    return found


def run_name(trial: str, config: TrialConfig) -> str:
    """Return the name of a trial's run: what it is, for people, and its name in the leaderboard."""
    dims = "own-dims" if config.dims is None else "-".join(map(str, config.all_dims))
    pairs = [f"{config.train_size}-pairs"] if config.train_size else []
    about = "-".join([short_name(config.base_model), kind_of(config).label, dims, config.loss, *pairs])
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in about)
    return f"{plain[:_LONGEST]}-{trial}"


class TrialLog:
    """The event file of one trial. number: of the last report in it; reports up to it are not written twice."""

    def __init__(self, runs: Path, trial: str, config: TrialConfig) -> None:
        self.folder = runs / run_name(trial, config)
        self._config = config
        self._file: Path | None = None
        self._open = False
        self.number = 0

    def report(self, metrics: Mapping[str, Any], hparams: Hparams, wall: float | None = None) -> None:
        """Append a report. metrics: its fields by name. wall: seconds since the epoch; None for now."""
        if metrics["number"] <= self.number:
            return
        wall = time.time() if wall is None else wall
        step = sixteenth(metrics["budget"])
        self._append(wall, Event(wall_time=wall, step=step, summary=_summary(scalars(metrics))), hparams)
        self.number = metrics["number"]
        self._open = True

    def end(self, hparams: Hparams, failed: bool = False, wall: float | None = None) -> None:
        """Append the end of a trial, once; of one without reports only if it has failed."""
        if self._open or (failed and self._file is None):
            wall = time.time() if wall is None else wall
            self._append(wall, Event(wall_time=wall, summary=session_end(failed, wall)), hparams)
            self._open = False

    def _append(self, wall: float, event: Any, hparams: Hparams) -> None:
        """Append an event; before the first one, begin the file."""
        events = [event]
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            start = Event(wall_time=wall, summary=session_start(self._config, hparams, wall))
            events = [Event(wall_time=wall, file_version="brain.Event:2"), start, event]
        file = self._file or self.folder / f"events.out.tfevents.{int(wall)}.embedtune"
        _append(file, events)
        self._file = file


def restore_logs(runs: Path, outcomes: Sequence[TrialOutcome], hparams: Hparams) -> list[str]:
    """Write the runs of ended trials that lack reports, and remove those of unfinished ones; return whose were written.

    An unfinished trial replays its reports when it resumes.
    """
    by_trial: dict[str, list[Path]] = {}
    for path in sorted(runs.glob("*/events.out.tfevents.*")):
        by_trial.setdefault(path.parent.name.rpartition("-")[2], []).append(path)
    restored = []
    for outcome in outcomes:
        files = by_trial.get(outcome.trial, [])
        unfinished = outcome.status == "halfway"
        # File version, start, reports, end; precision-recall curves may follow.
        if not unfinished and [_records(path) >= len(outcome.reports) + 3 for path in files] == [True]:
            continue
        for path in files:
            shutil.rmtree(path.parent, ignore_errors=True)
        if not unfinished and (outcome.reports or outcome.status == "failed"):
            _restore(runs, outcome, hparams)
            restored.append(outcome.trial)
    return restored


def _restore(runs: Path, outcome: TrialOutcome, hparams: Hparams) -> None:
    log = TrialLog(runs, outcome.trial, outcome.config)
    began = (outcome.directory / "trial.json").stat().st_mtime
    for report in outcome.reports:
        log.report(report.metrics(), hparams, began + report.seconds)
    log.end(hparams, outcome.status == "failed", began + (outcome.last.seconds if outcome.last else 0.0))


def add_pr_curve(runs: Path, trial: str, cosines: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]) -> None:
    """Append the precision-recall curve of these pairs to a trial's run, unless it has one. cosines, label: [pairs]."""
    files = _files(runs, trial)
    if files and b"pr_curves" not in files[0].read_bytes():
        curve = Summary(value=[_pr_curve(cosines, label)])
        _append(files[0], [Event(wall_time=time.time(), step=sixteenth(1.0), summary=curve)])


def _pr_curve(cosines: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]) -> Any:
    """Return the summary of a curve: rows TP, FP, TN, FN, precision, recall at evenly spaced thresholds.

    Where no pair counts as positive, precision is 1, as in scikit-learn.
    """
    threshold = np.linspace(-1, 1, THRESHOLDS)
    threshold[0] = -np.inf  # at the lowest one every pair counts as positive, whatever the rounding
    positive, negative = np.sort(cosines[label == 1]), np.sort(cosines[label == 0])
    tp = len(positive) - np.searchsorted(positive, threshold)
    fp = len(negative) - np.searchsorted(negative, threshold)
    precision = np.where(tp + fp, tp / np.maximum(tp + fp, 1), 1.0)
    recall = tp / max(len(positive), 1)
    rows = np.stack([tp, fp, len(negative) - fp, len(positive) - tp, precision, recall]).astype(np.float32)
    sizes = [TensorShapeProto.Dim(size=size) for size in rows.shape]
    return Summary.Value(
        tag=PR_CURVE,
        metadata=pr_curves.create_summary_metadata(PR_CURVE, _PR_NOTE, THRESHOLDS),
        tensor=TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(dim=sizes), tensor_content=rows.tobytes()),
    )


def _summary(values: Mapping[str, float]) -> Any:
    data = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    return Summary(value=[Summary.Value(tag=tag, simple_value=value, metadata=data) for tag, value in values.items()])


def _append(path: Path, events: Sequence[Any]) -> None:
    with open(path, "ab") as handle:
        writer = RecordWriter(handle)
        for event in events:
            writer.write(event.SerializeToString())


def _files(runs: Path, trial: str) -> list[Path]:
    return sorted(runs.glob(f"*-{trial}/events.out.tfevents.*"))


def _records(path: Path) -> int:
    """Return the number of whole records in an event file: length (8 bytes), checksum (4), data, checksum (4)."""
    data, at, count = path.read_bytes(), 0, 0
    while (end := at + 16 + int.from_bytes(data[at : at + 8], "little")) <= len(data):
        at, count = end, count + 1
    return count if at == len(data) else 0


__all__ = ["PR_CURVE", "THRESHOLDS", "TrialLog", "add_pr_curve", "restore_logs", "run_name", "scalars"]
