"""`explore`: the numbers are those of a search, nothing of test is shown, and texts are data."""

import csv
import html
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.command import Ran, leaderboard, summary, tune_here
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, write_topic_pairs
from tests.report.test_browser import BROWSER, marks, opened
from tune.config.search import search_config
from tune.events import ignore
from tune.pipeline.pairs import read_split


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The demo pairs explored with wordllama: what the terminal shows, and the folder."""
    folder = tmp_path_factory.mktemp("explored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ran = in_process("explore", "--base-model", "wordllama", "--cache", folder / "cache", "--seed", 1)
    assert ran.code == 0, ran.err
    return ran.out, folder / "explore"


def in_process(*arguments: object) -> Ran:
    """Run a command here, outside of a test's own capture."""
    import contextlib
    import io

    from tune.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def test_numbers_are_those_of_a_search(
    explored: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, folder = explored
    options = ("--base-model", "wordllama", "--cache", folder.parent / "cache", "--seed", 1)
    assert tune_here(capsys, "baselines", *options, "--results", tmp_path, "--name", "b").code == 0
    found, answer = summary(tmp_path / "b")["data"], (folder / "explore.md").read_text()
    assert f"{found['counts']['read']:,} read, {found['counts']['kept']:,} kept" in shown
    for side, pairs in found["split"]["rows"].items():
        positive, components = (found["split"][name][side] for name in ("positives", "components"))
        assert re.search(rf"^{side} +{pairs:,} pairs, {positive:,} positive .*, {components:,} comp", shown, re.M)
        assert f"| {side} | {pairs:,} | {pairs / found['counts']['kept']:.1%} | {positive:,} |" in answer
    by_base = {row["base_model"]: float(row["val_auc"]) for row in leaderboard(tmp_path / "b")}
    for name, auc in (("wordllama", by_base["wordllama"]), ("TF-IDF", by_base["tf-idf"])):
        assert f"| {name} | {auc:.4f} [" in answer
        assert re.search(rf"^{name} +{auc:.4f} \[", shown, re.M)


def test_nothing_of_test_is_shown(explored: tuple[str, Path]) -> None:
    _, folder = explored
    split, _ = read_split(search_config({"seed": 1}), ignore)
    texts: dict[str, set[str]] = {
        side: {text for one in (split.pairs.text_a, split.pairs.text_b) for text in np.array(one)[split.side == side]}
        for side in ("train", "val", "test")
    }
    page, answer = (folder / "explore.html").read_text(), (folder / "explore.md").read_text()
    shown = set(map(html.unescape, re.findall(r'dir="auto">(.*?)</td>', page)))
    shown |= {json.loads(text) for text in re.findall(r'"text":("(?:[^"\\]|\\.)*")', page)}
    shown |= {cell for line in answer.splitlines() for cell in line.strip("| ").split(" | ")}
    assert len(shown & (texts["train"] | texts["val"])) > 20
    assert not shown & texts["test"]


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt install chromium)")
def test_the_page_opens_offline_with_every_figure_drawn(explored: tuple[str, Path]) -> None:
    page = explored[1] / "explore.html"
    figures = re.findall(r'data-figure="([\w-]+)"', page.read_text())
    names = {"lengths", "overlap", "scores-0", "scores-1", "components", "largest-component"}
    assert set(figures) == {f"pairs-{name}" for name in names}
    seen = opened(page, width=500)
    assert 'data-drawn="light"' in seen.document and seen.console == []
    assert {name: marks(seen.document, name) > 3 for name in figures} == dict.fromkeys(figures, True)
    drawn = {path.name for path in (explored[1] / "plots").iterdir()}
    assert {f"{name}-{mode}.{kind}" for name in names for mode in ("light", "dark") for kind in ("svg", "png")} == drawn


SCRIPT = "</script><script>alert(1)</script> | `x`"


@pytest.fixture(scope="module")
def contradicting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,400 pairs of random words; nine occur with both labels, ten nearly so, and one of these has markup."""
    drawn = random.Random(0)

    def words(count: int) -> str:
        return " ".join(f"w{drawn.randrange(300)}" for _ in range(count))

    rows: list[tuple[str, str, Any]] = []
    for number in range(2400):
        first = words(8)
        rows.append((first, f"{first.rsplit(' ', 3)[0]} {words(3)}" if number % 2 else words(8), number % 2))
    rows[20] = (f"{SCRIPT} {rows[20][0]}", rows[20][1], 0)
    rows += [(b, a, 1 - label) for a, b, label in rows[:9]]
    rows += [(f"extra {a}", b, 1 - label) for a, b, label in rows[20:30]]
    path = tmp_path_factory.mktemp("pairs") / "odd.csv"
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows([("text1", "text2", "label"), *rows])
    return path


def test_contradictions_are_shown_as_data(
    contradicting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tune_here(capsys, "explore", "--data", contradicting, "--to", tmp_path, "--no-texts")
    assert ran.code == 0, ran.err
    assert "18 rows are pairs that occur with both labels; all are dropped." in ran.out
    assert "(dropped: 18 contradicting)" in ran.out
    near = re.search(r"^In (\d+) cases, a positive and a negative pair nearly repeat", ran.out, re.M)
    assert near is not None and 5 <= int(near[1]) <= 10, "those in test do not count"
    written = [path.read_text() for path in (tmp_path / "explore.html", tmp_path / "explore.md")]
    assert not any(re.search(r"\bw\d+ w\d+\b|alert", text) for text in (*written, ran.out)), "--no-texts"

    ran = tune_here(capsys, "explore", "--data", contradicting, "--to", tmp_path)
    page, answer = (tmp_path / "explore.html").read_text(), (tmp_path / "explore.md").read_text()
    assert "(row 2400)" in ran.out and "| 1 | 2400 |" in answer and "The same pair with both labels" in page
    assert "alert(1)</script>" not in page and page.count("<script") == 3
    assert "&lt;script&gt;alert(1)" in page and "<script>" not in answer.replace("`", "")[: answer.index("#")]
    data = re.search(r'<script id="report-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert data is not None and json.loads(data[1])["figures"]


def test_labels_that_look_inverted_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_topic_pairs(tmp_path / "pairs.csv", {"train": 300, "val": 260, "test": 260}, inverted=True)
    base = save_tiny_model(tmp_path / "base", words=TOPIC_WORDS)
    options = ("--data", pairs, "--split-column", "side", "--cache", tmp_path / "cache", "--to", tmp_path / "page")
    words = tune_here(capsys, "explore", *options)
    assert "Warning: Negative pairs share more words than positive ones" in words.out
    ran = tune_here(capsys, "explore", *options, "--base-model", base)
    assert "Warning: The labels look inverted" in ran.out and "--positive-label 0" in ran.out


def test_pairs_that_a_search_would_refuse_are_shown_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_topic_pairs(tmp_path / "pairs.csv", {"all": 150})
    ran = tune_here(capsys, "explore", "--data", pairs, "--to", tmp_path / "page")
    assert ran.code == 2 and "100 of either class are needed" in ran.err and ran.err.count("\n") == 1
    assert "150 read, 150 kept" in ran.out and "no test side" in ran.out
    assert "a search would refuse these pairs" in (tmp_path / "page" / "explore.md").read_text()
    folds = tune_here(capsys, "explore", "--data", pairs, "--to", tmp_path / "page", "--folds", 5)
    assert folds.code == 0 and "judge all of them out of fold" in folds.out


def test_wrong_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.csv").write_text("text1,text2,label\n" + "".join(f"a{i},b{i},1\n" for i in range(300)))
    one_class = tune_here(capsys, "explore", "--data", tmp_path / "one.csv", "--to", tmp_path / "page")
    assert one_class.code == 2 and "only pairs labelled 1" in one_class.err and one_class.err.count("\n") == 1
    closed = tune_here(capsys, "explore", "--base-model", "openai:text-embedding-3-small", "--to", tmp_path / "page")
    assert closed.code == 2 and "python -m tune baselines" in closed.err
    (tmp_path / "file").write_text("")
    to_file = tune_here(capsys, "explore", "--to", tmp_path / "file")
    assert to_file.code == 2 and "--to" in to_file.err
    assert not (tmp_path / "page").exists()
