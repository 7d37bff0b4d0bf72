"""A search on graded scores as a user runs it: trained on grades, judged by labels, Spearman beside AUC."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from tests.helpers.command import Ran, leaderboard, summary, tune_here, tune_inside, untouched
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, topic_pairs
from tune.cli.tables import show_results
from tune.results.layout import ResultsFolder

pytestmark = pytest.mark.usefixtures("warm_ray")

SIDES = {"train": 600, "val": 400, "test": 400}
NEW_COLUMNS = ("val_spearman", "test_spearman", "test_spearman_low", "test_spearman_high")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Topic pairs with scores from 0 to 5 in halves, 3 or more for the same topic; the last five rows are odd."""
    path = tmp_path_factory.mktemp("pairs") / "sts.csv"
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["sentence1", "sentence2", "score", "side"])
        for seed, (side, count) in enumerate(SIDES.items()):
            made = topic_pairs(count, seed)
            halves = np.random.default_rng(seed).integers(0, 5, count)
            scores = np.where(made.label == 1, 3 + halves / 2, halves / 2)
            writer.writerows(zip(made.text_a, made.text_b, scores, [side] * count, strict=True))
        writer.writerow(["t0w0 t0w0 t0w0", "t0w1 t0w1", "", "train"])
        for score in (4.5, 5, 4.5):
            writer.writerow(["t0w1 t0w1 t0w1", "t0w2 t0w2", score, "train"])
        writer.writerow(["t0w3 t0w3 t0w3", "t0w4 t0w4", 0.5, "train"])
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "static", dims=24, words=TOPIC_WORDS)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, pairs: Path, base: Path) -> tuple[Ran, Path]:
    """A grid of layers and whole models on the scores, with Matryoshka."""
    folder = tmp_path_factory.mktemp("results")
    ran = tune_inside(
        "search", "--search", "grid", "--data", pairs, "--split-column", "side", "--score", "score",
        "--positive-from", 3, "--base-model", base, "--freeze", "true,false", "--dims", "8,16", "--matryoshka", "true",
        "--loss", "cosent,mnr", "--learning-rate", "1e-2", "--epochs", 3, "--jobs", 1, "--finalists", 1,
        "--results", folder, "--name", "graded", "--cache", folder / "cache",
    )  # fmt: skip
    return ran, folder / "graded"


def of_side(pairs: Path, side: str) -> tuple[list[str], list[str], list[float]]:
    with open(pairs, newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["side"] == side]
    return [row["sentence1"] for row in rows], [row["sentence2"] for row in rows], [float(row["score"]) for row in rows]


def correlation(model: Path, pairs: Path, side: str, dims: int | None = None) -> float:
    """Spearman's correlation by sentence-transformers and scipy alone."""
    a, b, scores = of_side(pairs, side)
    loaded = SentenceTransformer(str(model), device="cpu", truncate_dim=dims)
    first, second = (loaded.encode(texts, normalize_embeddings=True) for texts in (a, b))
    return float(spearmanr((first * second).sum(1), scores).statistic)


def test_the_terminal_says_how_scores_are_read_and_shows_spearman(graded: tuple[Ran, Path]) -> None:
    ran, _ = graded
    assert ran.code == 0 and ran.err == "", ran.err
    assert "1405 pairs read" in ran.out and "1 unlabelled" in ran.out and "repeated" in ran.out
    assert "scores: column 'score', 0 (lowest found) to 5 (highest found); " in ran.out
    assert "repeated pairs had another score than the row that is kept" in ran.out
    assert "test AUC [95% interval]" in ran.out and "test Spearman [95% interval]" in ran.out
    assert "Verdict: The winner" in ran.out and "points of AUC" in ran.out


def test_spearman_is_in_the_leaderboard_for_all_that_were_scored_on_test(
    graded: tuple[Ran, Path], pairs: Path, base: Path
) -> None:
    _, folder = graded
    rows = leaderboard(folder)
    assert any(row["test_auc"] and row["rank"] for row in rows)
    for row in rows:
        assert bool(row["test_spearman"]) == bool(row["test_auc"])
        if row["test_spearman"]:
            low, rho, high = (float(row[f"test_spearman{end}"]) for end in ("_low", "", "_high"))
            assert low < rho < high and row["val_spearman"]
    [own] = untouched(folder)
    for side in ("val", "test"):
        assert float(own[f"{side}_spearman"]) == pytest.approx(correlation(base, pairs, side), abs=1e-5)
    best = max(float(row["test_spearman"]) for row in rows if row["rank"] and row["test_spearman"])
    assert best > float(own["test_spearman"]) + 0.05
    aucs = [float(row["val_auc"]) for row in rows if row["rank"] == "1"] + [float(own["val_auc"])]
    assert aucs[0] > aucs[-1], "AUC ranks"


def test_the_export_scores_what_was_reported(
    graded: tuple[Ran, Path], pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = graded
    facts = summary(folder)
    rows = {int(row["dims"]): row for row in leaderboard(folder) if row["trial"] == facts["winner"]["trial"]}
    assert set(rows) == {8, 16}
    for dims, row in rows.items():
        for side in ("val", "test"):
            found = correlation(folder / "best", pairs, side, dims)
            assert float(row[f"{side}_spearman"]) == pytest.approx(found, abs=1e-4), (dims, side)
    ranked = rows[8]
    assert facts["winner"]["val_spearman"] == float(ranked["val_spearman"])
    assert facts["test"]["spearman"]["rho"] == float(ranked["test_spearman"])
    assert facts["data"]["scores"] == {"column": "score", "low": 0.0, "high": 5.0}
    about = json.loads((folder / "best" / "embedtune.json").read_text())
    assert about["val_spearman"] == float(rows[16]["val_spearman"])
    assert about["test"]["spearman"] == float(rows[16]["test_spearman"])
    card = (folder / "best" / "README.md").read_text()
    assert "Spearman correlation with the graded scores (column `score`)" in card
    assert f"{float(ranked['test_spearman']):.4f} [{float(ranked['test_spearman_low']):.4f}, " in card

    data = ("--data", pairs, "--split-column", "side", "--side", "test", "--score", "score", "--positive-from", 3)
    ran = tune_here(capsys, "score", folder / "best", *data, "--json")
    assert ran.code == 0, ran.err
    scored = json.loads(ran.out)
    assert scored["spearman"] == pytest.approx(float(rows[16]["test_spearman"]), abs=1e-4)
    assert scored["auc"] == pytest.approx(float(rows[16]["test_auc"]), abs=1e-4)


def test_results_of_a_version_without_spearman_still_load(
    graded: tuple[Ran, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, made = graded
    shutil.copytree(made, tmp_path / "old")
    folder = ResultsFolder(tmp_path / "old")
    rows = [{k: v for k, v in row.items() if k not in NEW_COLUMNS} for row in leaderboard(folder.root)]
    with open(folder.leaderboard, "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    test = json.loads(folder.test.read_text())
    del test["spearman"]
    for final in test["models"].values():
        del final["val_spearman"]
        final["test"] = {k: v for k, v in final["test"].items() if "spearman" not in k}
    folder.test.write_text(json.dumps(test))
    facts = summary(folder.root)
    del facts["val_spearman"], facts["winner"]["val_spearman"], facts["test"]["spearman"], facts["data"]["scores"]
    folder.summary.write_text(json.dumps(facts))

    assert show_results(folder)
    assert "Spearman" not in capsys.readouterr().out
    ran = tune_here(capsys, "export", folder.root, "--to", tmp_path / "exported")
    assert ran.code == 0, ran.err
    assert "Spearman" not in (tmp_path / "exported" / "README.md").read_text()
    ran = tune_here(capsys, "search", "--resume", "old", "--results", tmp_path)
    assert ran.code == 0 and "the winner is already fixed" in ran.out, ran.err


def test_baselines_and_plain_labels(
    pairs: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", pairs, "--split-column", "side", "--positive-from", 3, "--base-model", base)
    places = ("--results", tmp_path, "--cache", tmp_path / "cache")
    ran = tune_here(capsys, "baselines", *data, "--score", "score", *places, "--name", "graded")
    assert ran.code == 0 and "test Spearman [95% interval]" in ran.out, ran.err
    [row] = untouched(tmp_path / "graded")
    assert float(row["test_spearman"]) == pytest.approx(correlation(base, pairs, "test"), abs=1e-5)
    [words] = [row for row in leaderboard(tmp_path / "graded") if row["base_model"] == "tf-idf"]
    assert words["val_spearman"] and float(words["test_spearman_low"]) < float(words["test_spearman"])
    ran = tune_here(capsys, "baselines", *data, *places, "--name", "plain")
    assert ran.code == 0 and "Spearman" not in ran.out and "scores:" not in ran.out, ran.err
    [plain] = untouched(tmp_path / "plain")
    assert plain["test_auc"] == row["test_auc"] and not any(plain[name] for name in NEW_COLUMNS)


def test_scores_without_a_threshold_are_refused_with_one(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", pairs, "--split-column", "side", "--base-model", "wordllama", "--score", "score")
    ran = tune_here(capsys, "search", *data, "--results", tmp_path / "results")
    assert ran.code == 2 and ran.err.startswith("error: sts.csv: column 'score' has scores") and not ran.out
    assert (
        "such as --positive-from 2 (744 of 1,404" in ran.err
        and ran.err.count("\n") == 1
        and not (tmp_path / "results").exists()
    )
    ran = tune_here(capsys, "search", *data, "--positive-from", 3, "--score-min", 1, "--results", tmp_path / "results")
    assert ran.code == 2 and "outside 1 to 5" in ran.err and ran.err.count("\n") == 1
