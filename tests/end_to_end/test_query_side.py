"""A search over both sides and the query side alone, on an open and a closed base model, as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import leaderboard, tune_here
from tests.helpers.embed_server import KEYS, EmbedServer
from tests.helpers.tiny import write_some_pairs
from tune.embed.adapted import AdaptedEmbedder
from tune.embed.closed import ClosedOptions
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder

pytestmark = pytest.mark.usefixtures("warm_ray")

CLOSED = "openai:text-embedding-3-small@64"
SIZES = {"train": 700, "val": 260, "test": 260}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("query")


@pytest.fixture(scope="module")
def pairs(root: Path) -> Path:
    return write_some_pairs(root / "some.csv", SIZES)


@pytest.fixture(scope="module")
def keys() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, key in KEYS.items():
            patch.setenv(name, key)
        yield


@pytest.mark.timeout(600)
def test_one_search_over_both_sides(
    one_server: EmbedServer, keys: None, root: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_server.reset()
    places = ("--data", pairs, "--split-column", "side", "--results", root / "results", "--cache", root / "cache")
    space = ("--base-model", f"wordllama,{CLOSED}", "--side", "both,query", "--dims", 32, "--loss", "cosent")
    rest = ("--search", "grid", "--epochs", 2, "--name", "sides", "--jobs", 1, "--base-url", one_server.openai_url)
    ran = tune_here(capsys, "search", *places, *space, *rest)
    assert ran.code == 0, ran.err
    folder = root / "results" / "sides"
    rows = {(row["base_model"], row["side"]): row for row in leaderboard(folder) if row["rank"]}
    assert set(rows) == {(name, side) for name in ("wordllama", CLOSED) for side in ("both", "query")}
    assert {key: (row["dims"], row["bias"]) for key, row in rows.items()} == {
        ("wordllama", "both"): ("32", "false"), ("wordllama", "query"): ("256", "false"),
        (CLOSED, "both"): ("32", "false"), (CLOSED, "query"): ("64", "false"),
    }  # fmt: skip
    assert "query layer" in ran.out and "side     " in ran.out
    assert "query layer" in Report.of([read_story(ResultsFolder(folder))]).markdown()
    quantised = json.loads((folder / "test.json").read_text())
    assert not quantised.get("quantised_note"), "vectors of both kinds were quantised"

    bought_once = one_server.book.sold.total()
    for name in ("wordllama", CLOSED):
        row, to = rows[name, "query"], root / f"model-{name.partition(':')[0]}"
        assert tune_here(capsys, "export", folder, "--trial", row["trial"], "--to", to).code == 0
        given = ("--data", pairs, "--split-column", "side", "--side", "test", "--cache", root / "cache")
        server = () if name == "wordllama" else ("--base-url", one_server.openai_url)
        scored = tune_here(capsys, "score", to, *given, *server)
        assert scored.code == 0, scored.err
        figures = dict(line.split(maxsplit=1) for line in scored.out.splitlines() if line[:1].islower())
        assert float(figures["auc"]) == pytest.approx(float(row["test_auc"]), abs=1e-4)
    assert one_server.book.sold.total() == bought_once, "to score, no text is bought again"

    loaded = AdaptedEmbedder.load(root / "model-openai", ClosedOptions(base_url=one_server.openai_url, max_retries=0))
    texts = ["how do I reset it", "blue cheese"]
    bought = loaded.source.embed(texts, "")
    stored = bought / np.linalg.norm(bought, axis=1, keepdims=True)
    assert np.allclose(loaded.encode(texts, side="b"), stored, atol=1e-6)
    assert not np.allclose(loaded.encode(texts), stored, atol=1e-2)
    closed = json.loads((root / "model-openai" / "embedtune.json").read_text())["closed"]
    assert (closed["side"], closed["dims"], closed["dims_in"]) == ("query", 64, 64)
    assert 'encode(..., side="b")' in (root / "model-openai" / "README.md").read_text()
