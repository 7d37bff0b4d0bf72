"""TensorBoard's HParams tab: the axes of a search, and each trial with its values and its best validation AUC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from tune.config.space import AXES, Space, point_of
from tune.config.trial import TrialConfig

METRIC = "val/best_auc"
"""The scalar that the tab shows: its last value is a trial's best validation AUC."""
_CONDITIONAL = ("train", "lora_rank", "lora_alpha", "side", "matryoshka", "hard_negatives", "bias")
"""Axes of some trials only; listed if they vary."""
_TEXT = ("base_model", "loss", "scheduler", "activation", "train", "side", "matryoshka")
_FLAGS = ("freeze", "hard_negatives", "bias")
_NOTES = {"train_size": "labelled pairs; 0 means all", "dims": "empty: the base model's own"}


@dataclass(frozen=True)
class Hparams:
    """The axes of a search, and which of them vary."""

    varied: frozenset[str]

    @classmethod
    def of(cls, spaces: Sequence[Space]) -> "Hparams":
        """Return those of a search's spaces."""
        values: dict[str, set[Any]] = {name: set() for name in AXES}
        ranges: set[str] = set()
        for space in spaces:
            for name, choices in space.axes():
                if isinstance(choices, tuple):
                    values[name].update(choices)
                else:
                    ranges.add(name)
        return cls(frozenset(ranges | {name for name, found in values.items() if len(found) > 1}))

    def experiment(self, began: float) -> Any:
        """Return TensorBoard's description of the search: the axes that vary come first."""
        names = [name for name in AXES if name in self.varied or name not in _CONDITIONAL]
        infos = [
            api_pb2.HParamInfo(name=name, type=_type(name), differs=name in self.varied, description=_NOTES.get(name))
            for name in sorted(names, key=lambda name: name not in self.varied)
        ]
        metric = api_pb2.MetricInfo(
            name=api_pb2.MetricName(tag=METRIC), display_name=METRIC, dataset_type=api_pb2.DATASET_VALIDATION
        )
        return api_pb2.Experiment(hparam_infos=infos, metric_infos=[metric], time_created_secs=began)


def session_start(config: TrialConfig, hparams: Hparams, began: float) -> Any:
    """Return the summary that begins a run: the search's axes, and this trial's values. began: seconds."""
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=began)
    for name, value in point_of(config).items():
        if name in _FLAGS:
            start.hparams[name].bool_value = bool(value)
        elif name == "matryoshka":
            start.hparams[name].string_value = ",".join(map(str, value))
        elif name in _TEXT:
            start.hparams[name].string_value = str(value)
        elif value is not None:
            start.hparams[name].number_value = float(value)
    experiment = plugin_data_pb2.HParamsPluginData(experiment=hparams.experiment(began))
    session = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    return Summary(
        value=[_value(metadata.EXPERIMENT_TAG, experiment), _value(metadata.SESSION_START_INFO_TAG, session)]
    )


def session_end(failed: bool, ended: float) -> Any:
    """Return the summary that ends a run. ended: seconds."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    return Summary(
        value=[_value(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))]
    )


def _type(name: str) -> int:
    kind = api_pb2.DATA_TYPE_STRING if name in _TEXT else api_pb2.DATA_TYPE_BOOL if name in _FLAGS else None
    return int(api_pb2.DATA_TYPE_FLOAT64 if kind is None else kind)


def _value(tag: str, data: Any) -> Any:
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)


__all__ = ["METRIC", "Hparams", "session_end", "session_start"]
