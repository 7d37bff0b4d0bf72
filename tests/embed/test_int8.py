"""--precision int8: trials read OpenVINO's int8 vectors of a frozen transformer, and test is what the export gives."""

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from tests.helpers.command import Ran, environment, leaderboard, tune_here, tune_inside
from tests.helpers.exported import exported_auc
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, write_topic_pairs
from tune.embed.int8 import Int8Source
from tune.embed.sources import load_open
from tune.errors import ModelError
from tune.events import Event, Message

pytestmark = pytest.mark.usefixtures("warm_ray")

TEXTS = [" ".join(TOPIC_WORDS[place : place + 1 + place * 7 % 23]) for place in range(40)]


@dataclass(frozen=True)
class Searched:
    """first, again: the same search twice, with one cache."""

    base: Path
    pairs: Path
    folder: Path
    first: Ran
    again: Ran


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, warm_ray: None) -> Searched:
    folder = tmp_path_factory.mktemp("int8")
    base = save_tiny_bert(folder / "bert")
    pairs = write_topic_pairs(folder / "topics.csv", {"train": 300, "val": 280, "test": 280})

    def search(name: str) -> Ran:
        return tune_inside(
            "search", "--data", pairs, "--split-column", "side", "--base-model", base, "--precision", "int8",
            "--search", "random", "--trials", 2, "--jobs", 1, "--loss", "cosent", "--dims", 16, "--epochs", 1,
            "--cache", folder / "cache", "--results", folder, "--name", name,
        )  # fmt: skip

    return Searched(base, pairs, folder, search("a"), search("b"))


def test_a_search_converts_once_and_is_the_same_again(searched: Searched) -> None:
    first, again = searched.first, searched.again
    assert first.code == again.code == 0, first.err + again.err
    assert "converting to int8" in first.out and "int8 vectors of 64 texts have a mean cosine of 0.99" in first.out
    assert "converting" not in again.out and "all embedded before" in again.out
    found = [
        [(row["trial"], row["val_auc"], row["test_auc"], row["note"]) for row in leaderboard(searched.folder / name)]
        for name in "ab"
    ]
    assert found[0] == found[1]
    assert any("embedded in int8" in note for *_, note in found[0])
    assert len(list((searched.folder / "cache" / "int8").iterdir())) == 1


def test_a_model_converted_again_gives_the_same_vectors(searched: Searched, tmp_path: Path) -> None:
    exact = load_open(str(searched.base))
    found = [Int8Source(exact, cache).embed(TEXTS) for cache in (tmp_path, searched.folder / "cache")]
    assert np.array_equal(found[0], found[1])


def test_test_is_scored_by_the_exported_model(searched: Searched) -> None:
    with open(searched.pairs, newline="") as handle:
        test = [row for row in csv.DictReader(handle) if row["side"] == "test"]
    text_a, text_b = ([row[name] for row in test] for name in ("text1", "text2"))
    auc = exported_auc(searched.folder / "a" / "best", text_a, text_b, [int(row["label"]) for row in test])
    assert auc == pytest.approx(float(leaderboard(searched.folder / "a")[0]["test_auc"]), abs=1e-4)


@pytest.mark.parametrize("prompt", ["", TOPIC_WORDS[3] + " "])
def test_vectors_are_near_those_of_fp32_and_independent_of_the_batch(searched: Searched, prompt: str) -> None:
    exact, said = load_open(str(searched.base)), list[Event]()
    found = Int8Source(exact, searched.folder / "cache", said.append).embed(TEXTS, prompt)
    expected = exact.embed(TEXTS, prompt)
    lengths = [np.linalg.norm(vectors, axis=1) for vectors in (found, expected)]
    cosines = (found * expected).sum(axis=1) / lengths[0] / lengths[1]
    assert cosines.mean() > 0.99 and cosines.min() > 0.95
    assert np.abs(lengths[0] / lengths[1] - 1).mean() < 0.05, "layers are trained on vectors of these lengths"
    source = Int8Source(exact, searched.folder / "cache")
    assert np.array_equal(np.concatenate([source.embed([text], prompt) for text in TEXTS]), found)
    assert not [event for event in said if isinstance(event, Message) and "converting" in event.text]


def test_a_model_that_is_no_graph_is_refused(searched: Searched, tmp_path: Path) -> None:
    pooling = Pooling(32, include_prompt=False)
    model = SentenceTransformer(modules=[Transformer(str(searched.base.parent / "bert")), pooling], device="cpu")
    model.save(str(tmp_path / "model"), create_model_card=False)
    source = Int8Source(load_open(str(tmp_path / "model")), tmp_path)
    with pytest.raises(
        ModelError, match=r"cannot be embedded in int8: its pooling leaves out .*; use --precision fp32"
    ):
        source.embed(TEXTS, "query: ")
    assert not (tmp_path / "int8").exists()


def test_a_damaged_graph_is_named(searched: Searched, tmp_path: Path) -> None:
    source = Int8Source(load_open(str(searched.base)), tmp_path)
    (tmp_path / "int8" / source.fingerprint).mkdir(parents=True)
    with pytest.raises(ModelError, match="delete it to convert the model again"):
        source.embed(TEXTS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--base-model", "minilm", "--freeze", "false"), "int8 is for layers on frozen base models"),
        (("--base-model", "minilm", "--freeze", "true,false"), "int8 is for layers on frozen base models"),
        (("--base-model", "minilm,wordllama"), "int8 is for transformers, and wordllama looks up static vectors"),
    ],
)
def test_what_int8_cannot_do_is_refused_in_a_line(
    options: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = tune_here(capsys, "search", *options, "--precision", "int8", "--results", tmp_path, "--cache", tmp_path)
    assert ran.code == 2 and ran.err.count("\n") == 1 and reason in ran.err
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_names_the_command(tmp_path: Path) -> None:
    hidden = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name in ('openvino', 'nncf') else find(name, *more)\n"
        "from tune.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    options = ("search", "--base-model", "minilm", "--precision", "int8", "--results", tmp_path, "--cache", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", hidden, *map(str, options)],
        capture_output=True, text=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "openvino and nncf are not installed; run pip install 'embedtune[openvino]'" in done.stderr
    assert not list(tmp_path.iterdir())
