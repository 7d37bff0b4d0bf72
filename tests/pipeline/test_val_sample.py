"""Trials of every kind and length are compared on the same validation pairs, and the contenders on all of them."""

import json
from pathlib import Path

import pytest

from tests.helpers.command import leaderboard, summary, tune_inside
from tests.helpers.tiny import save_tiny_bert, write_topic_pairs
from tune.config.search import search_config
from tune.pipeline.val_sample import LEAST_PAIRS, MOST_PAIRS, sample_size

pytestmark = pytest.mark.usefixtures("warm_ray")

VAL = 400


@pytest.mark.parametrize(
    ("axes", "options", "size"),
    [
        ({"base_model": "minilm"}, {}, 0),
        ({"base_model": "minilm"}, {"eval_pairs": 50}, 0),
        ({"base_model": "wordllama", "freeze": "true,false"}, {}, 0),
        ({"base_model": "minilm,wordllama", "freeze": "true,false"}, {}, 2633),
        ({"base_model": "minilm", "freeze": "false", "train_size": "300,2000", "epochs": "1,2"}, {}, LEAST_PAIRS),
        ({"base_model": "minilm", "freeze": "false", "epochs": "1,2"}, {}, 2633),
        ({"base_model": "minilm", "freeze": "false", "epochs": "50"}, {}, MOST_PAIRS),
        ({"base_model": "minilm", "freeze": "false"}, {"eval_pairs": 50}, 50),
        ({"base_model": "minilm", "freeze": "false"}, {"eval_pairs": 0}, 0),
    ],
)
def test_the_size_follows_from_what_the_longest_trial_can_afford(
    axes: dict[str, str], options: dict[str, int], size: int
) -> None:
    config = search_config({"search": "grid", **options}, space={"learning_rate": "1e-3", **axes})
    assert sample_size(config, train_pairs=47_000, val_pairs=5_000) == size


def test_a_search_over_frozen_and_whole_trials(tmp_path: Path) -> None:
    base = save_tiny_bert(tmp_path / "bert")
    write_topic_pairs(tmp_path / "topics.csv", {"train": 500, "val": VAL, "test": 400})
    ran = tune_inside(
        "search", "--data", tmp_path / "topics.csv", "--split-column", "side", "--base-model", base,
        "--freeze", "true,false", "--search", "grid", "--dims", 8, "--loss", "cosent,cosine",
        "--learning-rate", 3e-3, "--epochs", 2, "--eval-pairs", 150, "--finalists", 1, "--jobs", 1,
        "--results", tmp_path, "--cache", tmp_path / "cache", "--name", "both",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert f"trials are compared on the same 150 of {VAL} pairs" in ran.out
    assert "contenders on all of validation" in ran.out
    folder = tmp_path / "both"
    configs = [json.loads(path.read_text()) for path in folder.glob("trials/*/trial.json")]
    assert len(configs) == 4 and len({config["val_sample"] for config in configs}) == 1
    for path in folder.glob("trials/*/reports.jsonl"):
        reports = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(reports) == 16 and {report["val_pairs"] for report in reports} == {150}
    rows = [row for row in leaderboard(folder) if row["rank"]]
    counts = [int(row["val_pairs"]) for row in rows]
    assert counts == sorted(counts, reverse=True) and counts[0] == VAL
    judged = [float(row["val_auc"]) for row in rows if row["val_pairs"] == str(VAL)]
    assert judged == sorted(judged, reverse=True)
    facts = summary(folder)
    assert facts["winner"]["trial"] == rows[0]["trial"] and facts["winner"]["val_auc"] == judged[0]
    assert facts["contenders"][rows[0]["trial"]] == judged[0]
