"""`python -m tune search` as a user runs it: what it prints, what it leaves, and that its numbers hold."""

import contextlib
import csv
import io
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from rich.console import Console
from sentence_transformers import SentenceTransformer
from tensorboard.plugins.hparams import api_pb2

from tests.helpers import exported, tensorboard_runs
from tests.helpers.command import (
    Ran,
    background,
    environment,
    leaderboard,
    summary,
    tune,
    tune_here,
    tune_inside,
    untouched,
    wait_for,
)
from tests.helpers.kept_scores import checked_scores
from tune.cli.tables import show_results
from tune.data.demo import demo_pairs
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import COLUMNS

pytestmark = pytest.mark.usefixtures("warm_ray")

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
    assert f"SentenceTransformer('{folder}/best')" in ran.out and f"tensorboard --logdir {folder}\n" in ran.out
    assert "Traceback" not in ran.out + ran.err
    assert ran.err == "", "nothing but our own lines"
    last = [line for line in ran.out.splitlines() if line.startswith("trials: ")][-1]
    assert re.search(r"10 stopped early|stopped early, 0 failed, 0 running, of 12, best validation AUC 0\.\d{4} ", last)
    assert re.search(r", \d+ s, [\d.]+ trials/min$", last), "all have ended, so no time is left"
    top = leaderboard(folder)[0]
    assert f"winner   wordllama, layer, {top['dims']} dims, {top['loss']}, learning rate" in ran.out
    interval = " ".join(f"{float(top[f'test_auc{end}']):.4f}" for end in ("", "_low", "_high"))
    assert "AUC      {} [{}, {}] on test".format(*interval.split()) in ran.out
    assert "data     demo pairs: 3,139 train, 439 validation, 422 test pairs" in ran.out
    assert re.search(r"cost     12 trials \(\d+ done, \d+ stopped early\), \d+ s of training$", ran.out, re.M)


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
    [baseline] = untouched(folder)
    assert baseline["rank"] == "" and baseline["base_model"] == "wordllama" and baseline["dims"] == "256"
    best = trials[0]
    low, auc, high = (float(best[f"test_auc{end}"]) for end in ("_low", "", "_high"))
    assert low < auc < high and auc > float(baseline["test_auc"]) + 0.1
    guarded = [bool(row["guard_auc"]) for row in rows if row["base_model"] == "wordllama"]
    assert guarded == [bool(row["test_auc"]) for row in rows if row["base_model"] == "wordllama"], "general, by default"
    assert baseline["guard_auc"] == baseline["guard_auc_before"] == best["guard_auc_before"] != best["guard_auc"]
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


def test_the_scores_of_single_pairs_are_kept(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    scores, rows = checked_scores(folder, demo_pairs()), demo_pairs()
    assert {side: len(scores.on(side).row) for side in ("val", "test")} == {"val": 439, "test": 422}
    assert len(scores.row) == 439 + 422
    some = scores.on("test")
    model = SentenceTransformer(str(folder / "best"), device="cpu")
    a, b = (model.encode([rows[row][side] for row in some.row[:60]]) for side in (0, 1))
    top = leaderboard(folder)[0]["trial"]
    assert np.allclose((a * b).sum(axis=1), some.models[top][:60], atol=1e-5)


def test_tf_idf_is_shown_and_takes_part_in_nothing(asha: tuple[Ran, Path]) -> None:
    ran, folder = asha
    [row] = [row for row in leaderboard(folder) if row["trial"] == "baseline:tf-idf"]
    assert (row["status"], row["base_model"], row["rank"], row["dims"]) == ("baseline", "tf-idf", "", "")
    assert row["bytes_per_million_vectors"] == row["freeze"] == "" and row["threshold"] and row["test_accuracy"]
    assert float(row["test_auc_low"]) < float(row["test_auc"]) < float(row["test_auc_high"])
    facts, test = summary(folder), json.loads((folder / "test.json").read_text())
    assert test["models"]["baseline:tf-idf"]["test"]["auc"] == float(row["test_auc"])
    assert {entry["b"] for entry in facts["comparisons"]} == {"baseline:wordllama"}
    assert list(facts["bases"]) == ["wordllama"] and facts["test"]["tf_idf"]["terms"] == "words"
    assert f"* tf-idf: synthetic data; {facts['test']['tf_idf']['note']}" in " ".join(ran.out.split())
    assert re.search(rf"^ +words +tf-idf\* .* {float(row['test_auc']):.4f} \[", ran.out, flags=re.M)


def test_quantised_vectors_of_the_winner_and_the_base_are_scored_too(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    rows = {row["trial"]: row for row in leaderboard(folder)}
    facts = summary(folder)
    by_key = {(entry["key"], entry["precision"]): entry for entry in facts["quantised"]}
    winner = facts["winner"]["trial"]
    assert {key for key, _ in by_key} == {winner, "baseline:wordllama"} and len(by_key) == 8
    for key in (winner, "baseline:wordllama"):
        exact, row = by_key[key, "float32"], rows[key]
        columns = ("val_auc", "test_auc", "test_auc_low", "test_auc_high")
        assert [exact[name] for name in ("val_auc", "auc", "low", "high")] == [float(row[name]) for name in columns]
        assert exact["bytes"] * 1_000_000 == int(row["bytes_per_million_vectors"])
        assert by_key[key, "int8"]["val_auc"] == pytest.approx(exact["val_auc"], abs=0.02)
    assert json.loads((folder / "test.json").read_text())["quantised"] == facts["quantised"]
    assert "latency" not in facts and "latency" not in facts["seconds"], "there is no report to show it"


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

    sides = ("--data", test_rows, "--split-column", "side", "--side", "test")
    ran = tune_here(capsys, "score", folder / "best", *sides, "--json")
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
    assert "$" not in card and "needs sentence-transformers 3.2 or later" in card


def test_tensorboard_shows_every_trial(asha: tuple[Ran, Path]) -> None:
    ran, folder = asha
    rows = [row for row in leaderboard(folder) if row["status"] != "baseline"]
    found = tensorboard_runs.runs(folder)
    assert set(found) == {row["trial"] for row in rows}
    for row in rows:
        events = found[row["trial"]]
        assert Path(events.path).name == f"wordllama-layer-{row['dims']}-{row['loss']}-{row['trial']}"
        assert set(events.Tags()["scalars"]) == {*tensorboard_runs.EVERY_REPORT, "train/step"}
        best = tensorboard_runs.scalars(events)
        assert max(best) == int(16 * float(row["budget"])) and best[max(best)] == pytest.approx(float(row["val_auc"]))
        experiment, start, end = tensorboard_runs.hparams(events)
        # The tab shows a metric only where a scalar has its name.
        assert [metric.name.tag for metric in experiment.metric_infos] == ["val/best_auc"]
        assert {info.name for info in experiment.hparam_infos if info.differs} == {"dims", "loss", "learning_rate"}
        assert start.hparams["loss"].string_value == row["loss"]
        assert start.hparams["learning_rate"].number_value == float(row["learning_rate"])
        assert start.hparams["dims"].number_value == int(row["dims"]) and end.status == api_pb2.STATUS_SUCCESS
    assert f"TensorBoard  tensorboard --logdir {folder}\n" in ran.out


def test_tensorboard_has_the_precision_and_recall_of_finalists_on_validation(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    with_curve = {
        trial: events
        for trial, events in tensorboard_runs.runs(folder).items()
        if "val/precision_recall" in events.Tags()["tensors"]
    }
    finalists = summary(folder)["finalists"]
    assert set(with_curve) == set(finalists) and len(finalists) == 3
    val = checked_scores(folder, demo_pairs()).on("val")
    cosines, label = val.models[finalists[0]], val.label
    tp, fp, _, fn, precision, recall = tensorboard_runs.pr_curve(with_curve[finalists[0]])
    assert (tp[0], fp[0], fn[0]) == (label.sum(), len(label) - label.sum(), 0)
    for at in (250, 350, 450, 490):
        chosen = cosines >= 2 * at / (len(tp) - 1) - 1
        assert (tp[at], fp[at]) == (label[chosen].sum(), (1 - label[chosen]).sum())
        assert recall[at] == pytest.approx(tp[at] / label.sum())
        assert precision[at] == pytest.approx(tp[at] / max(tp[at] + fp[at], 1) if tp[at] + fp[at] else 1)
    assert len(np.unique(recall)) > 10


def test_the_study_and_the_split_are_there(asha: tuple[Ran, Path]) -> None:
    _, folder = asha
    top = leaderboard(folder)[0]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 12 and set(states) == {"COMPLETE", "PRUNED"}
    assert study.best_value == pytest.approx(float(top["val_auc"]))

    split = pd.read_parquet(folder / "split.parquet")
    assert list(split.columns) == ["row", "row_hash", "component", "side"] and len(split) == 4000


def test_the_study_opens_in_optuna_dashboard(asha: tuple[Ran, Path], tmp_path: Path) -> None:
    _, folder = asha
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(sys.executable).parent / "optuna-dashboard"
    command = [script, folder / "optuna.journal", "--host", "127.0.0.1", "--port", port, "--server", "wsgiref"]

    def answer(path: str) -> dict[str, Any] | None:
        address = f"http://127.0.0.1:{port}/api/studies{path}"
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(address, timeout=10) as response:
            return dict(json.load(response))
        return None

    with background([str(word) for word in command], environment(), tmp_path / "log") as process:
        studies = wait_for(lambda: answer("") or process.poll() is not None, 60)
        assert process.poll() is None, (tmp_path / "log").read_text()
        [study] = studies["study_summaries"]
        assert (study["study_name"], study["directions"]) == ("embedtune", ["maximize"])
        trials = (answer(f"/{study['study_id']}") or {})["trials"]
    rows = [row for row in leaderboard(folder) if row["rank"]]
    complete = sorted(trial["values"][0] for trial in trials if trial["state"] == "Complete")
    assert complete == pytest.approx(sorted(float(row["val_auc"]) for row in rows if row["status"] == "done"))
    assert len(trials) == 12 and {trial["state"] for trial in trials} == {"Complete", "Pruned"}
    assert {param["name"] for param in trials[0]["params"]} == {"dims", "loss", "learning_rate"}


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
    first = tune_inside("search", *arguments, *options, "--name", "one", "--jobs", 2)
    assert first.code == 0, first.err
    assert "search: 8 trials, 2 at a time" in first.out
    rows = leaderboard(tmp_path / "one")
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(rows) == 10 and len(failed) == 4, "a rate without measure fails its trials, and theirs alone"
    assert all("learning rate" in row["error"] and not row["val_auc"] for row in failed)
    trial = tmp_path / "one" / "trials" / failed[0]["trial"]
    assert "Traceback" in json.loads((trial / "failed.json").read_text())["traceback"]
    assert "4 failed" in first.out and "4 trials failed; the leaderboard has the reasons" in first.out
    # The best of every cell (base model, train size, dims) is a finalist in a grid.
    tested = [row["dims"] for row in rows if row["test_auc"] and row["status"] != "baseline"]
    assert sorted(tested) == ["16", "32"]

    second = tune_inside("search", tmp_path / "one" / "search.toml", *options, "--name", "two", "--jobs", 1, "--json")
    assert second.code == 0, second.err
    assert "all embedded before" in second.err and "Verdict (synthetic data)" in second.err
    check_json(second, tmp_path / "two")
    assert not {"json", "quiet"} & set((tmp_path / "two" / "search.toml").read_text().replace(" = ", "\n").split())
    assert (tmp_path / "one" / "search.toml").read_text() != "", "what was resolved runs again as it is"
    drop = {"seconds", "error"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in leaderboard(tmp_path / "two")] == [
        {k: v for k, v in row.items() if k not in drop} for row in rows
    ]


def check_json(ran: Ran, folder: Path) -> None:
    """Stdout is one JSON object, with what the files of the search say."""
    assert ran.out.count("\n") == 1
    said, top, facts = json.loads(ran.out), leaderboard(folder)[0], summary(folder)
    assert said["winner"] == {"trial": top["trial"], "config": facts["winner"]["config"]}
    assert said["val"] == {"auc": pytest.approx(float(top["val_auc"]))}
    columns = {
        "auc": "auc",
        "low": "auc_low",
        "high": "auc_high",
        **{n: n for n in ("accuracy", "precision", "recall")},
    }
    assert said["test"] == {name: pytest.approx(float(top[f"test_{column}"])) for name, column in columns.items()}
    assert said["verdict"].startswith("The winner (wordllama") and said["outcome"] == facts["verdict"]["outcome"]
    assert said["name"] == folder.name and said["interrupted"] == "" and said["synthetic"] is True
    assert len(said["guard"]) == len(facts["guard"]["sentences"])
    assert said["paths"] == {
        "results": str(folder),
        "leaderboard": str(folder / "leaderboard.csv"),
        "best": str(folder / "best"),
        "report": None,
    }
    assert "no report" not in ran.err, "it was not asked for"


def test_quiet_prints_the_result_alone(asha: tuple[Ran, Path], cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = asha
    ran = tune_here(
        capsys, "search", "--resume", folder.name, "--results", folder.parent, "--cache", cache, "--quiet"
    )  # fmt: skip
    assert ran.code == 0 and ran.err == "", ran.err
    begins = [line.split()[0] for line in ran.out.splitlines()]
    forgot = ["The"] * len(summary(folder)["guard"]["sentences"])
    facts = ["winner", "AUC", "guard", "data", "cost"]
    assert begins == ["Verdict", *forgot, *facts, "The", "leaderboard", "best", "TensorBoard"]
    refused = tune_here(capsys, "search", "--quiet", "--dry-run")
    assert refused.code == 2 and "a dry run has no result" in refused.err and refused.err.count("\n") == 1


@pytest.mark.parametrize("width", [80, 120])
def test_the_verdict_is_a_panel_on_a_terminal(asha: tuple[Ran, Path], width: int) -> None:
    _, folder = asha
    screen = io.StringIO()
    show_results(ResultsFolder(folder), Console(file=screen, width=width, force_terminal=True, color_system=None))
    lines = screen.getvalue().splitlines()
    first, last = (next(n for n, line in enumerate(lines) if line.startswith(corner)) for corner in "╭╰")
    panel = lines[first : last + 1]
    assert {len(line) for line in panel} == {min(width, 100)}
    assert "first: verdict (synthetic data)" in panel[0]
    words = " ".join(" ".join(line.strip("│").split()) for line in panel)
    top = leaderboard(folder)[0]
    assert "The winner (wordllama" in words and "points of AUC [" in words and "the test side was opened once" in words
    assert f"AUC {float(top['test_auc']):.4f} [" in words and "422 test pairs" in words and "12 trials (" in words
    table = [line for line in lines if line.startswith("   1 ")]
    assert len(table) == 1 and f"{float(top['test_auc_high']):.4f}]" in table[0], "no number is cut off"
