"""The learning rates of a search are printed before it, and warned about after it if they did not suit."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import Ran, leaderboard, summary, tune_here, tune_inside
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, write_topic_pairs
from tune.config.search import search_config
from tune.config.toml import read_toml
from tune.events import Event, Message
from tune.pipeline.rates import report_rates

pytestmark = pytest.mark.usefixtures("warm_ray")

LEARNED = """
[search]
search = "grid"
eval_pairs = 0
finalists = 1

[[space]]
base_model = ["{slow}"]
freeze = [false]
dims = ["none"]
loss = ["cosent"]
learning_rate = [1e-2, 2e-2]
scheduler = ["constantlr"]
epochs = [1]

[[space]]
base_model = ["{good}"]
freeze = [false]
dims = ["none"]
loss = ["cosent"]
learning_rate = [0.3, 0.5]
epochs = [4]
"""


def line(**axes: Any) -> str:
    """The line that is printed, or ""."""
    found: list[Event] = []
    report_rates(search_config(space=axes), found.append)
    texts = [event.text for event in found if isinstance(event, Message)]
    return texts[0] if texts else ""


def test_every_kind_is_in_the_line() -> None:
    kinds = {"freeze": "true,false", "train": "full,lora"}
    usual = "learning rate: layers 1e-4:1e-2; whole models 1e-6:1e-4; LoRA 1e-5:1e-3"
    assert line(base_model="minilm", **kinds) == line(base_model="minilm,BAAI/bge-base-en-v1.5", **kinds) == usual
    assert line(base_model="minilm,wordllama", freeze="true,false") == (
        "learning rate: layers 1e-4:1e-2; minilm whole 1e-6:1e-4; wordllama whole 1e-3:3e-2 (static vectors)"
    )
    given = {"freeze": "false", "learning_rate": "2.5e-5,1e-4,0.5"}
    assert line(base_model="minilm,wordllama", **given) == "learning rate: whole models 2.5e-5,1e-4,0.5"


def test_layers_alone_need_no_line() -> None:
    assert line(base_model="minilm,wordllama") == ""


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with topic pairs, and two static models of their words."""
    folder = tmp_path_factory.mktemp("topics")
    for seed, name in enumerate(("slow", "good")):
        save_tiny_model(folder / name, dims=32, seed=seed, words=TOPIC_WORDS)
    write_topic_pairs(folder / "topics.csv", {"train": 500, "val": 300, "test": 300})
    return folder


def search(topics: Path, folder: Path, *arguments: object) -> Ran:
    ran = tune_inside(
        "search", *arguments, "--data", topics / "topics.csv", "--split-column", "side", "--jobs", 1,
        "--results", folder, "--name", "x", "--cache", topics / "cache",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return ran


def test_a_static_base_is_searched_at_its_own_rates(
    topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = topics / "good"
    options = (
        "--base-model", base, "--freeze", "true,false", "--search", "random", "--trials", 4, "--dims", 16,
        "--loss", "cosent",
    )  # fmt: skip
    said = f"learning rate: layers 1e-4:1e-2; {base} whole 1e-3:3e-2 (static vectors)\n"
    assert said in search(topics, tmp_path, *options).out
    again = tmp_path / "x" / "search.toml"
    assert [table["learning_rate"] for table in read_toml(again)["space"]] == ["0.0001:0.01", "0.001:0.03"]
    dry = tune_here(capsys, "search", again, "--dry-run", "--results", tmp_path)
    assert dry.code == 0 and said in dry.out
    assert {row["freeze"] for row in leaderboard(tmp_path / "x") if row["rank"]} == {"true", "false"}


def test_a_search_warns_of_rates_that_were_too_low_and_of_nothing_else(topics: Path, tmp_path: Path) -> None:
    (tmp_path / "search.toml").write_text(LEARNED.format(slow=topics / "slow", good=topics / "good"))
    ran = search(topics, tmp_path, tmp_path / "search.toml")
    [warning] = summary(tmp_path / "x")["warnings"]
    assert warning == (
        f"every trial that trained {topics / 'slow'} whole was still improving at its last report: "
        "try more epochs or higher learning rates"
    )
    assert f"Warning: {warning}.\n" in ran.out
