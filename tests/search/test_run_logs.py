"""TensorBoard's logs under odd names, and where they cannot be written."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tensorboard_runs
from tune.config.search import search_config
from tune.config.space import point_of
from tune.config.trial import TrialConfig
from tune.search.callbacks import RunLogs
from tune.search.hparams import Hparams
from tune.search.tensorboard import run_name
from tune.search.trainable import TrialDirectories

REPORT = {
    "number": 1, "budget": 0.0625, "auc": 0.7, "best_auc": 0.7, "accuracy": 0.6, "threshold": 0.5, "loss": 0.1,
    "pairs_per_second": 10.0, "seconds": 1.0,
}  # fmt: skip


class Trial:
    """What a callback reads of a trial of Ray."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.last_result = REPORT


def logs(runs: Path, base_model: str) -> tuple[RunLogs, Trial]:
    config = TrialConfig(base_model=base_model, dims=8, loss="cosent", learning_rate=1e-3)
    directories = TrialDirectories(runs.parent / "trials", {base_model: "0" * 8}, {})
    return RunLogs(runs, directories, Hparams.of(search_config().spaces)), Trial(point_of(config))


@pytest.mark.parametrize(
    "base_model",
    ["/models/" + "n" * 255, "caf\u00e9/m\u00f6del", "openai:text-embedding-3-small@512", "a/b@refs/pr/3", ".."],
)
def test_a_run_has_a_valid_name(tmp_path: Path, base_model: str) -> None:
    kept, trial = logs(tmp_path / "runs", base_model)
    kept.on_trial_result(0, [], trial, dict(REPORT))
    kept.on_trial_complete(0, [], trial)
    [(name, events)] = tensorboard_runs.runs(tmp_path).items()
    assert events.Scalars("val/auc")[0].value == pytest.approx(0.7) and not set(name) - set("0123456789abcdef")


def test_a_disk_that_takes_no_logs_ends_no_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "runs").write_text("in the way")
    kept, trial = logs(tmp_path / "runs", "minilm")
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            kept.on_trial_result(0, [], trial, {**REPORT, "number": number})
        kept.on_trial_complete(0, [], trial)
    assert len(caplog.records) == 1 and "TensorBoard's logs are incomplete" in caplog.text


def test_trials_of_one_configuration_have_runs_of_their_own() -> None:
    config = TrialConfig(base_model="n" * 250, dims=8, loss="cosent", learning_rate=1e-3)
    names = {run_name(trial, config) for trial in ("a" * 12, "b" * 12)}
    assert len(names) == 2 and all(len(name) <= 255 for name in names)
