"""TensorBoard's logs of a search, read as TensorBoard reads them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util import tensor_util

EVERY_REPORT = {
    "val/auc", "val/best_auc", "val/accuracy", "val/threshold", "train/loss", "train/pairs_per_second",
    "train/seconds", "train/budget",
}  # fmt: skip
"""The scalars of every report."""


def runs(folder: Path) -> dict[str, EventAccumulator]:
    """Return the runs of a results folder by trial. Fails if a trial has two, or if another folder has events."""
    paths = sorted({path.parent for path in folder.rglob("*tfevents*")})
    assert all(path.parent == folder / "runs" for path in paths), paths
    found = {path.name.rsplit("-", 1)[1]: EventAccumulator(str(path)) for path in paths}
    assert len(found) == len(paths), paths
    for events in found.values():
        events.Reload()
    return found


def scalars(events: EventAccumulator, tag: str = "val/best_auc") -> dict[int, float]:
    """Return the values of a scalar by step. Fails if a step comes twice or out of order."""
    steps = [event.step for event in events.Scalars(tag)]
    assert steps == sorted(set(steps)), steps
    return {event.step: event.value for event in events.Scalars(tag)}


def hparams(events: EventAccumulator) -> tuple[Any, Any, Any]:
    """Return a run's experiment, session start and session end, as the HParams tab reads them."""
    content = {tag: data.plugin_data.content for tag, data in events.summary_metadata.items()}
    return (
        metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG]),
        metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG]),
        metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG]),
    )


def failed_at_once(events: EventAccumulator) -> bool:
    """Return whether a run has no reports, and has ended with a failure."""
    return not events.Tags()["scalars"] and hparams(events)[2].status == api_pb2.STATUS_FAILURE


def pr_curve(events: EventAccumulator) -> NDArray[np.float32]:
    """Return the rows TP, FP, TN, FN, precision and recall of a run's precision-recall curve, [6, thresholds]."""
    [event] = events.Tensors("val/precision_recall")
    assert events.summary_metadata["val/precision_recall"].plugin_data.plugin_name == "pr_curves"
    return np.asarray(tensor_util.make_ndarray(event.tensor_proto))
