"""`python -m tune search` as a user runs it: what it prints, what it leaves, and that its numbers hold."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import exported
from tests.helpers.command import Ran, environment, leaderboard, summary, tune, tune_here
from tune.data.demo import demo_pairs
from tune.results.leaderboard import COLUMNS

SMALL = ("--base-model", "wordllama", "--dims", "16,32", "--epochs", "2", "--batch-size", "64")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Ran, Path]:
    """A whole search with asha on the demo pairs."""
    folder = tmp_path_factory.mktemp("results")
    ran = tune(
        "search", "--search", "asha", *SMALL, "--loss", "cosent,mnr,contrastive", "--learning-rate", "3e-4:3e-2",
        "--trials", 12, "--jobs", 2, "--finalists", 3, "--results", folder, "--name", "first", "--cache", cache,
    )  # fmt: skip
    return ran, folder / "first"


def test_the_terminal_says_what_a_person_wants_to_know(asha: tuple[Ran, Path]) -> None:
    ran, folder = asha
    assert ran.code == 0, ran.err
    assert "No --data given" in ran.out and "synthetic" in ran.out
    assert "4000 pairs read, 4000 kept" in ran.out and "split: train 3139" in ran.out
    assert "Verdict (synthetic data): The winner (wordllama" in ran.out and "points of AUC [" in ran.out
    assert "test side was opened once" in ran.out
    assert f"SentenceTransformer('{folder}/best')" in ran.out and f"tensorboard --logdir {folder}/ray" in ran.out
    assert "Traceback" not in ran.out + ran.err
    assert ran.err == "", "nothing but our own lines"


def test_the_leaderboard_ranks_by_validation(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    rows = leaderboard(folder)
    assert tuple(rows[0]) == COLUMNS
    trials = [row for row in rows if row["status"] != "baseline"]
    assert [int(row["rank"]) for row in trials] == list(range(1, len(trials) + 1))
    aucs = [float(row["val_auc"]) for row in trials]
    assert aucs == sorted(aucs, reverse=True)
    assert {row["status"] for row in trials} == {"done", "stopped"}
    for row in trials:
        assert (float(row["budget"]) == 1.0) == (row["status"] == "done")
    assert [bool(row["test_auc"]) for row in trials] == [True] * 3 + [False] * (len(trials) - 3), "3 finalists"
    [baseline] = [row for row in rows if row["status"] == "baseline"]
    assert baseline["rank"] == "" and baseline["base_model"] == "wordllama" and baseline["dims"] == "256"
    best = trials[0]
    low, auc, high = (float(best[f"test_auc{end}"]) for end in ("_low", "", "_high"))
    assert low < auc < high and auc > float(baseline["test_auc"]) + 0.1
    assert all("synthetic" in row["note"] for row in rows)


def test_the_winner_is_fixed_before_test_is_opened(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    facts = summary(folder)
    top = leaderboard(folder)[0]
    assert facts["winner"]["trial"] == top["trial"]
    assert facts["winner"]["val_auc"] == float(top["val_auc"])
    assert facts["winner"]["fixed"] <= facts["test"]["opened"] <= facts["finished"]
    assert facts["verdict"]["low"] > 0 and facts["verdict"]["outcome"] == "beats"
    assert facts["verdict"]["p_holm"] < 0.05 and facts["verdict"]["family"] == "primary"
    assert facts["test"]["intervals"]["method"] == "components" and facts["test"]["intervals"]["components"] >= 50
    assert facts["data"]["counts"]["read"] == 4000
    assert facts["data"]["leaks"]["texts_seen_in_train"] == {"val": 0, "test": 0}
    near = facts["data"]["leaks"]["near_copies_in_train"]
    assert 0 <= near["test"]["near"] <= near["test"]["of"] > 300
    assert facts["trials"]["failed"] == 0 and facts["interrupted"] == ""
    assert {"data", "embedding", "search", "test", "export"} <= set(facts["seconds"])
    assert facts["versions"]["ray"] and facts["seed"] == 0 and "--search asha" in facts["command"]


@pytest.fixture(scope="module")
def test_rows(asha: tuple[Ran, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo pairs as a csv with the sides of the search."""
    sides = pd.read_parquet(asha[1] / "split.parquet").set_index("row").side
    path = tmp_path_factory.mktemp("csv") / "sides.csv"
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["question1", "question2", "is_duplicate", "side"])
        writer.writerows([*pair, sides[row]] for row, pair in enumerate(demo_pairs()))
    return path


def test_the_exported_model_scores_what_was_reported(
    asha: tuple[Ran, Path], test_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = asha
    top = leaderboard(folder)[0]
    only_test = tmp_path / "test.csv"
    table = pd.read_csv(test_rows)
    table[table.side == "test"].to_csv(only_test, index=False)
    columns = ("question1", "question2", "is_duplicate")
    fresh = subprocess.run(
        [sys.executable, "-P", exported.__file__, str(folder / "best"), str(only_test), *columns],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment(),
        cwd=tmp_path,
    )
    found = json.loads(fresh.stdout)
    assert found["auc"] == pytest.approx(float(top["test_auc"]), abs=1e-4) and found["dims"] == int(top["dims"])

    ran = tune("score", folder / "best", "--data", test_rows, "--split-column", "side", "--side", "test", "--json")
    assert ran.code == 0, ran.err
    scored = json.loads(ran.out)
    assert scored["auc"] == pytest.approx(float(top["test_auc"]), abs=1e-4)
    assert scored["accuracy"] == pytest.approx(float(top["test_accuracy"]), abs=1e-4)
    assert scored["hard_auc_logistic"] == pytest.approx(float(top["test_hard_auc_logistic"]), abs=1e-4)
    assert scored["threshold"] == pytest.approx(float(top["threshold"])) and scored["n"] == len(
        table[table.side == "test"]
    )
    assert scored["rows"]["read"] == len(table) and scored["rows"]["unlabelled"] == 0
    plain = tune_here(capsys, "score", folder / "best", "--data", only_test, "--threshold", "2")
    assert f"{len(table[table.side == 'test'])} read" in plain.out
    assert plain.code == 0 and f"accuracy           {1 - scored['positives'] / scored['n']:.6f}" in plain.out


def test_the_card_and_the_provenance(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    top = leaderboard(folder)[0]
    about = json.loads((folder / "best" / "embedtune.json").read_text())
    assert about["trial"] == top["trial"] and about["config"]["loss"] == top["loss"]
    assert about["search"]["split_hash"] == summary(folder)["data"]["split_hash"] and about["search"]["synthetic"]
    card = (folder / "best" / "README.md").read_text()
    assert f"{float(top['test_auc']):.4f}" in card and "wordllama" in card and "synthetic" in card
    assert "$" not in card and "sentence-transformers 6" in card


def test_tensorboard_optuna_and_the_split_are_there(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    trials = {row["trial"] for row in leaderboard(folder) if row["status"] != "baseline"}
    logs = {path.parent.name.split("_")[0]: path.parent for path in folder.glob("ray/*/events.out.tfevents.*")}
    assert set(logs) == trials
    top = leaderboard(folder)[0]
    events = EventAccumulator(str(logs[top["trial"]]))
    events.Reload()
    assert {"ray/tune/auc", "ray/tune/best_auc", "ray/tune/loss", "ray/tune/budget"} <= set(events.Tags()["scalars"])
    assert events.Scalars("ray/tune/best_auc")[-1].value == pytest.approx(float(top["val_auc"]))
    assert "_hparams_/session_start_info" in events.summary_metadata

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 12 and set(states) == {"COMPLETE", "PRUNED"}
    assert study.best_value == pytest.approx(float(top["val_auc"]))

    split = pd.read_parquet(folder / "split.parquet")
    assert list(split.columns) == ["row", "row_hash", "component", "side"] and len(split) == 4000


def test_trials_see_no_test_rows(asha: tuple[Ran, Path], cache: Path) -> None:
    facts = summary(asha[1])
    about = json.loads((cache / "views" / facts["bases"]["wordllama"]["digest"] / "view.json").read_text())
    split = pd.read_parquet(asha[1] / "split.parquet")
    assert about["train"] + about["val"] == (split.side != "test").sum()


def test_another_trial_can_be_exported(
    asha: tuple[Ran, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = asha
    row = leaderboard(folder)[4]
    ran = tune_here(capsys, "export", folder, "--trial", row["trial"][:8], "--to", tmp_path / "fifth")
    assert ran.code == 0, ran.err
    about = json.loads((tmp_path / "fifth" / "embedtune.json").read_text())
    assert about["trial"] == row["trial"] and about["test"] is None
    assert about["threshold"] == pytest.approx(float(row["threshold"]))
    again = tune_here(capsys, "export", folder, "--to", tmp_path / "fifth")
    assert again.code == 2 and "exists" in again.err and again.err.count("\n") == 1
    unknown = tune_here(capsys, "export", folder, "--trial", "zzz", "--to", tmp_path / "z")
    assert unknown.code == 2 and "zzz" in unknown.err and not (tmp_path / "z").exists()


def test_a_grid_says_its_size_and_runs_again_to_the_same_numbers(tmp_path: Path, cache: Path) -> None:
    arguments = ("--search", "grid", *SMALL, "--loss", "cosent,contrastive", "--learning-rate", "1e-3,3e38")
    options = ("--results", tmp_path, "--cache", cache, "--finalists", 1)
    first = tune("search", *arguments, *options, "--name", "one", "--jobs", 2)
    assert first.code == 0, first.err
    assert "search: 8 trials, 2 at a time" in first.out
    rows = leaderboard(tmp_path / "one")
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(rows) == 9 and len(failed) == 4, "a rate without measure fails its trials, and theirs alone"
    assert all("learning rate" in row["error"] and not row["val_auc"] for row in failed)
    trial = tmp_path / "one" / "trials" / failed[0]["trial"]
    assert "Traceback" in json.loads((trial / "failed.json").read_text())["traceback"]
    assert "4 failed" in first.out and "4 trials failed; the leaderboard has the reasons" in first.out
    # The best of every cell (base model, train size, dims) is a finalist in a grid.
    tested = [row["dims"] for row in rows if row["test_auc"] and row["status"] != "baseline"]
    assert sorted(tested) == ["16", "32"]

    second = tune("search", tmp_path / "one" / "search.toml", *options, "--name", "two", "--jobs", 1)
    assert second.code == 0, second.err
    assert "all embedded before" in second.out
    assert (tmp_path / "one" / "search.toml").read_text() != "", "what was resolved runs again as it is"
    drop = {"seconds", "error"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in leaderboard(tmp_path / "two")] == [
        {k: v for k, v in row.items() if k not in drop} for row in rows
    ]
