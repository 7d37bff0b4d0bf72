"""Guard sets: the general pairs that come with embedtune, users' own ones, and what is refused before a search."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import tune_here
from tune.config.data import DataConfig
from tune.config.search import search_config
from tune.config.toml import write_toml
from tune.data.demo import demo_pairs
from tune.data.general import general_pairs
from tune.data.guards import MOST_PAIRS, read_guards
from tune.embed.sources import load_source
from tune.metrics.score import roc_auc
from tune.pipeline.pairs import guards_of

CSV = "text1,text2,label\n"


def test_the_general_pairs_are_the_same_everywhere_and_share_no_text_across_groups() -> None:
    pairs = general_pairs()
    assert pairs == general_pairs() != general_pairs(1)
    assert len(pairs) == 480 and sum(label for *_, label in pairs) == 240
    texts = [text for a, b, _ in pairs for text in (a, b)]
    assert max(texts.count(text) for text in texts) == 2, "a group has three texts, the first of them in two pairs"
    assert len(set(texts)) == 720
    assert not set(texts) & {text for a, b, _ in demo_pairs() for text in (a, b)}


def test_a_base_model_knows_most_of_the_general_pairs_but_not_all() -> None:
    """A guard set that is known by heart, or not at all, would show nothing."""
    pairs, source = general_pairs(), load_source("wordllama")
    a, b = (source.model.encode([pair[side] for pair in pairs], normalize_embeddings=True) for side in (0, 1))
    assert 0.8 < roc_auc((a * b).sum(1).astype(np.float64), np.array([label for *_, label in pairs], np.int8)) < 0.95


def test_the_demo_pairs_have_a_guard_set_by_default_and_other_pairs_have_none() -> None:
    assert search_config().data.guards == ("general",)
    assert search_config(data={"data": "pairs.csv"}).data.guards == ()
    assert search_config(data={"guard": "none"}).data.guards == ()
    both = search_config(data={"data": "pairs.csv", "guard": "general,old.csv,general"})
    assert both.data.guards == ("general", "old.csv")
    assert search_config(data={"data": "pairs.csv", "guard": ["general", "old.csv"]}).data.guards == both.data.guards
    written = tomllib.loads(write_toml(search_config(data={"guard": ["general", "old.csv"]})))
    assert written["data"]["guard"] == ["general", "old.csv"]


def test_column_options_apply_where_a_guard_set_has_such_columns(tmp_path: Path) -> None:
    (tmp_path / "same.csv").write_text("q,r,text1,text2,label\na,b,no,no,1\nc,d,no,no,0\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "same.csv").write_text(f"{CSV}e,f,1\ng,h,0\ng,h,0\ni,,1\n")
    names = (str(tmp_path / "same.csv"), str(tmp_path / "other" / "same.csv"))
    config = DataConfig(data="pairs.csv", text_a="q", text_b="r", guard=names)
    first, second = read_guards(config, 0)
    assert (first.pairs.text_a, first.pairs.text_b, first.name) == (["a", "c"], ["b", "d"], "same.csv")
    assert (second.pairs.text_a, second.kept, second.name) == (["e", "g"], 2, "same.csv (2)")
    assert second.facts({"e", "x"}) == {
        "name": "same.csv (2)", "pairs": 2, "positives": 1, "kept": 2, "hash": second.digest, "texts": 4,
        "texts_in_train": 1,
    }  # fmt: skip


def test_at_most_so_many_pairs_are_scored_and_the_seed_draws_them(tmp_path: Path) -> None:
    lines = [f"first {row},second {row},{row % 2}\n" for row in range(MOST_PAIRS + 500)]
    (tmp_path / "many.csv").write_text(CSV + "".join(lines))
    config = DataConfig(data="pairs.csv", guard=(str(tmp_path / "many.csv"),))
    [one], [again], [other] = read_guards(config, 0), read_guards(config, 0), read_guards(config, 1)
    assert len(one.pairs) == MOST_PAIRS and one.kept == MOST_PAIRS + 500
    assert one.digest == again.digest != other.digest


def test_no_guard_set_is_read_if_all_base_models_are_closed() -> None:
    closed = search_config(space={"base_model": "openai:text-embedding-3-small"})
    assert closed.data.guards and guards_of(closed) == []
    mixed = search_config(space={"base_model": "openai:text-embedding-3-small,wordllama"})
    assert [guard.name for guard in guards_of(mixed)] == ["general"]


BAD = {
    "no such file": ("nowhere.csv", None, "--guard nowhere.csv: no such file or folder: 'nowhere.csv': check --guard"),
    "one class": ("one.csv", f"{CSV}a,b,1\nc,d,1\n", "--guard one.csv: one.csv has only pairs labelled 1"),
    "no labels": ("plain.csv", "text1,text2\na,b\n", "--guard plain.csv: plain.csv: no label column found"),
    "no texts": ("odd.csv", "left,right,label\n", "--guard odd.csv: odd.csv"),
    "none and another": ("none,general", None, "none cannot be combined with guard sets"),
    "no name": (",", None, "names no pairs"),
}


@pytest.mark.parametrize(("guard", "content", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_guard_set_is_refused_in_one_line_before_anything_costly(
    guard: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / guard).write_text(content)
    ran = tune_here(capsys, "search", "--base-model", "wordllama", "--guard", guard, "--cache", "cache")
    assert ran.code == 2 and message in ran.err and len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists() and not (tmp_path / "cache" / "views").exists()


def test_a_dry_run_names_the_guard_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = tune_here(capsys, "search", "--dry-run", "--base-model", "wordllama").out
    assert "guard set general: 480 pairs" in shown
    assert (
        "guard set" not in tune_here(capsys, "search", "--dry-run", "--base-model", "wordllama", "--guard", "none").out
    )
    loss = tune_here(capsys, "search", "--dry-run", "--guard-loss", "2")
    assert loss.code == 2 and "guard_loss" in loss.err
