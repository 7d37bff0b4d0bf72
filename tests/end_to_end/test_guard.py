"""Guard sets and merging in a search as a user runs it: what training spoilt, what was given back, what is exported."""

import csv
import json
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score

from tests.helpers.command import Ran, leaderboard, summary, tune_here, tune_inside, untouched
from tests.helpers.exported import exported_auc
from tests.helpers.tiny import save_tiny_bert, write_topic_pairs
from tune.export.trial import export
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder
from tune.train.outcomes import trial_outcomes
from tune.train.whole.model import load_whole_model

pytestmark = pytest.mark.usefixtures("warm_ray")

SPACES = """
[search]
search = "grid"
finalists = 1
guard_loss = 0.02

[data]
split_column = "side"

[[space]]
base_model = ["{base}"]
dims = [16]
loss = ["cosent"]
learning_rate = [1e-2]
epochs = [2]

[[space]]
base_model = ["{base}"]
freeze = [false]
train = ["full"]
dims = ["none"]
loss = ["cosent"]
learning_rate = [3e-3]
epochs = [3]

[[space]]
base_model = ["{base}"]
freeze = [false]
train = ["lora"]
lora_rank = [8]
dims = [24]
loss = ["cosent"]
learning_rate = [2e-2]
epochs = [3]
"""
LIMIT = 0.02


@dataclass(frozen=True)
class Guarded:
    """A finished search with a guard set. guard: its texts and labels."""

    ran: Ran
    folder: Path
    base: Path
    guard: tuple[list[str], list[str], list[int]]
    test: tuple[list[str], list[str], list[int]]

    def row(self, train: str) -> dict[str, str]:
        """Return the leaderboard's row of the trial that trains this."""
        return next(row for row in leaderboard(self.folder) if row["rank"] and row["train"] == train)

    def tuned(self, train: str) -> SentenceTransformer:
        """Return the model of a trial as it was trained."""
        outcomes = trial_outcomes(self.folder / "trials", self.folder / "asha.json")
        [found] = [one for one in outcomes if one.trial == self.row(train)["trial"]]
        best = found.directory / "best.safetensors"
        return load_whole_model(found.config, best, str(self.base), None).cpu()


def write_wordings(path: Path, pairs: int = 120) -> tuple[list[str], list[str], list[int]]:
    """Write pairs within a topic, labelled 1 if they share words: what training on topics makes a model forget."""
    generator = np.random.default_rng(5)
    rows = []
    for number in range(pairs):
        topic, words = int(generator.integers(10)), generator.permutation(8)
        first = [f"t{topic}w{word}" for word in words[:4]]
        second = [*first[:3], f"t{topic}w{words[4]}"] if number % 2 else [f"t{topic}w{word}" for word in words[4:]]
        rows.append((" ".join(first), " ".join(generator.permutation(second)), number % 2))
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text1", "text2", "label"])
        writer.writerows(rows)
    a, b, label = zip(*rows, strict=True)
    return list(a), list(b), list(label)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Guarded:
    """A grid of a layer, a whole model and LoRA, trained on topics, with a guard set of wordings."""
    folder = tmp_path_factory.mktemp("guard")
    base = save_tiny_bert(folder / "bert")
    pairs = write_topic_pairs(folder / "topics.csv", {"train": 600, "val": 300, "test": 300})
    guard = write_wordings(folder / "wordings.csv")
    (folder / "search.toml").write_text(SPACES.format(base=base))
    with open(pairs, newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["side"] == "test"]
    test = [row["text1"] for row in rows], [row["text2"] for row in rows], [int(row["label"]) for row in rows]
    ran = tune_inside(
        "search", folder / "search.toml", "--data", pairs, "--guard", folder / "wordings.csv", "--jobs", 1,
        "--results", folder, "--name", "kept", "--cache", folder / "cache",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return Guarded(ran, folder / "kept", base, guard, test)


def mean_loss(point: dict[str, float], entry: dict[str, Any]) -> float:
    return float(entry["before"] - point["guard_auc"])


def test_the_winner_keeps_the_largest_share_within_the_loss(guarded: Guarded) -> None:
    facts = summary(guarded.folder)
    winner = facts["winner"]["trial"]
    entry = facts["merge"][winner]
    points = entry["points"]
    assert [point["share"] for point in points] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert mean_loss(points[0], entry) > LIMIT, "training has spoilt the guard set"
    assert entry["limit"] == LIMIT and entry["met"]
    within = [point["share"] for point in points if mean_loss(point, entry) <= LIMIT]
    assert entry["share"] == max(within) < 1
    assert points[0]["val_auc"] > points[-1]["val_auc"]
    row = guarded.row("full")
    assert row["trial"] == winner and float(row["merge"]) == entry["share"]
    chosen = next(point for point in points if point["share"] == entry["share"])
    assert float(row["guard_auc"]) == pytest.approx(chosen["guard_auc"], abs=1e-6)
    assert float(row["guard_auc_before"]) == entry["before"]
    assert float(row["val_auc"]) == pytest.approx(chosen["val_auc"], abs=1e-6) and entry["val_pairs"] == 300
    assert facts["winner"]["val_auc"] == float(row["val_auc"]), "the winner is what is reported"
    assert facts["winner"]["fixed"] <= facts["test"]["opened"]
    assert f"share {entry['share']:g}: AUC {chosen['val_auc']:.4f} on validation" in guarded.ran.out
    assert "merge    merged with its base model" in guarded.ran.out and "guard    0." in guarded.ran.out


def test_all_other_rows_have_guard_columns_too(guarded: Guarded) -> None:
    rows = {row["trial"]: row for row in leaderboard(guarded.folder)}
    [base] = untouched(guarded.folder)
    assert base["guard_auc"] == base["guard_auc_before"] != "" and base["merge"] == ""
    assert rows["baseline:tf-idf"]["guard_auc"] == ""
    layer = guarded.row("")
    assert layer["merge"] == "" and layer["guard_auc"] != layer["guard_auc_before"] == base["guard_auc"]
    lora = guarded.row("lora")
    assert float(lora["merge"]) < 1
    shares = [point["share"] for point in summary(guarded.folder)["merge"][lora["trial"]]["points"]]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1.0, "others stop at the first share that will do"
    guard = summary(guarded.folder)["guard"]
    [facts] = guard["sets"]
    assert (facts["name"], facts["pairs"], facts["positives"]) == ("wordings.csv", 120, 60)
    own = guard["models"][layer["trial"]]["sets"]["wordings.csv"]
    assert own["low"] < own["delta"] < own["high"]
    assert own["delta"] == pytest.approx(own["after"] - own["before"])


@pytest.mark.parametrize("train", ["full", "lora"])
def test_an_export_is_merged_weight_by_weight_and_scores_what_was_reported(
    guarded: Guarded, train: str, tmp_path: Path
) -> None:
    row = guarded.row(train)
    path = (
        guarded.folder / "best"
        if train == "full"
        else export(ResultsFolder(guarded.folder), row["trial"], tmp_path / "m")
    )
    share, merged = float(row["merge"]), SentenceTransformer(str(path), device="cpu")
    base, tuned = SentenceTransformer(str(guarded.base), device="cpu"), guarded.tuned(train)
    before, after = dict(base.named_parameters()), dict(tuned.named_parameters())
    moved = 0
    for name, found in merged.named_parameters():
        if name in before:
            expected = before[name] + share * (after[name] - before[name])
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
            moved += not torch.equal(after[name], before[name])
        else:
            assert "linear" in name, "a Dense layer stays as trained"
    assert moved >= 4
    if train == "lora":
        dense = [module for module in tuned if hasattr(module, "linear")]
        kept = [module for module in merged if hasattr(module, "linear")]
        assert torch.equal(dense[0].linear.weight, kept[0].linear.weight)
    assert exported_auc(path, *guarded.test) == pytest.approx(float(row["test_auc"]), abs=1e-4)
    a, b, label = guarded.guard
    cosines = (merged.encode(a, normalize_embeddings=True) * merged.encode(b, normalize_embeddings=True)).sum(1)
    assert roc_auc_score(label, cosines) == pytest.approx(float(row["guard_auc"]), abs=1e-4)
    about = json.loads((path / "embedtune.json").read_text())
    assert about["merge"]["share"] == share
    card = (path / "README.md").read_text()
    assert f"at share {share:g}" in card and "On guard set wordings.csv" in card


def test_the_report_shows_the_shares_and_what_was_forgotten(guarded: Guarded) -> None:
    report = Report.of([read_story(ResultsFolder(guarded.folder))])
    markdown = report.markdown()
    share = float(guarded.row("full")["merge"])
    assert "### What the base model knew" in markdown and f"| {share:g} (chosen) |" in markdown
    assert re.search(r"Merged with its base model at share \S+, the largest that loses at most 2 points", markdown)
    assert "merging" in {figure.name for page in report.pages for figure in page.figures}
    headings = markdown.split("### Models")[1].split("\n\n")[1].splitlines()[0]
    assert "guard AUC" in headings


def test_a_resumed_search_keeps_the_share_that_was_written(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is as a kill between choosing the shares and opening test leaves it, but for the share's value."""
    folder = tmp_path / "kept"
    shutil.copytree(guarded.folder, folder, symlinks=True)
    facts = summary(folder)
    winner = facts["winner"]["trial"]
    point = facts["merge"][winner]["points"][-2]
    facts["merge"][winner]["share"] = point["share"]
    facts["winner"]["val_auc"] = point["val_auc"]
    for name in ("test", "verdict", "verdicts", "comparisons", "finished", "quantised"):
        facts.pop(name, None)
    del facts["guard"]["models"], facts["guard"]["sentences"]
    (folder / "summary.json").write_text(json.dumps(facts))
    for name in ("test.json", "leaderboard.csv", "scores.parquet"):
        (folder / name).unlink()
    shutil.rmtree(folder / "best")
    ran = tune_here(capsys, "search", "--resume", "kept", "--results", tmp_path, "--report", "false")
    assert ran.code == 0, ran.err
    assert "finding the share" not in ran.out, "nothing is chosen twice"
    row = next(row for row in leaderboard(folder) if row["trial"] == winner)
    assert float(row["merge"]) == point["share"]
    assert float(row["val_auc"]) == pytest.approx(point["val_auc"], abs=1e-6)
    assert exported_auc(folder / "best", *guarded.test) == pytest.approx(float(row["test_auc"]), abs=1e-4)
    assert float(row["test_auc"]) != float(guarded.row("full")["test_auc"])


def test_a_merged_winner_stays_first_however_much_merging_costs(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is as a kill before the shares are chosen leaves it, of trials that reported on a sample of val."""
    folder = tmp_path / "kept"
    shutil.copytree(guarded.folder, folder, symlinks=True)
    facts = summary(folder)
    winner, layer, points = facts["winner"]["trial"], guarded.row("")["trial"], facts.pop("merge")
    trained, merged = points[winner]["points"][0]["val_auc"], float(guarded.row("full")["val_auc"])
    assert merged < trained
    ranked = {winner: trained, layer: (trained + merged) / 2}
    for name in ("test", "verdict", "verdicts", "comparisons", "finished", "quantised"):
        facts.pop(name, None)
    del facts["guard"]["models"], facts["guard"]["sentences"]
    before = facts | {"finalists": [winner], "contenders": ranked, "winner": facts["winner"] | {"val_auc": trained}}
    (folder / "summary.json").write_text(json.dumps(before))
    for name in ("test.json", "leaderboard.csv", "scores.parquet"):
        (folder / name).unlink()
    ran = tune_here(capsys, "search", "--resume", "kept", "--results", tmp_path, "--report", "false")
    assert ran.code == 0, ran.err
    first, second = leaderboard(folder)[:2]
    assert (first["trial"], second["trial"]) == (winner, layer), "ranked as it was chosen"
    assert float(first["val_auc"]) == summary(folder)["winner"]["val_auc"] == pytest.approx(merged, abs=1e-6)
    assert summary(folder)["contenders"] == ranked


def test_a_changed_guard_set_is_refused_on_resume(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(guarded.folder, folder, symlinks=True)
    (folder / "test.json").unlink()
    write_wordings(tmp_path / "wordings.csv", pairs=60)
    settings = tomllib.loads((folder / "search.toml").read_text())
    settings["data"]["guard"] = [str(tmp_path / "wordings.csv")]
    (folder / "search.toml").write_text(tomli_w.dumps(settings))
    ran = tune_here(capsys, "search", "--resume", "kept", "--results", tmp_path, "--report", "false")
    assert ran.code == 2 and "guard set wordings.csv has changed since this search began" in ran.err
