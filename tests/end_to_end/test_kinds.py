"""A layer on a frozen base, the whole base, LoRA, Matryoshka and folds in searches as a user runs them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.helpers import tensorboard_runs
from tests.helpers.command import Ran, leaderboard, summary, tune_inside, untouched
from tests.helpers.exported import exported_auc
from tests.helpers.kept_scores import Pair, checked_scores
from tests.helpers.tiny import save_tiny_bert, write_topic_pairs
from tune.data.demo import demo_pairs
from tune.export.trial import export
from tune.results.layout import ResultsFolder

pytestmark = pytest.mark.usefixtures("warm_ray")

SPACES = """
[search]
search = "grid"
finalists = 1

[data]
split_column = "side"

[[space]]
base_model = ["{base}"]
dims = [4, 16]
matryoshka = [true]
loss = ["cosent"]
learning_rate = [1e-2]
batch_size = [16]
epochs = [4]

[[space]]
base_model = ["{base}"]
freeze = [false]
train = ["full", "lora"]
lora_rank = [4]
dims = ["none", 8]
loss = ["cosent"]
learning_rate = [3e-3]
epochs = [3]
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 pairs to train on, 400 for either of the others, as a csv with its own split."""
    path = tmp_path_factory.mktemp("pairs") / "topics.csv"
    return write_topic_pairs(path, {"train": 700, "val": 400, "test": 400})


def of_side(pairs: Path, side: str) -> tuple[list[str], list[str], list[int]]:
    with open(pairs, newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["side"] == side]
    return [row["text1"] for row in rows], [row["text2"] for row in rows], [int(row["label"]) for row in rows]


def all_of(pairs: Path) -> list[Pair]:
    with open(pairs, newline="") as handle:
        return [(row["text1"], row["text2"], int(row["label"])) for row in csv.DictReader(handle)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> tuple[Ran, Path]:
    """A grid of a Matryoshka layer, whole models and LoRA, on a BERT of two layers."""
    folder = tmp_path_factory.mktemp("kinds")
    base = save_tiny_bert(folder / "bert")
    (folder / "search.toml").write_text(SPACES.format(base=base))
    options = ("--data", pairs, "--jobs", 2, "--results", folder, "--name", "mixed", "--cache", folder / "cache")
    return tune_inside("search", folder / "search.toml", *options), folder / "mixed"


def test_every_kind_is_in_one_leaderboard(mixed: tuple[Ran, Path]) -> None:
    ran, folder = mixed
    assert ran.code == 0, ran.err
    assert ran.err == "" and "grid: 5 trials" in ran.out
    trials = [row for row in leaderboard(folder) if row["rank"]]
    kinds = {(row["freeze"], row["train"], row["dims"], row["lora_rank"], row["matryoshka"]) for row in trials}
    assert kinds == {
        ("true", "", "4", "", "4,16"), ("true", "", "16", "", "4,16"),
        ("false", "full", "32", "", ""), ("false", "full", "8", "", ""),
        ("false", "lora", "32", "4", ""), ("false", "lora", "8", "4", ""),
    }  # fmt: skip
    # One rank for both rows of the Matryoshka trial; all are finalists, since each is the best of its cell.
    assert sorted(int(row["rank"]) for row in trials) in [sorted([*range(1, 6), n]) for n in range(1, 6)]
    assert all(float(row["test_auc_low"]) < float(row["test_auc"]) < float(row["test_auc_high"]) for row in trials)
    assert {row["val_pairs"] for row in trials} == {"400"}, "finalists are judged on all of val, whatever was reported"
    logs = tensorboard_runs.runs(folder)
    for row in trials:
        reports = (folder / "trials" / row["trial"] / "reports.jsonl").read_text().splitlines()
        # Three epochs of 700 pairs can afford three looks at all 400 pairs of val.
        looked = 0 if row["freeze"] == "true" else 400
        assert [json.loads(report)["val_pairs"] for report in reports] == [looked] * (3 if looked else 16)
        events = logs[row["trial"]]
        steps = [1, 4, 16] if looked else list(range(1, 17))
        assert list(tensorboard_runs.scalars(events, "val/auc")) == steps, "curves share an axis"
        of_kind = {"val/pairs"} if looked else {"val/auc_by_dims/4", "val/auc_by_dims/16"}
        assert set(events.Tags()["scalars"]) == {*tensorboard_runs.EVERY_REPORT, "train/step", *of_kind}
        assert "val/precision_recall" in events.Tags()["tensors"]
    assert float(trials[0]["test_auc"]) > 0.8


def test_the_scores_of_single_pairs_are_kept(mixed: tuple[Ran, Path], pairs: Path) -> None:
    scores = checked_scores(mixed[1], all_of(pairs))
    assert (len(scores.on("val").row), len(scores.on("test").row)) == (400, 400)


def test_differences_are_in_the_leaderboard_and_corrected_for_their_number(mixed: tuple[Ran, Path]) -> None:
    _, folder = mixed
    facts = summary(folder)
    assert facts["winner"]["trial"] == next(row["trial"] for row in leaderboard(folder) if row["rank"] == "1")
    entries = facts["comparisons"]
    assert [entry["kind"] for entry in entries] == ["own"] * 6 + ["frozen"] * 2
    assert all(entry["p"] <= entry["p_holm"] <= 1 for entry in entries)
    # The winner at its first dims against its base, and against the best trial of the other kind, if it is in it.
    winner = facts["verdict"]["a"]
    primary = [entry for entry in entries if entry["family"] == "primary"]
    assert primary == [entry for entry in entries if winner in (entry["a"], entry["b"])]
    assert primary[0] == facts["verdict"] and {entry["kind"] for entry in primary} == {"own", "frozen"}
    assert {entry["family"] for entry in entries} == {"primary", "exploratory"}
    assert max(entry["p_holm"] / entry["p"] for entry in primary if entry["p_holm"] < 1) <= len(primary)
    assert facts["correction"] == f"p-values of the {len(primary)} primary comparisons are Holm-corrected"
    assert all(entry["p_holm"] < 0.05 for entry in entries if entry["outcome"] in ("beats", "behind"))
    rows = {(row["trial"], row["dims"]): row for row in leaderboard(folder) if row["rank"]}
    base = float(untouched(folder)[0]["test_auc"])
    for row in rows.values():
        assert float(row["over_base"]) == pytest.approx(float(row["test_auc"]) - base)
        assert float(row["over_base_low"]) <= float(row["over_base"]) <= float(row["over_base_high"])
    over = [row for row in rows.values() if row["over_frozen"]]
    assert {(row["freeze"], row["train"]) for row in over} == {("false", "full"), ("false", "lora")}
    frozen = next(float(row["test_auc"]) for row in rows.values() if row["dims"] == "4")
    assert all(float(row["over_frozen"]) == pytest.approx(float(row["test_auc"]) - frozen, abs=1e-9) for row in over)


def test_every_kind_scores_when_exported_what_was_reported(
    mixed: tuple[Ran, Path], pairs: Path, tmp_path: Path
) -> None:
    _, folder = mixed
    rows, test = [row for row in leaderboard(folder) if row["rank"]], of_side(pairs, "test")
    for row in rows:
        to = tmp_path / row["trial"]
        if not to.exists():
            export(ResultsFolder(folder), row["trial"], to)
        dims = int(row["dims"]) if row["matryoshka"] else None
        assert exported_auc(to, *test, dims) == pytest.approx(float(row["test_auc"]), abs=1e-4), row
    lora = next(row for row in rows if row["train"] == "lora")
    assert "lora" not in (tmp_path / lora["trial"] / "modules.json").read_text()
    assert "LoRA (merged)" in (tmp_path / lora["trial"] / "README.md").read_text()
    layered = next(row["trial"] for row in rows if row["matryoshka"])
    assert "truncate_dim=4" in (tmp_path / layered / "README.md").read_text()
    about = json.loads((tmp_path / layered / "embedtune.json").read_text())
    assert set(about["by_dims"]) == {"4", "16"} and about["threshold"] == about["by_dims"]["16"]["threshold"]


def test_folds_are_averaged_and_the_winner_is_refitted(pairs: Path, tmp_path: Path) -> None:
    ran = tune_inside(
        "search", "--search", "grid", "--folds", 3, "--base-model", "wordllama", "--dims", "16,32", "--loss", "cosent",
        "--learning-rate", "3e-3", "--epochs", 2, "--jobs", 2, "--finalists", 1, "--results", tmp_path,
        "--cache", tmp_path / "cache", "--name", "folds",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    folder = tmp_path / "folds"
    trials = [row for row in leaderboard(folder) if row["rank"]]
    counts = summary(folder)["data"]["split"]
    for row in trials:
        lines = (folder / "trials" / row["trial"] / "reports.jsonl").read_text().splitlines()
        reports = [json.loads(line) for line in lines]
        best = max(reports, key=lambda report: report["auc"])
        assert float(row["val_auc"]) == pytest.approx(np.mean(best["fold_aucs"])) and len(best["fold_aucs"]) == 3
        assert float(row["val_auc_std"]) == pytest.approx(np.std(best["fold_aucs"], ddof=1)) and row["folds"] == "3"
        refits = list((folder / "trials" / row["trial"]).glob("refit-*.safetensors"))
        assert len(refits) == bool(row["test_auc"])
    [base] = untouched(folder)
    scored = counts["rows"]["train"] + counts["rows"]["val"]
    assert {row["val_pairs"] for row in (base, *trials)} == {str(scored)}, "all are scored on the same pairs"
    assert float(base["val_auc_std"]) > 0
    assert "quantised" not in summary(folder), "there is no single validation side to choose a precision by"
    kept = checked_scores(folder, demo_pairs()).on("folds")
    assert len(kept.row) == scored
    pooled = roc_auc_score(kept.label, kept.models["baseline:wordllama"])
    assert pooled == pytest.approx(float(base["val_auc"]), abs=0.02), "val_auc is the mean over the folds"
    about = json.loads((folder / "best" / "embedtune.json").read_text())
    assert about["threshold"] == pytest.approx(float(trials[0]["threshold"]))
    assert about["test"]["auc"] == float(trials[0]["test_auc"]) > 0.7, counts
    refused = tune_inside("search", "--folds", 3, "--freeze", "true,false", "--results", tmp_path)
    assert refused.code == 2 and "--folds" in refused.err and "Traceback" not in refused.err
