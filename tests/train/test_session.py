"""Opening a trial in this process: replay, waiting for another reader, and failure. Frozen trials serve as examples."""

import json
import threading
from pathlib import Path

import pytest

from tests.helpers.tiny import Prepared
from tune.train.directory import TrialDirectory
from tune.train.frozen.trial import open_frozen_trial
from tune.train.stream import TrialFailed


def train(prepared: Prepared, directory: Path, **changes: object) -> list:
    return list(open_frozen_trial(prepared.config(**changes), directory, prepared.view))


def test_a_trial_reopened_and_closed_loses_nothing(prepared: Prepared, tmp_path: Path) -> None:
    """As ASHA does when a configuration that it stopped is drawn again."""
    config = prepared.config()
    stream = open_frozen_trial(config, tmp_path, prepared.view)
    seen = [next(stream) for _ in range(5)]
    stream.close()
    best = (tmp_path / "best.safetensors").read_bytes()
    again = open_frozen_trial(config, tmp_path, prepared.view)
    assert next(again) == seen[0], "replayed, not retrained"
    again.close()
    assert TrialDirectory(tmp_path).reports() == seen and (tmp_path / "best.safetensors").read_bytes() == best
    assert list(open_frozen_trial(config, tmp_path, prepared.view))[:5] == seen


def test_a_stopped_trial_replays_without_waiting_for_a_parked_process(prepared: Prepared, tmp_path: Path) -> None:
    """Ray parks the process of a stopped trial with its stream open, which holds the directory's lock."""
    config = prepared.config()
    parked = open_frozen_trial(config, tmp_path, prepared.view)
    seen = [next(parked) for _ in range(4)]
    replayed: list = []
    reader = threading.Thread(target=lambda: replayed.extend(open_frozen_trial(config, tmp_path, prepared.view)))
    reader.start()
    reader.join(0.3)
    assert reader.is_alive()
    TrialDirectory(tmp_path).stop()
    reader.join(20)
    assert not reader.is_alive() and replayed == seen
    parked.close()
    assert list(open_frozen_trial(config, tmp_path, prepared.view)) == seen and not TrialDirectory(tmp_path).done


def test_a_stopped_trial_without_weights_begins_again_if_it_goes_on(prepared: Prepared, tmp_path: Path) -> None:
    """As in a search that extends another, and decides otherwise about a trial that could not be a finalist."""
    config, directory = prepared.config(), TrialDirectory(tmp_path / "trial")
    stream = open_frozen_trial(config, directory.path, prepared.view)
    seen = [next(stream) for _ in range(4)]
    directory.state.touch()
    directory.stop()
    assert directory.best.exists() and not directory.state.exists()
    directory.delete_weights()
    stream.close()
    assert not directory.best.exists() and not directory.damage() and not directory.settle()
    assert train(prepared, directory.path) == seen, "still replayed"
    directory.unstop()
    assert not directory.settle() and directory.reports() == seen
    reports = train(prepared, directory.path)
    assert [one.auc for one in reports] == [one.auc for one in train(prepared, tmp_path / "undisturbed")]
    assert directory.done and directory.best.exists() and not directory.weights_deleted


def test_a_kill_between_the_last_report_and_done_is_repaired(prepared: Prepared, tmp_path: Path) -> None:
    first = train(prepared, tmp_path)
    (tmp_path / "done").unlink()
    assert train(prepared, tmp_path) == first and TrialDirectory(tmp_path).done


def test_a_second_reader_waits_for_the_first_and_replays(prepared: Prepared, tmp_path: Path) -> None:
    config = prepared.config()
    first = open_frozen_trial(config, tmp_path, prepared.view)
    began = next(first)
    replayed: list = []
    reader = threading.Thread(target=lambda: replayed.extend(open_frozen_trial(config, tmp_path, prepared.view)))
    reader.start()
    reader.join(0.5)
    assert reader.is_alive() and not replayed, "two writers in one directory would mix their reports"
    rest = list(first)
    reader.join(30)
    assert replayed == [began, *rest]


def test_a_failure_keeps_its_traceback(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(TrialFailed):
        train(prepared, tmp_path, learning_rate=3e38)
    failure = json.loads((tmp_path / "failed.json").read_text())
    assert "learning rate" in failure["reason"] and "Traceback" in failure["traceback"]
    assert not (tmp_path / "done").exists()
