"""Frozen trials in this process: the contract of an opener, their numbers, and recovery from a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.helpers.conformance import Place, TestStream, lock_is_free, same_numbers
from tests.helpers.frozen_trials import KILLED_AFTER, train_until_killed
from tests.helpers.tiny import Prepared
from tune.config.space import LOSSES
from tune.embed.view import PairRows, View
from tune.train import directory as directory_module
from tune.train.directory import TrialDirectory
from tune.train.frozen.dense import dense_cosine, load_dense
from tune.train.frozen.trial import open_frozen_trial
from tune.train.local import LocalOpener
from tune.train.stream import TrialFailed

__all__ = ["TestStream"]


@pytest.fixture
def place(prepared: Prepared, tmp_path: Path) -> Place:
    """Trials in this process."""
    return Place(
        open=LocalOpener({prepared.base.name: prepared.view_path}),
        config=prepared.config,
        directory=lambda config: tmp_path / config.digest(prepared.base.digest),
        idle=lambda: all(lock_is_free(lock) for lock in tmp_path.glob("**/.lock")),
    )


def run(prepared: Prepared, directory: Path, **changes: object) -> list:
    return list(open_frozen_trial(prepared.config(**changes), directory, prepared.view))


def one_class(view: View, label: int, pairs: int) -> View:
    """Return the view with only the first `pairs` train pairs of one class."""
    chosen = np.flatnonzero(view.train.label == label)[:pairs]
    rows = PairRows(view.train.a[chosen], view.train.b[chosen], view.train.label[chosen])
    return View(view.vectors, rows, view.val, f"class {label}")


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(prepared: Prepared, tmp_path: Path, loss: str) -> None:
    # The angle loss needs larger steps: its gradient is that of a complex angle, averaged over the dimensions.
    reports = run(prepared, tmp_path, loss=loss, epochs=4, learning_rate=2e-2 if loss == "angle" else 5e-3)
    assert reports[-1].best_auc > 0.6, "chance is 0.5, where the untouched model starts"


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_with_nothing_to_learn_are_accepted(prepared: Prepared, tmp_path: Path, loss: str) -> None:
    """One pair per batch: no other class, no in-batch negative, no hard pair."""
    reports = run(prepared, tmp_path, loss=loss, batch_size=1, train_size=40, epochs=1)
    assert reports[-1].budget == 1.0


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "mnr"])
def test_a_train_side_with_one_class_is_accepted(prepared: Prepared, tmp_path: Path, loss: str, label: int) -> None:
    one = one_class(prepared.view, label, 200)
    assert list(open_frozen_trial(prepared.config(loss=loss, epochs=1), tmp_path, one))[-1].last


def test_a_ranking_loss_without_positives_fails_with_a_reason(prepared: Prepared, tmp_path: Path) -> None:
    none = one_class(prepared.view, 0, 50)
    with pytest.raises(TrialFailed, match="positive"):
        list(open_frozen_trial(prepared.config(loss="mnr"), tmp_path, none))


def test_equal_configurations_have_equal_numbers_whatever_else_the_process_does(
    prepared: Prepared, tmp_path: Path
) -> None:
    calm = run(prepared, tmp_path / "calm", dropout=0.2)
    disturbed = []
    for report in open_frozen_trial(prepared.config(dropout=0.2), tmp_path / "disturbed", prepared.view):
        disturbed.append(report)
        torch.rand(7)
        torch.manual_seed(report.number)
    threads = torch.get_num_threads()
    assert [same_numbers(r) for r in calm] == [same_numbers(r) for r in disturbed]
    assert torch.get_num_threads() == threads
    other = run(prepared, tmp_path / "other", dropout=0.2, seed=5)
    assert [r.auc for r in other] != [r.auc for r in calm]


def test_the_kept_weights_are_those_of_the_best_report(prepared: Prepared, tmp_path: Path) -> None:
    config = prepared.config(loss="mnr", learning_rate=0.1, scheduler="constantlr", epochs=30)
    reports = list(open_frozen_trial(config, tmp_path, prepared.view))
    best = max(reports, key=lambda report: report.auc)
    assert best.number < 16, "the trial must get worse towards its end"
    dense = load_dense(config, tmp_path / "best.safetensors", prepared.base.dims)
    scores = dense_cosine(dense, prepared.view.vectors, prepared.view.val)
    assert roc_auc_score(prepared.view.val.label, scores) == pytest.approx(best.auc, abs=1e-9)
    accuracy = ((scores >= best.threshold) == (prepared.view.val.label == 1)).mean()
    assert accuracy == pytest.approx(best.accuracy)


@pytest.mark.parametrize("state_seconds", [0.0, 1e9], ids=["with-state", "without-state"])
def test_kill_9_half_way_ends_as_if_never_killed(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_seconds: float
) -> None:
    config = prepared.config(dropout=0.1)
    expected = list(open_frozen_trial(config, tmp_path / "whole", prepared.view))
    train_until_killed(config, tmp_path / "killed", prepared.view_path, state_seconds)
    trial = TrialDirectory(tmp_path / "killed")
    assert len(trial.reports()) == KILLED_AFTER and not trial.done
    assert trial.state.exists() == (state_seconds == 0.0)
    # A torn last line, as left by a kill in the middle of a write.
    with open(tmp_path / "killed" / "reports.jsonl", "a") as handle:
        handle.write('{"number": 7, "bud')
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    resumed = list(open_frozen_trial(config, tmp_path / "killed", prepared.view))
    assert [same_numbers(r) for r in resumed] == [same_numbers(r) for r in expected]
    assert trial.done and not trial.state.exists()
    assert trial.reports() == resumed
    for name in ("killed", "whole"):
        dense = load_dense(config, tmp_path / name / "best.safetensors", prepared.base.dims)
        scores = dense_cosine(dense, prepared.view.vectors, prepared.view.val)
        assert roc_auc_score(prepared.view.val.label, scores) == pytest.approx(expected[-1].best_auc, abs=1e-9)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 torn"])
def test_a_damaged_state_costs_only_time(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    expected = [same_numbers(r) for r in run(prepared, tmp_path / "whole")]
    stream = open_frozen_trial(prepared.config(), tmp_path / "parts", prepared.view)
    for _ in range(4):
        next(stream)
    stream.close()
    (tmp_path / "parts" / "state.pt").write_bytes(content)
    assert [same_numbers(r) for r in run(prepared, tmp_path / "parts")] == expected


def test_a_plan_with_fewer_steps_has_fewer_reports(prepared: Prepared, tmp_path: Path) -> None:
    reports = run(prepared, tmp_path, train_size=100, batch_size=50, epochs=3)
    assert [r.number for r in reports] == [1, 2, 3, 4, 5, 6] and reports[-1].budget == 1.0
