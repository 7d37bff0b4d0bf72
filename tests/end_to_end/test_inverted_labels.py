"""Labels that run the other way are reported in place of praise: by search, baselines and score."""

import json
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.helpers.command import summary, tune_here, tune_inside
from tests.helpers.tiny import TOPIC_WORDS, write_topic_pairs

pytestmark = pytest.mark.usefixtures("warm_ray")

SIDES = {"train": 160, "val": 260, "test": 260}


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Topic pairs with 0 for the same topic."""
    return write_topic_pairs(tmp_path_factory.mktemp("pairs") / "inverted.csv", SIDES, inverted=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model that knows the topics: a word's vector is its topic's, with noise."""
    generator = torch.Generator().manual_seed(0)
    topics = torch.randn(10, 16, generator=generator)
    own = torch.stack([topics[int(word[1 : word.index("w")])] for word in TOPIC_WORDS])
    weights = torch.cat([torch.zeros(1, 16), own + 0.8 * torch.randn(own.shape, generator=generator)])
    words = {"[UNK]": 0, **{word: i for i, word in enumerate(TOPIC_WORDS, 1)}}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    path = tmp_path_factory.mktemp("base") / "topics"
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    model.save(str(path), create_model_card=False)
    return path


def test_search_warns_before_trials_and_gives_no_praise(inverted: Path, base: Path, tmp_path: Path) -> None:
    ran = tune_inside(
        "search", "--data", inverted, "--split-column", "side", "--base-model", base, "--search", "random",
        "--trials", 1, "--dims", 16, "--loss", "cosine", "--epochs", 4, "--learning-rate", "1e-2", "--jobs", 1,
        "--results", tmp_path, "--name", "r", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.out.index("Warning: the labels look inverted") < ran.out.index("search: 1 trials")
    assert "Verdict: The labels look inverted" in ran.out and "--positive-label 0" in ran.out
    assert "beats" not in ran.out
    found = summary(tmp_path / "r")
    assert found["inverted"]["bases"][str(base)]["high"] < 0.5
    assert found["verdict"]["outcome"] == "unknown" and "look inverted" in found["verdict"]["sentence"]
    assert "labels look inverted" in (tmp_path / "r" / "best" / "README.md").read_text()


def test_score_and_baselines_warn_until_told(
    inverted: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", inverted, "--split-column", "side", "--cache", tmp_path / "cache")
    plain = tune_here(capsys, "score", base, *options)
    assert plain.code == 0 and "Warning: The labels look inverted" in plain.out
    assert "look inverted" in json.loads(tune_here(capsys, "score", base, *options, "--json").out)["inverted"]

    right = json.loads(tune_here(capsys, "score", base, *options, "--json", "--positive-label", 0).out)
    wrong = json.loads(tune_here(capsys, "score", base, *options, "--json", "--positive-label", 1).out)
    assert "inverted" not in right and right["auc"] == pytest.approx(1 - wrong["auc"]) and right["auc"] > 0.8
    assert wrong["inverted"].startswith("labels follow what --positive-label says, but this model ranks")

    found = tune_here(capsys, "baselines", "--base-model", base, *options, "--results", tmp_path, "--name", "b")
    assert found.code == 0 and found.out.count("labels look inverted") >= 1
    assert "look inverted" in summary(tmp_path / "b")["inverted"]["sentence"]
