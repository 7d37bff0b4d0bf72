"""Pinned base models, NAME@REVISION: the right weights, names in tables, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.bases import save_adapted, save_own_code
from tests.helpers.hub_cache import NEW, OLD, fill_hub_cache
from tests.helpers.hub_server import Repository, hub_server
from tests.helpers.tiny import save_tiny_bert, save_tiny_model
from tune.config.pins import split_pin
from tune.embed.base_models import check_source
from tune.embed.model_files import cached_commit
from tune.embed.sources import load_open
from tune.errors import ModelError
from tune.results.naming import short_name

NAME = "someone/words"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with two commits of one model: main is the new one, the tag v1 and a branch are the old one."""
    models = {commit: save_tiny_model(tmp_path / commit, dims=8, seed=seed) for seed, commit in enumerate((OLD, NEW))}
    fill_hub_cache(tmp_path / "hub", NAME, models, {"main": NEW, "v1": OLD, "feature/x": OLD})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "commit"),
    [(NAME, NEW), (f"{NAME}@main", NEW), (f"{NAME}@v1", OLD), (f"{NAME}@feature/x", OLD), (f"{NAME}@{OLD}", OLD)],
)
def test_a_pin_chooses_the_weights(hub: Path, name: str, commit: str) -> None:
    check_source(name)
    source = load_open(name)
    assert source.weights == load_open(str(hub / commit)).weights
    assert cached_commit(name) == commit


LOAD = """
import json, sys
from tune.embed.sources import load_open
found = {}
for name in json.loads(sys.argv[1]):
    source = load_open(name, trust_remote_code=True)
    found[name] = [source.fingerprint, source.embed(["t1w1 t2w2"])[0].tolist(), source.remarks(("", ""))]
print(json.dumps(found))
"""


def test_code_and_adapters_are_of_the_pinned_commit(tmp_path: Path) -> None:
    """In a process of its own: transformers reads the place of the cache when it is imported."""
    old = save_own_code(tmp_path / "own")
    new = shutil.copytree(old, tmp_path / "new")
    code = new / "modeling_own.py"
    code.write_text(code.read_text().replace("self.words(input_ids)", "-self.words(input_ids)"))
    base = save_tiny_bert(tmp_path)
    adapter = save_adapted(tmp_path / "adapter", base)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "someone/base"}))
    hub = tmp_path / "home" / "hub"
    fill_hub_cache(hub, "someone/own", {OLD: old, NEW: new}, {"main": NEW})
    fill_hub_cache(hub, "someone/base", {NEW: base}, {"main": NEW})
    fill_hub_cache(hub, "someone/adapter", {OLD: adapter}, {"main": OLD})
    names = ["someone/own", f"someone/own@{OLD}", f"someone/adapter@{OLD}", str(tmp_path / "adapter")]
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(names)],
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    newest, pinned, adapted, folder = json.loads(ran.stdout.splitlines()[-1]).values()
    assert pinned[1] == [-value for value in newest[1]] and pinned[0] != newest[0]
    assert adapted[1] == folder[1] and adapted[2] == folder[2] and "adapter is merged" in adapted[2][0]


def test_two_pins_of_one_commit_share_the_embedded_texts(hub: Path) -> None:
    newest, pinned, old = (load_open(name).fingerprint for name in (NAME, f"{NAME}@{NEW}", f"{NAME}@v1"))
    assert newest == pinned != old and pinned.startswith("words-")


def test_a_folder_with_an_at_sign_is_a_folder(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hub)
    (hub / OLD).rename(hub / "words@v2")
    for name in ("words@v2", "./words@v2", str(hub / "words@v2")):
        check_source(name)
        assert load_open(name).dims == 8 and cached_commit(name) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{NAME}@v9", f"base model {NAME}@v9 is not in the local hub cache and the hub cannot be reached"),
        (f"{NAME}@", f"base model {NAME}@: no revision after @"),
        ("minilm@v1", "base model minilm@v1: minilm comes as a package, which has no revisions; leave out @v1"),
        ("./gone@v1", "base model ./gone@v1: no such folder"),
    ],
)
def test_what_cannot_be_pinned_is_refused(hub: Path, name: str, reason: str) -> None:
    with pytest.raises(ModelError) as refused:
        check_source(name)
    assert str(refused.value).startswith(reason)


def test_a_revision_that_the_hub_lacks_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as server:
        server.repositories["someone/other"] = Repository(private=False)
        for variable, value in server.environment(str(hub / "client")).items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        check_source("someone/other@main")
        with pytest.raises(ModelError, match="the hub has someone/other, but no revision v9; give a commit, tag or"):
            check_source("someone/other@v9")


@pytest.mark.parametrize(
    ("name", "plain", "short"),
    [
        (f"BAAI/bge-base-en-v1.5@{OLD}", "BAAI/bge-base-en-v1.5", "bge-base-en-v1.5@aaaaaaa"),
        ("all-MiniLM-L6-v2@refs/pr/3", "all-MiniLM-L6-v2", "all-MiniLM-L6-v2@refs/pr/3"),
        ("openai:text-embedding-3-small@512", "openai:text-embedding-3-small@512", "openai:text-embedding-3-small@512"),
        ("/models/words@v2", "/models/words@v2", "words@v2"),
        ("BAAI/bge-base-en-v1.5", "BAAI/bge-base-en-v1.5", "bge-base-en-v1.5"),
    ],
)
def test_names_are_split_and_shown(name: str, plain: str, short: str) -> None:
    assert split_pin(name)[0] == plain and short_name(name) == short
