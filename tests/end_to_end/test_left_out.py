"""Texts that a closed model has no vector for: their pairs are left out for all base models, and counted. Texts of
which a server takes only the beginning: they are counted by every run, or refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import leaderboard, summary
from tests.helpers.embed_server import OWN_MODEL, EmbedServer
from tests.helpers.kept_scores import checked_scores
from tests.helpers.tiny import write_some_pairs
from tune.cli.main import main
from tune.embed.view import View

OPENAI = "openai:text-embedding-3-small"
SIZES = {"train": 700, "val": 260, "test": 260}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_some_pairs(tmp_path_factory.mktemp("pairs") / "some.csv", SIZES)


def rows_of(pairs: Path) -> list[dict[str, str]]:
    with open(pairs, newline="") as handle:
        return list(csv.DictReader(handle))


def some_texts(pairs: Path, many: int) -> set[str]:
    """The first texts of as many pairs, from every side."""
    rows = rows_of(pairs)
    return {row["text1"] for row in rows[:: len(rows) // many][:many]}


def left_out(pairs: Path, gone: set[str]) -> dict[str, int]:
    rows = [row for row in rows_of(pairs) if gone & {row["text1"], row["text2"]}]
    return {side: sum(row["side"] == side for row in rows) for side in SIZES}


def arguments(server: EmbedServer, pairs: Path, root: Path, *more: str) -> list[str]:
    data = ["--data", str(pairs), "--split-column", "side", "--cache", str(root / "cache")]
    return [*data, "--base-url", server.openai_url, *more]


def test_their_pairs_are_left_out_for_all_base_models(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.zero = some_texts(pairs, 9)
    gone = left_out(pairs, server.zero)
    assert all(gone.values()) and sum(gone.values()) < 40
    of = arguments(server, pairs, tmp_path, "--base-model", f"wordllama,{OPENAI}", "--results", str(tmp_path))
    assert main(["baselines", *of, "--name", "one"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    begins = f"base model {OPENAI}: vectors of zeros for {len(server.zero)} texts (the first begins "
    assert any(f"{begins}{text[:40]!r}" in said for text in server.zero)
    counted = ", ".join(f"{side} {gone[side]} of {SIZES[side]}" for side in SIZES)
    assert f"pairs left out, for all base models: {counted}" in said
    facts = summary(tmp_path / "one")
    assert facts["data"]["left_out"] == {"texts": len(server.zero), "pairs": gone}
    assert facts["test"]["pairs"] == SIZES["test"] - gone["test"]
    assert not [text for text in server.zero if text in json.dumps(facts)], "no texts in the results"
    views = [View.open(tmp_path / "cache" / "views" / base["digest"]) for base in facts["bases"].values()]
    for view in views:
        assert (len(view.train), len(view.val)) == (SIZES["train"] - gone["train"], SIZES["val"] - gone["val"])
        assert view.vectors.any(axis=1).all() and np.array_equal(view.val.label, views[0].val.label)
    assert {row["val_pairs"] for row in leaderboard(tmp_path / "one")} == {str(SIZES["val"] - gone["val"])}
    every = [(row["text1"], row["text2"], int(row["label"])) for row in rows_of(pairs)]
    kept = checked_scores(tmp_path / "one", every, server.zero)
    assert {side: len(kept.on(side).row) for side in ("val", "test")} == {
        side: SIZES[side] - gone[side] for side in ("val", "test")
    }
    # A vector of zeros was paid for too: nothing is bought again, and the pairs stay left out.
    sold = server.book.sold.total()
    assert main(["baselines", *of, "--name", "two"]) == 0
    assert server.book.sold.total() == sold and max(server.book.sold.values()) == 1
    assert summary(tmp_path / "two")["data"] == facts["data"]


def test_a_score_counts_them(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.zero = some_texts(pairs, 9)
    gone = left_out(pairs, server.zero)
    assert main(["score", OPENAI, *arguments(server, pairs, tmp_path, "--side", "test", "--json")]) == 0
    captured = capsys.readouterr()
    scored = json.loads(captured.out)
    assert scored["rows"]["no_vector"] == gone["test"] and scored["n"] == SIZES["test"] - gone["test"]
    assert f"{gone['test']} of {SIZES['test']} pairs are left out" in captured.err
    server.zero = set()
    assert main(["score", OPENAI, *arguments(server, pairs, tmp_path / "b", "--side", "test", "--json")]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert "no_vector" not in whole["rows"] and whole["auc"] == pytest.approx(scored["auc"], abs=0.02)


@pytest.mark.parametrize("command", ["baselines", "score"])
def test_too_many_are_the_servers_fault(
    command: str, server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.zero = some_texts(pairs, 200)
    name = [OPENAI] if command == "score" else ["--base-model", OPENAI, "--results", str(tmp_path)]
    assert main([command, *arguments(server, pairs, tmp_path, *name)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "vectors of zeros" in last and "check the server" in last


def test_nothing_but_zeros_is_refused_at_once(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.zero = {text for row in rows_of(pairs) for text in (row["text1"], row["text2"])}
    of = arguments(server, pairs, tmp_path, "--base-model", OPENAI, "--max-in-flight", "1", "--results", str(tmp_path))
    assert main(["baselines", *of]) == 2
    assert "got vectors of zeros for 32 of 32 texts; check the server" in capsys.readouterr().err
    assert len(server.book.requests) == 1


def test_texts_that_the_server_cut_are_counted_by_every_run_or_refused(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = sorted({text: len(text) for row in rows_of(pairs) for text in (row["text1"], row["text2"])}.values())
    most = lengths[-3]
    cut = sum(length > most for length in lengths)
    server.refuse = lambda body: (413, "") if max(map(len, body["input"])) > most else None
    own = f"openai:{OWN_MODEL}"
    of = arguments(server, pairs, tmp_path, "--base-model", own, "--results", str(tmp_path), "--price-per-million", "0")
    for name, embedded in (("one", " embedded now"), ("two", "all embedded before")):
        assert main(["baselines", *of, "--name", name]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert embedded in printed and f", {cut} of them too long for the server and cut" in printed
        assert summary(tmp_path / name)["bases"][own]["cut_by_server"] == cut > 0
    for more in ([], ["--dry-run"]):
        assert main(["baselines", *of, "--name", "three", "--too-long", "refuse", *more]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "because the server refused longer ones" in line and "use --too-long truncate" in line
