"""Few pairs with --folds: no test side, the winner judged out of fold; what is shown, left behind and repeated."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score

from tests.helpers.command import Ran, leaderboard, summary, tune_here, tune_inside
from tests.helpers.kept_scores import checked_scores
from tests.helpers.tiny import topic_pairs
from tune.files import write_atomic

pytestmark = pytest.mark.usefixtures("warm_ray")

PAIRS = 60
GRID = (
    "--search",
    "grid",
    "--base-model",
    "wordllama",
    "--dims",
    "8,32",
    "--loss",
    "cosent",
    "--learning-rate",
    "1e-2",
)
JUDGED = "judged out of fold"


def write_few(path: Path) -> Path:
    """Write topic pairs, 24 of them positive, each text its own."""
    made = topic_pairs(200, 0)
    rows = [np.flatnonzero(made.label == label)[:count] for label, count in ((1, 24), (0, PAIRS - 24))]
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text1", "text2", "label"])
        for row in np.sort(np.concatenate(rows)).tolist():
            writer.writerow([f"{row}: {made.text_a[row]}", f"{made.text_b[row]} ({row})", made.label[row]])
    return path


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """A grid of two trials on few pairs."""
    folder = tmp_path_factory.mktemp("few")
    ran = tune_inside(
        "search", *GRID, "--data", write_few(folder / "few.csv"), "--folds", 4, "--epochs", 4, "--jobs", 1,
        "--results", folder, "--name", "few", "--cache", folder / "cache",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return ran, folder / "few"


def test_the_terminal_says_how_it_was_judged(searched: tuple[Ran, Path]) -> None:
    ran, folder = searched
    judged, said = summary(folder)["out_of_fold"], " ".join(ran.out.split())
    assert f"test would be too small, so there is none: all {PAIRS} pairs (40% positive) are in 4 folds" in said
    assert "leaks: no text is in two folds; nearly so (cosine >= 0.95, wordllama): " in said
    assert "Judged out of fold: the choice among 2 trials was repeated on 1,000 draws of 60 components" in said
    assert f"winner {judged['auc']:.4f} [{judged['low']:.4f}, {judged['high']:.4f}], untouched wordllama " in said
    assert "Verdict: The winner (wordllama, cosent) " in said and f", {JUDGED}." in said
    assert "There is no test side: the winner was chosen and judged out of fold, on all pairs." in said
    assert "test side was opened" not in said and ran.err == ""


def test_no_number_passes_for_one_on_test(searched: tuple[Ran, Path]) -> None:
    _, folder = searched
    facts, rows = summary(folder), leaderboard(folder)
    assert not (folder / "test.json").exists()
    assert facts["test"]["opened"] is None and facts["test"]["reason"] == "there is no test side: judged out of fold"
    assert facts["winner"]["chosen_by"] == "highest mean AUC over the folds; there is no test side"
    assert [len(rows), {row["val_pairs"] for row in rows}] == [4, {str(PAIRS)}]
    assert not any(row[column] for row in rows for column in row if column.startswith(("test_", "over_")))
    assert all(row["val_auc"] and row["val_auc_std"] and row["threshold"] for row in rows)
    split = pd.read_parquet(folder / "split.parquet")
    assert set(split.side) == {"train"} and len(split) == PAIRS
    assert facts["data"]["split"]["out_of_fold"] is True


def test_the_summary_has_the_judgement(searched: tuple[Ran, Path]) -> None:
    _, folder = searched
    facts = summary(folder)
    judged = facts["out_of_fold"]
    assert 0.4 < judged["low"] < judged["auc"] < judged["high"] < 1
    assert judged["high"] - judged["low"] > 0.15, "60 pairs leave much open"
    assert (judged["trials"], judged["draws"], judged["components"], judged["reason"]) == (2, 1000, PAIRS, "")
    assert judged["reports"] > 2 and judged["redrawn"] == 0
    [entry] = judged["comparisons"]
    assert entry["b"] == "baseline:wordllama" and entry["a"] == facts["winner"]["trial"]
    assert entry["low"] < entry["delta"] < entry["high"] and entry["outcome"] in ("beats", "level", "behind")
    assert facts["verdict"] == entry and facts["verdicts"] == [entry["sentence"]] == judged["verdicts"]
    base = judged["bases"]["wordllama"]
    assert base["low"] < base["auc"] < base["high"]


def test_the_scores_of_single_pairs_are_kept(searched: tuple[Ran, Path]) -> None:
    ran, folder = searched
    with open(folder.parent / "few.csv", newline="") as handle:
        pairs = [(row["text1"], row["text2"], int(row["label"])) for row in csv.DictReader(handle)]
    scores, judged, winner = checked_scores(folder, pairs), summary(folder)["out_of_fold"], summary(folder)["winner"]
    assert set(scores.side) == {"folds"} and scores.row.tolist() == list(range(PAIRS))
    assert set(judged["bases"]) == {"wordllama", "tf-idf"}
    for name, base in judged["bases"].items():
        auc = roc_auc_score(scores.label, scores.models[f"baseline:{name}"])
        assert base["auc"] == pytest.approx(auc, abs=1e-6)
    trial = folder / "trials" / winner["trial"]
    reports = [json.loads(line)["auc"] for line in (trial / "reports.jsonl").read_text().splitlines()]
    kept = np.fromfile(trial / "out_of_fold.f32", np.float32).reshape(len(reports), PAIRS)
    assert np.array_equal(np.sort(kept[np.argmax(reports)]), np.sort(scores.models[winner["trial"]]))
    said = " ".join(ran.out.split())
    assert f", tf-idf {judged['bases']['tf-idf']['auc']:.4f} [" in said


def test_the_model_is_exported_with_a_card_that_says_so(
    searched: tuple[Ran, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = searched
    judged, top = summary(folder)["out_of_fold"], leaderboard(folder)[0]
    card = (folder / "best" / "README.md").read_text()
    assert "There was no test side. Judged out of fold: the choice among 2 trials was repeated on" in card
    assert f"ROC AUC {judged['auc']:.4f}, 95% interval [{judged['low']:.4f}, {judged['high']:.4f}]" in card
    assert f"{judged['verdicts'][0][1:]}." in card and "Test, scored once" not in card
    about = json.loads((folder / "best" / "embedtune.json").read_text())
    assert about["test"] is None and about["search"]["out_of_fold"]["auc"] == judged["auc"]
    assert about["threshold"] == pytest.approx(float(top["threshold"]))
    model = SentenceTransformer(str(folder / "best"), device="cpu")
    assert model.encode(["one text"]).shape == (1, int(top["dims"]))
    other = leaderboard(folder)[1]["trial"]
    assert tune_here(capsys, "export", folder, "--trial", other, "--to", tmp_path / "other").code == 0
    assert "There was no test side." in (tmp_path / "other" / "README.md").read_text()
    assert "udged" not in (tmp_path / "other" / "README.md").read_text()


def test_a_resumed_search_judges_to_the_same_numbers(
    searched: tuple[Ran, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As if killed before the judgement was written."""
    _, folder = searched
    before = summary(folder)
    kept = {name: value for name, value in before.items() if name not in ("out_of_fold", "verdict", "test")}
    write_atomic(folder / "summary.json", json.dumps(kept))
    ran = tune_here(capsys, "search", "--resume", "few", "--results", folder.parent)
    assert ran.code == 0, ran.err
    after = summary(folder)
    assert [after[name] for name in ("out_of_fold", "verdict", "test", "winner")] == [
        before[name] for name in ("out_of_fold", "verdict", "test", "winner")
    ]
    trial = folder / "trials" / after["winner"]["trial"]
    scores = (trial / "out_of_fold.f32").read_bytes()
    (trial / "out_of_fold.f32").write_bytes(scores[:-8])
    assert tune_here(capsys, "search", "--resume", "few", "--results", folder.parent).code == 0
    again = summary(folder)["out_of_fold"]
    assert (
        again["reports"] < before["out_of_fold"]["reports"] and abs(again["auc"] - before["out_of_fold"]["auc"]) < 0.1
    )
    (trial / "out_of_fold.f32").write_bytes(scores)


def test_a_dry_run_says_what_would_be_judged_and_what_is_too_little(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_few(tmp_path / "few.csv")
    options = ("--base-model", "wordllama", "--results", tmp_path / "results", "--dry-run")
    ran = tune_here(capsys, "search", "--data", few, *options, "--folds", 5)
    assert ran.code == 0 and f"all {PAIRS} pairs (40% positive) are in 5 folds" in ran.out
    ran = tune_here(capsys, "search", "--data", few, *options)
    assert ran.code == 2 and "or search --folds 5, which judges all of them out of fold (24 positive" in ran.err
    few.write_text("\n".join(few.read_text().splitlines()[:30]) + "\n")
    ran = tune_here(capsys, "search", "--data", few, *options, "--folds", 5)
    assert ran.code == 2 and ran.err.count("\n") == 1 and "20 of either class: add at least 10 positive" in ran.err
