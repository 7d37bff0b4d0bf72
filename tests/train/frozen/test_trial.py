"""A frozen trial in this process: the stream's contract, its numbers, and what it survives."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.helpers.conformance import Place, TestStream, same_numbers
from tests.helpers.tiny import Prepared
from tune.config.space import LOSSES
from tune.embed.view import PairRows, View
from tune.train import directory as directory_module
from tune.train.directory import TrialDirectory
from tune.train.frozen.dense import dense_cosine, load_dense
from tune.train.frozen.trial import open_frozen_trial
from tune.train.local import LocalOpener
from tune.train.schedule import Plan, learning_rate_factors, report_steps
from tune.train.stream import TrialFailed

__all__ = ["TestStream"]


def free(lock: Path) -> bool:
    """Whether nobody holds the lock."""
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def place(prepared: Prepared, tmp_path: Path) -> Place:
    """Trials in this process."""
    return Place(
        open=LocalOpener({prepared.base.name: prepared.view_path}),
        config=prepared.config,
        directory=lambda config: tmp_path / config.digest(prepared.base.digest),
        idle=lambda: all(free(lock) for lock in tmp_path.glob("**/.lock")),
    )


def run(prepared: Prepared, directory: Path, **changes: object) -> list:
    return list(open_frozen_trial(prepared.config(**changes), directory, prepared.view))


def one_class(view: View, label: int, pairs: int) -> View:
    """The view with the first train pairs of one class alone."""
    chosen = np.flatnonzero(view.train.label == label)[:pairs]
    rows = PairRows(view.train.a[chosen], view.train.b[chosen], view.train.label[chosen])
    return View(view.vectors, rows, view.val, f"class {label}")


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(prepared: Prepared, tmp_path: Path, loss: str) -> None:
    # The angle loss wants larger steps: its gradient is that of a complex angle, averaged over the dimensions.
    reports = run(prepared, tmp_path, loss=loss, epochs=4, learning_rate=2e-2 if loss == "angle" else 5e-3)
    assert reports[-1].best_auc > 0.6, "chance is 0.5 and the untouched model is there"


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_with_nothing_to_learn_are_taken(prepared: Prepared, tmp_path: Path, loss: str) -> None:
    """One pair a batch: no other class, no in-batch negative, no hard pair."""
    reports = run(prepared, tmp_path, loss=loss, batch_size=1, train_size=40, epochs=1)
    assert reports[-1].budget == 1.0


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "mnr"])
def test_a_train_side_of_one_class_is_taken(prepared: Prepared, tmp_path: Path, loss: str, label: int) -> None:
    one = one_class(prepared.view, label, 200)
    assert list(open_frozen_trial(prepared.config(loss=loss, epochs=1), tmp_path, one))[-1].last


def test_no_positives_for_a_ranking_loss_is_a_reason(prepared: Prepared, tmp_path: Path) -> None:
    none = one_class(prepared.view, 0, 50)
    with pytest.raises(TrialFailed, match="positive"):
        list(open_frozen_trial(prepared.config(loss="mnr"), tmp_path, none))


def test_same_configuration_same_numbers_whatever_happens_around(prepared: Prepared, tmp_path: Path) -> None:
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


def test_the_kept_weights_are_the_best_reports(prepared: Prepared, tmp_path: Path) -> None:
    config = prepared.config(loss="mnr", learning_rate=0.1, scheduler="constantlr", epochs=30)
    reports = list(open_frozen_trial(config, tmp_path, prepared.view))
    best = max(reports, key=lambda report: report.auc)
    assert best.number < 16, "the test is about a trial that gets worse at its end"
    dense = load_dense(config, tmp_path / "best.safetensors", prepared.base.dims)
    scores = dense_cosine(dense, prepared.view.vectors, prepared.view.val)
    assert roc_auc_score(prepared.view.val.label, scores) == pytest.approx(best.auc, abs=1e-9)
    accuracy = ((scores >= best.threshold) == (prepared.view.val.label == 1)).mean()
    assert accuracy == pytest.approx(best.accuracy)


KILLED = """
import os, signal, sys
from pathlib import Path
from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.train import directory
from tune.train.frozen.trial import open_frozen_trial
directory.STATE_SECONDS = float(sys.argv[4])
config = TrialConfig.model_validate_json(sys.argv[1])
for report in open_frozen_trial(config, Path(sys.argv[2]), View.open(Path(sys.argv[3]))):
    if report.number == 6:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("state_seconds", [0.0, 1e9], ids=["with-state", "without-state"])
def test_kill_9_half_way_ends_as_if_never_killed(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_seconds: float
) -> None:
    config = prepared.config(dropout=0.1)
    expected = list(open_frozen_trial(config, tmp_path / "whole", prepared.view))
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(KILLED),
            config.model_dump_json(),
            str(tmp_path / "killed"),
            str(prepared.view_path),
            str(state_seconds),
        ],
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    trial = TrialDirectory(tmp_path / "killed")
    assert len(trial.reports()) == 6 and not trial.done
    assert trial.state.exists() == (state_seconds == 0.0)
    # A torn last line, as a kill in the middle of a write leaves it.
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


def test_a_trial_opened_again_and_closed_loses_nothing(prepared: Prepared, tmp_path: Path) -> None:
    """As ASHA does with a configuration that it stopped, when it is drawn again."""
    config = prepared.config()
    stream = open_frozen_trial(config, tmp_path, prepared.view)
    seen = [next(stream) for _ in range(5)]
    stream.close()
    best = (tmp_path / "best.safetensors").read_bytes()
    again = open_frozen_trial(config, tmp_path, prepared.view)
    assert next(again) == seen[0], "replayed, not trained again"
    again.close()
    assert TrialDirectory(tmp_path).reports() == seen and (tmp_path / "best.safetensors").read_bytes() == best
    assert list(open_frozen_trial(config, tmp_path, prepared.view))[:5] == seen


def test_a_stopped_trial_replays_and_waits_for_no_parked_process(prepared: Prepared, tmp_path: Path) -> None:
    """Ray parks the process of a stopped trial with its stream open, and so with the directory's lock."""
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


def test_a_kill_between_the_last_report_and_done(prepared: Prepared, tmp_path: Path) -> None:
    first = run(prepared, tmp_path)
    (tmp_path / "done").unlink()
    assert run(prepared, tmp_path) == first and TrialDirectory(tmp_path).done


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 torn"])
def test_a_damaged_state_costs_time_and_nothing_else(
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


def test_failure_keeps_a_traceback_for_people(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(TrialFailed):
        run(prepared, tmp_path, learning_rate=3e38)
    failure = json.loads((tmp_path / "failed.json").read_text())
    assert "learning rate" in failure["reason"] and "Traceback" in failure["traceback"]
    assert not (tmp_path / "done").exists()


def test_a_plan_of_fewer_steps_has_fewer_reports(prepared: Prepared, tmp_path: Path) -> None:
    reports = run(prepared, tmp_path, train_size=100, batch_size=50, epochs=3)
    assert [r.number for r in reports] == [1, 2, 3, 4, 5, 6] and reports[-1].budget == 1.0


def test_reports_come_after_the_first_step_of_their_share() -> None:
    for sizes in ([32] * 100 + [5], [10] * 16, [1] * 7, [64], [30, 30, 3] * 40):
        due = report_steps(sizes)
        seen = np.cumsum(sizes) / sum(sizes)
        expected = sorted({int(np.argmax(seen >= k / 16 - 1e-12)) + 1 for k in range(1, 17)})
        assert list(due) == expected
        assert due[len(sizes)] == 1.0 and all(b == pytest.approx(seen[s - 1]) for s, b in due.items())


def test_every_pair_is_seen_once_an_epoch_and_no_text_twice_in_a_distinct_batch() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.integers(0, 60, 300), generator.integers(60, 90, 300)
    plain = Plan(a, b, 32, 2, seed=1)
    assert sorted(np.concatenate(plain.epoch(0))) == list(range(300))
    assert [list(x) for x in plain.epoch(0)] == [list(x) for x in Plan(a, b, 32, 2, seed=1).epoch(0)]
    assert [list(x) for x in plain.epoch(0)] != [list(x) for x in plain.epoch(1)]
    distinct = Plan(a, b, 32, 2, seed=1, distinct=True).epoch(1)
    assert sorted(np.concatenate(distinct)) == list(range(300))
    for batch in distinct:
        texts = [*a[batch], *b[batch]]
        assert len(set(texts)) == len(texts)


def test_schedules_have_the_shape_of_their_name() -> None:
    def factors(name: str, warmup: float = 0.1) -> np.ndarray:
        return np.array(learning_rate_factors(name, 100, warmup))

    assert (factors("constantlr") == 1).all()
    for name in ("warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts"):
        assert factors(name)[0] == 0 and factors(name)[10] == pytest.approx(1), name
        assert (factors(name, 20.0) == factors(name, 0.2)).all(), "below 1 a share, else steps"
    assert factors("warmuplinear")[55] == pytest.approx(0.5)
    assert factors("warmupcosine")[55] == pytest.approx(0.5)
    assert factors("warmupcosinewithhardrestarts")[55] == pytest.approx(1), "a second cycle begins half-way"
    assert (factors("warmupconstant")[10:] == 1).all()


def test_a_killed_process_holds_no_lock(prepared: Prepared, tmp_path: Path) -> None:
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
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    holder.stdout.close()
    assert len(run(prepared, tmp_path, epochs=1)) == 16
