"""What a search on Modal survives: a lost head, Ctrl-C, preemption, a closed laptop; and that nothing is paid twice.

These tests assert what we did and what is on the Volumes, not what Modal would do to the calls of a lost head.
"""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.helpers.command import leaderboard, summary, wait_for
from tests.helpers.modal_launch import (
    SMALL,
    VOLUME,
    container_of,
    launch,
    launched,
    modal_local,
    on_volume,
    reports,
    trial_running,
)
from tests.modal_local import Call, ModalLocal
from tune.data.demo import demo_pairs

pytestmark = [pytest.mark.modal, pytest.mark.slow, pytest.mark.timeout(400)]

GRID = ("--search", "grid", *SMALL, "--loss", "cosent,contrastive", "--epochs", 60, "--finalists", 1)
"""Four trials of some seconds, two at a time."""


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[ModalLocal]:
    with modal_local(tmp_path, commit_seconds=0.5) as running:
        yield running
        running.wait_until_idle(5)
        assert running.errors == [] and running.unknown_rpcs == []


def head_call(stand_in: ModalLocal) -> Call:
    return [call for call in stand_in.calls if call.function == "search_head"][-1]


def kept(stand_in: ModalLocal, search: str) -> dict[str, dict[str, Any]]:
    """Return for each trial on the Volume its report lines, whether it is done, and the reports its state covers."""
    found = {}
    for path in on_volume(stand_in, "embedtune-trials", f"{search}/*/trial.json"):
        trial = path.parent
        lines = (trial / "reports.jsonl").read_text().splitlines() if (trial / "reports.jsonl").exists() else []
        covered = 0
        if (trial / "state.pt").exists():
            covered = int(torch.load(trial / "state.pt", weights_only=True)["report"]["number"])
        found[trial.name] = {"lines": lines, "done": (trial / "done").exists(), "covered": covered}
    return found


def assert_nothing_was_trained_twice(stand_in: ModalLocal, before: dict[str, dict[str, Any]], search: str) -> None:
    after = kept(stand_in, search)
    for name, trial in before.items():
        known = len(trial["lines"]) if trial["done"] else trial["covered"]
        # The lines contain times and rates, which differ between any two trainings.
        assert after[name]["lines"][:known] == trial["lines"][:known], name


def test_a_killed_head_is_resumed_by_another(stand_in: ModalLocal, tmp_path: Path) -> None:
    # Trials long enough that the kill finds one with a resume state on the Volume, also on a fast machine.
    arguments = (*GRID, "--epochs", 200, "--results", tmp_path, "--name", "lost")
    with launched(stand_in, *arguments, log=tmp_path / "log") as process:
        wait_for(lambda: on_volume(stand_in, "embedtune-trials", "lost/*/done"), 120)
        wait_for(lambda: [trial for trial in kept(stand_in, "lost").values() if trial["covered"]], 60)
        stand_in.end_container(container_of(stand_in, head_call(stand_in)))
        assert process.wait(60) not in (0, 2)
    assert "error" in (tmp_path / "log").read_text().lower()
    stand_in.wait_until_idle(20)
    before, first = kept(stand_in, "lost"), len(stand_in.calls)
    assert any(trial["done"] for trial in before.values()) and any(trial["covered"] for trial in before.values())
    assert not (tmp_path / "lost").exists()

    ran = launch(stand_in, "--resume", "lost", "--results", tmp_path)
    assert ran.code == 0, ran.out + ran.err + stand_in.logs()
    assert_nothing_was_trained_twice(stand_in, before, "lost")
    rows = [row for row in leaderboard(tmp_path / "lost") if row["status"] != "baseline"]
    assert [row["status"] for row in rows] == ["done"] * 4
    assert all(reports(tmp_path / "lost" / "trials" / row["trial"]) == list(range(1, 17)) for row in rows)
    trained = [call for call in stand_in.calls[first:] if call.function == "train_trial"]
    assert len(trained) == 4 - sum(trial["done"] for trial in before.values()), "a done trial gets no call"
    assert summary(tmp_path / "lost")["modal"]["left_running"] == 0
    assert "already finished" in ran.out


def test_ctrl_c_ends_every_call_and_prints_how_to_resume(stand_in: ModalLocal, tmp_path: Path) -> None:
    # Long enough for a resume state on the Volume, as above.
    arguments = (*GRID, "--epochs", 200, "--results", tmp_path, "--name", "stopped")
    with launched(stand_in, *arguments, log=tmp_path / "log") as process:
        wait_for(lambda: trial_running(stand_in, "stopped", past=4), 120)
        process.send_signal(signal.SIGINT)
        code = process.wait(90)
    log = (tmp_path / "log").read_text()
    assert code == 130 and "resume with: modal run cluster/launch.py --resume stopped" in log, log
    assert "Traceback" not in log
    trained = [call for call in stand_in.calls if call.function == "train_trial"]
    assert trained and {call.state for call in trained} <= {"cancelled", "success"}
    noted = [json.loads(line) for path in on_volume(stand_in, VOLUME, "stopped/trials/*/calls.jsonl")
             for line in path.read_text().splitlines()]  # fmt: skip
    cancelled = {line["call"] for line in noted if "cancelled" in line}
    assert {call.call_id for call in trained if call.state == "cancelled"} <= cancelled, "ended by us, by its id"
    assert summary(on_volume(stand_in, VOLUME, "stopped")[0]).get("winner") is None, "the search is not finished"
    before = kept(stand_in, "stopped")
    assert any(trial["covered"] for trial in before.values())

    ran = launch(stand_in, "--resume", "stopped", "--results", tmp_path)
    assert ran.code == 0, ran.out + ran.err + stand_in.logs()
    assert_nothing_was_trained_twice(stand_in, before, "stopped")
    rows = [row for row in leaderboard(tmp_path / "stopped") if row["status"] != "baseline"]
    assert [row["status"] for row in rows] == ["done"] * 4


def test_a_preempted_trial_resumes_in_another_container(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "random", *SMALL, "--loss", "cosent,contrastive", "--epochs", 60, "--trials", 3)
    with launched(stand_in, *arguments, "--results", tmp_path, "--name", "moved", log=tmp_path / "log") as process:
        call = wait_for(lambda: trial_running(stand_in, "moved", past=4), 120)
        stand_in.end_container(container_of(stand_in, call), "preempt", grace_s=3.0)
        assert process.wait(150) == 0, (tmp_path / "log").read_text() + stand_in.logs()
    assert call.attempts == 2 and call.retries == 0 and call.state == "success"
    rows = [row for row in leaderboard(tmp_path / "moved") if row["status"] != "baseline"]
    assert [row["status"] for row in rows] == ["done"] * 3
    assert all(reports(tmp_path / "moved" / "trials" / row["trial"]) == list(range(1, 17)) for row in rows)


def test_a_preempted_head_resumes_by_itself(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "grid", *SMALL, "--loss", "cosent", "--epochs", 60, "--finalists", 1)
    with launched(stand_in, *arguments, "--results", tmp_path, "--name", "again", log=tmp_path / "log") as process:
        wait_for(lambda: trial_running(stand_in, "again", past=4), 120)
        stand_in.end_container(container_of(stand_in, head_call(stand_in)), "preempt", grace_s=20.0)
        assert process.wait(150) == 0, (tmp_path / "log").read_text() + stand_in.logs()
    assert head_call(stand_in).attempts == 2
    rows = [row for row in leaderboard(tmp_path / "again") if row["status"] != "baseline"]
    assert [row["status"] for row in rows] == ["done"] * 2
    assert all(reports(tmp_path / "again" / "trials" / row["trial"]) == list(range(1, 17)) for row in rows)


def test_a_second_head_with_the_same_order_leaves(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "grid", *SMALL, "--loss", "cosent", "--epochs", 60, "--finalists", 1)
    with launched(stand_in, *arguments, "--results", tmp_path, "--name", "one", log=tmp_path / "log") as process:
        wait_for(lambda: trial_running(stand_in, "one", past=1), 120)
        first = head_call(stand_in)
        stand_in.repeat(first)
        second = wait_for(lambda: [call for call in stand_in.calls if call.function == "search_head"][1:], 20)[0]
        wait_for(lambda: second.done, 60)
        assert second.state == "success" and not first.done, "it returns an error that its caller shows"
        assert process.wait(150) == 0, (tmp_path / "log").read_text() + stand_in.logs()
    assert len([call for call in stand_in.calls if call.function == "train_trial"]) == 2
    about = json.loads((stand_in.volume(VOLUME) / ".heads" / "one.json").read_text())
    assert about["call"] == first.call_id and about["epoch"] == 1


def test_base_models_are_embedded_in_parallel(stand_in: ModalLocal, tmp_path: Path) -> None:
    pairs = demo_pairs()[:900]
    sides = ["train"] * 300 + ["val"] * 300 + ["test"] * 300
    table = pd.DataFrame(pairs, columns=["text_a", "text_b", "label"]).assign(split=sides)
    table.to_csv(tmp_path / "pairs.csv", index=False)
    ran = launch(
        stand_in, "--search", "grid", "--base-model", "minilm,wordllama", "--dims", 16, "--loss", "cosent",
        "--data", tmp_path / "pairs.csv", "--split-column", "split", "--max-concurrent", 2, "--epochs", 2,
        "--results", tmp_path, "--name", "two", "--gpu", "L40S", "--head-gpu", "H100", "--trial-timeout", 500,
    )  # fmt: skip
    assert ran.code == 0, ran.out + ran.err + stand_in.logs()
    first, second = (call for call in stand_in.calls if call.function == "embed_snapshot")
    assert first.state == second.state == "success"
    assert (second.started or 0) < (first.ended or 0), "at the same time"
    rows = leaderboard(tmp_path / "two")
    assert {row["base_model"] for row in rows if row["status"] == "baseline"} == {"minilm", "wordllama", "tf-idf"}
    assert {row["status"] for row in rows} == {"baseline", "done"} and len(rows) == 5
    gpus = {container.function: container.gpu for container in stand_in.containers}
    assert (gpus["search_head"], gpus["train_trial"], gpus["embed_snapshot"]) == ("H100", "L40S", "L4")


def test_a_detached_search_is_watched_again_and_fetched_later(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "optuna", *SMALL, "--loss", "cosent", "--epochs", 40, "--trials", 4)
    options = ("--results", tmp_path, "--name", "away")
    with launched(stand_in, *arguments, *options, log=tmp_path / "log", detach=True) as process:
        wait_for(lambda: on_volume(stand_in, VOLUME, "away/search.toml"), 60)
        process.kill()  # as if the laptop closed: no disconnect
        process.wait(10)
    watched = launch(stand_in, "--resume", "away", *options[:2])
    assert watched.code == 0 and "watching it" in watched.out, watched.out + watched.err
    [head] = [call for call in stand_in.calls if call.function == "search_head"]
    assert head.state == "success" and stand_in.running_calls() == []
    leaderboards = [(tmp_path / "away" / "leaderboard.csv").read_bytes()]
    shutil.rmtree(tmp_path / "away")

    calls = len(stand_in.calls)
    fetched = launch(stand_in, "--resume", "away", *options[:2])
    assert fetched.code == 0 and "downloading" in fetched.out, fetched.out + fetched.err
    assert len(stand_in.calls) == calls
    assert leaderboards == [(tmp_path / "away" / "leaderboard.csv").read_bytes()]
    facts = summary(tmp_path / "away")
    assert facts["trials"]["done"] == 4 and facts["modal"]["left_running"] == 0
    assert (tmp_path / "away" / "best" / "modules.json").exists() and (tmp_path / "away" / "optuna.journal").exists()


def test_a_head_that_raises_shows_why(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "asha", *SMALL, "--trials", 2, "--results", tmp_path)
    assert launch(stand_in, "--sarch", "x").code == 2, "this creates the Volumes"
    # A file where the head needs to create a folder.
    (stand_in.volume("embedtune-snapshots") / "snapshots").write_text("in the way")
    ran = launch(stand_in, *arguments, "--name", "broken")
    assert ran.code not in (0, 2)
    assert "snapshots" in ran.out + ran.err and "Error" in ran.out + ran.err
    assert head_call(stand_in).state == "failure" and stand_in.running_calls() == []


def test_a_search_that_fails_ends_every_call(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "asha", *SMALL, "--loss", "cosent", "--epochs", 120, "--trials", 6)
    with launched(stand_in, *arguments, "--results", tmp_path, "--name", "fails", log=tmp_path / "log") as process:
        wait_for(lambda: trial_running(stand_in, "fails", past=1), 120)
        head = container_of(stand_in, head_call(stand_in))
        # A folder where the driver needs to replace a file.
        file = head.root / "results" / "fails" / "asha.json"
        file.unlink(missing_ok=True)
        file.mkdir()
        assert process.wait(90) not in (0, 2)
    log = (tmp_path / "log").read_text()
    assert "asha.json" in log and "trial calls, 0 left running" in log, log
    assert head_call(stand_in).state == "failure" and stand_in.running_calls() == []
    trained = [call for call in stand_in.calls if call.function == "train_trial"]
    assert trained and all(call.state in ("cancelled", "success") for call in trained)


def test_out_of_time_ends_every_call(stand_in: ModalLocal, tmp_path: Path) -> None:
    arguments = ("--search", "random", *SMALL, "--epochs", 300, "--trials", 6, "--max-hours", 15 / 3600)
    ran = launch(stand_in, *arguments, "--results", tmp_path, "--name", "short")
    assert ran.code == 0, ran.out + ran.err + stand_in.logs()
    assert stand_in.running_calls() == [] and "--max-hours" in ran.out
    facts = summary(tmp_path / "short")
    assert facts["interrupted"] and facts["modal"]["left_running"] == 0
    assert {call.state for call in stand_in.calls if call.function == "train_trial"} <= {"cancelled", "success"}
