"""A search on a pinned hub model: its commit, its card, and the upload through the real client to a hub on loopback."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from tests.helpers.command import TIMEOUT, Ran, leaderboard, summary, tune_here, tune_inside
from tests.helpers.hub_cache import NEW, OLD, fill_hub_cache
from tests.helpers.hub_server import HubServer, Repository, hub_server
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, write_topic_pairs
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import write_leaderboard
from tune.results.scores import read_scores

pytestmark = pytest.mark.usefixtures("warm_ray")

BASE = "someone/words@v1"
TEXT = re.compile(r"t\dw\d t\dw\d")
"""Any text of the topic pairs with two words."""
README = "---\nlicense: apache-2.0\nlanguage: [en, de]\n---\nWords.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs, and a hub's cache with two commits of a base model: v1 is the older one."""
    home = tmp_path_factory.mktemp("push")
    write_topic_pairs(home / "pairs.csv", {"train": 600, "val": 300, "test": 300})
    commits = {}
    for seed, commit in enumerate((OLD, NEW)):
        commits[commit] = save_tiny_model(home / commit, dims=24, seed=seed, words=TOPIC_WORDS)
        (commits[commit] / "README.md").write_text(README)
    fill_hub_cache(home / "hf" / "hub", "someone/words", commits, {"main": NEW, "v1": OLD})
    return home


@pytest.fixture(scope="module")
def searched(home: Path) -> Path:
    """The results folder of a search that was given a file by its full path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf" / "hub"))
        ran = tune_inside(
            "search", "--data", home / "pairs.csv", "--split-column", "side", "--base-model", BASE, "--search", "grid",
            "--dims", "8", "--loss", "cosent,cosine", "--epochs", "4", "--finalists", "1", "--jobs", "1",
            "--results", home / "results", "--name", "pinned", "--cache", home / "cache", "--report", "true",
        )  # fmt: skip
    assert ran.code == 0, ran.err
    return home / "results" / "pinned"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that this process is a client of."""
    with hub_server() as server:
        for name, value in server.environment(str(home / "client")).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield server


def test_the_commit_stands_in_summary_and_card(searched: Path, home: Path) -> None:
    base = summary(searched)["bases"][BASE]
    assert base["revision"] == OLD and {row["base_model"] for row in leaderboard(searched)} >= {BASE}
    card = ModelCard.load(searched / "best" / "README.md")
    assert f"[{BASE}](https://huggingface.co/someone/words/tree/v1), at commit `{OLD}`" in card.text
    assert card.data.base_model == "someone/words" and card.data.license == "apache-2.0"
    assert card.data.language == ["en", "de"] and card.data.library_name == "sentence-transformers"
    assert json.loads((searched / "best" / "embedtune.json").read_text())["base_revision"] == OLD


def test_the_card_has_the_scores_of_the_leaderboard(searched: Path) -> None:
    card = ModelCard.load(searched / "best" / "README.md")
    top = leaderboard(searched)[0]
    assert [(one.metric_type, one.dataset_name, one.dataset_split) for one in card.data.eval_results] == [
        ("roc_auc", "pairs.csv", "test"),
        ("accuracy", "pairs.csv", "test"),
    ]
    values = [one.metric_value for one in card.data.eval_results]
    assert values == [float(top["test_auc"]), float(top["test_accuracy"])]
    for row in leaderboard(searched):
        if row["test_auc"]:
            auc, low, high = (f"{float(row[f'test_auc{end}']):.4f}" for end in ("", "_low", "_high"))
            assert f"| {auc} [{low}, {high}] | {float(row['test_accuracy']):.4f} |" in card.text
    assert "| TF-IDF (words alone) |" in card.text and f"| {BASE}, untouched | 24 |" in card.text
    assert summary(searched)["verdicts"][0][1:] in card.text
    assert "| test pairs | 300 (" in card.text and "| loss | cosent, cosine |" in card.text
    assert "![Test ROC AUC of this model and of the untouched ones, with 95% intervals](scores.png)" in card.text
    assert (searched / "best" / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_lists_errors_of_validation_with_their_texts(searched: Path, home: Path) -> None:
    text = (searched / "report.md").read_text()
    listed = re.findall(r"^\| (.+) \| (.+) \| ([01]) \| -?\d\.\d{4} \| -?\d\.\d{4} \| (\d+) \|$", text, re.M)
    with open(home / "pairs.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(listed) > 10 and {rows[int(row)]["side"] for *_, row in listed} == {"val"}
    assert all([a, b, label] == list(rows[int(row)].values())[:3] for a, b, label, row in listed)
    scores = read_scores(ResultsFolder(searched))
    assert scores is not None
    val, top = scores.on("val"), leaderboard(searched)[0]
    wrong = (val.models[top["trial"]] >= float(top["threshold"])) != (val.label == 1)
    assert re.search(rf"Of 300 validation pairs, .* before training and {int(wrong.sum())} \(", text)


def test_the_snippet_of_the_card_runs(searched: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (searched / "best" / "README.md").read_text(), re.S)
    assert code is not None
    names: dict[str, object] = {}
    exec(code[1].replace("PATH/OF/THIS/DIRECTORY", str(searched / "best")), names)
    assert isinstance(names["belongs_together"], bool)


def test_a_trial_that_was_no_finalist_has_a_card_without_test(
    searched: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf" / "hub"))
    other = next(row["trial"] for row in leaderboard(searched) if row["rank"] == "2")
    ran = tune_here(capsys, "export", searched, "--trial", other, "--to", tmp_path / "model")
    assert ran.code == 0, ran.err
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.eval_results is None and "It was not scored on test." in card.text
    assert "beats" not in card.text and "scores.png" not in card.text


def test_a_moved_tag_is_noticed(
    searched: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = home / "hf" / "hub" / "models--someone--words" / "refs" / "v1"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf" / "hub"))
    tag.write_text(NEW)
    try:
        ran = tune_here(capsys, "export", searched, "--to", tmp_path / "model")
    finally:
        tag.write_text(OLD)
    assert ran.code == 2 and f"{BASE} has different weights now than when the search ran (commit {NEW[:7]}" in ran.err


LOAD = """
import json, sys
from sentence_transformers import SentenceTransformer
print(json.dumps(SentenceTransformer("someone/model", device="cpu").encode(["t1w1 t2w2"]).tolist()))
"""


def test_what_is_pushed_loads_from_the_hub(searched: Path, home: Path) -> None:
    with hub_server() as server:
        client = {**os.environ, **server.environment(str(home / "client")), "COLUMNS": "200"}

        def run(*command: object) -> Ran:
            done = subprocess.run(
                [sys.executable, *map(str, command)], env=client, capture_output=True, text=True, timeout=TIMEOUT
            )
            return Ran(done.returncode, done.stdout, done.stderr)

        ran = run("-m", "tune", "push", searched, "someone/model", "--private")
        assert ran.code == 0, ran.err
        assert f"uploaded to {server.address}/someone/model" in ran.out
        repository = server.repositories["someone/model"]
        assert repository.private and len(repository.commits) == 1 and "report.html" in repository.files
        loaded = run("-c", LOAD)
        assert loaded.code == 0, loaded.err
        stored = home / "stored.npy"
        np.save(stored, SentenceTransformer(str(home / OLD), device="cpu").encode(["t1w1 t2w2"]))
        blocks = re.findall(r"```python\n(.*?)```", repository.files["README.md"].decode(), re.S)
        lines = next(block for block in blocks if "adapter.safetensors" in block).replace("stored.npy", str(stored))
        mapped = run("-c", f"{lines}\nprint(vectors.tolist())")
        assert mapped.code == 0, mapped.err
    own = SentenceTransformer(str(searched / "best"), device="cpu").encode(["t1w1 t2w2"])
    for found in (loaded, mapped):
        np.testing.assert_allclose(json.loads(found.out), own, atol=1e-6)
    card = ModelCard(repository.files["README.md"].decode())
    assert 'SentenceTransformer("someone/model")' in card.text and card.data.base_model == "someone/words"
    model = {path.relative_to(searched / "best").as_posix() for path in (searched / "best").rglob("*.*")}
    assert set(repository.files) == {*model, "report.html", "report.md"}
    for name, content in repository.files.items():
        assert str(home).encode() not in content, f"{name} names a folder of this machine"
        assert name == "tokenizer.json" or not TEXT.search(content.decode(errors="replace")), f"{name} has texts"


def test_a_second_push_adds_a_commit_and_keeps_the_visibility(
    searched: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["someone/model"] = Repository(private=False, files={"notes.txt": b"mine"}, commits=["first"])
    again = tune_here(capsys, "push", searched, "someone/model")
    assert again.code == 0 and "someone/model exists (public, files: 1): this adds a commit to it" in again.out
    files = hub.repositories["someone/model"].files
    assert len(hub.repositories["someone/model"].commits) == 2 and files["notes.txt"] == b"mine" and len(files) > 5
    refused = tune_here(capsys, "push", searched, "someone/model", "--private")
    assert refused.code == 2 and "someone/model exists and is public, and --private does not change" in refused.err
    assert len(hub.repositories["someone/model"].commits) == 2


def test_reasons_of_failures_and_hidden_files_tell_nothing_about_the_machine(
    searched: Path, home: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(searched, home / "results" / "failed"))
    monkeypatch.setenv("HOME", str(home / "ann"))
    rows = leaderboard(folder)
    other = next(row for row in rows if row["rank"] == "2")
    other |= {"status": "failed", "error": f"no space for {home}/ann/.venv/é, {home}/cache/views and /tmp/ray"}
    write_leaderboard(folder / "leaderboard.csv", rows)
    (folder / "best" / ".notes").write_text("mine")
    ran = tune_here(capsys, "push", folder, "someone/failed")
    assert ran.code == 0, ran.err
    files = hub.repositories["someone/failed"].files
    assert "no space for ~/.venv/é, cache/views and /tmp/ray" in files["report.md"].decode()
    assert b"no space for ~/.venv/\\u00e9, cache/views" in files["report.html"]
    assert ".notes" not in files and not [name for name, content in files.items() if str(home).encode() in content]


@pytest.mark.parametrize(
    "case",
    [
        ("model", {}, "model has no owner; write ORG/NAME"),
        ("someone/a model", {}, "someone/a model is not a repository's name"),
        ("someone/model", {"HF_TOKEN": ""}, "no token for the hub; run hf auth login"),
        ("someone/model", {"HF_TOKEN": "hf_other"}, "the hub does not accept the token"),
        ("other/model", {}, "the token cannot write to other/model"),
        ("someone/model", {"offline": True}, "HF_HUB_OFFLINE is set"),
        ("someone/model", {"broken": 502}, "the hub answered 502: the hub is down"),
        ("someone/model", {"endpoint": "http://127.0.0.1:9"}, "the hub cannot be reached (ConnectError)"),
    ],
)
def test_a_push_that_cannot_be_is_one_line(
    searched: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, dict[str, object], str],
) -> None:
    repository, changes, reason = case
    for name, value in changes.items():
        if name == "broken":
            hub.broken = int(str(value))
        elif name == "HF_TOKEN":
            monkeypatch.setenv(name, str(value))
        else:
            constant = {"offline": "HF_HUB_OFFLINE", "endpoint": "ENDPOINT"}[name]
            monkeypatch.setattr(f"huggingface_hub.constants.{constant}", value)
    ran = tune_here(capsys, "push", searched, repository)
    assert ran.code == 2 and reason in ran.err
    assert len(ran.err.splitlines()) == 1 and "SECRET" not in ran.err + ran.out and not hub.repositories
