"""Bits that flip in the cache: damaged vectors are never used but made again, and bought only as agreed."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.embed.closed.shared import TEXTS, prompt_of, snapshot_of, source_of, stored
from tests.helpers.embed_server import EmbedServer
from tune.config.closed import ClosedConfig
from tune.embed.purchase import texts_to_buy
from tune.embed.snapshot import Snapshot, text_keys
from tune.embed.view import PairRows, View, ViewTexts, is_sound, write_folds, write_sample, write_texts, write_view
from tune.errors import ModelError

ROWS = PairRows(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([1, 0, 1], np.int8))
VECTORS = np.random.default_rng(0).standard_normal((6, 4), dtype=np.float32)


def flip(path: Path, at: int = -1) -> None:
    """Change a byte of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shard")
    Snapshot(root, "of", 4).add(text_keys("", list("abcdef")), VECTORS)
    [path] = (root / "of").glob("*.npy")
    return path


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_a_shard(
    shard: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    """A byte changes, in the header or the rows, or the end is gone: its vectors are right, or not there."""
    caplog.set_level(logging.ERROR)
    content, at = shard.read_bytes(), data.draw(st.integers(0, shard.stat().st_size - 1))
    changed = bytes([data.draw(st.integers(0, 255))]) + content[at + 1 :]
    shutil.rmtree(tmp_path / "of", ignore_errors=True)
    (tmp_path / "of").mkdir()
    (tmp_path / "of" / shard.name).write_bytes(content[:at] + data.draw(st.sampled_from([b"", changed])))
    snapshot, keys = Snapshot(tmp_path, "of", data.draw(st.sampled_from([4, None]))), text_keys("", list("abcdef"))
    assert len(snapshot.missing(keys)) == 6 or np.array_equal(snapshot.vectors(keys), VECTORS)


def test_a_shard_is_read_for_its_hash_once_and_set_aside_if_damaged(
    shard: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = shutil.copytree(shard.parent, tmp_path / "of") / shard.name
    assert len(Snapshot(tmp_path, "of", 4)) == 6
    flip(copied)
    assert len(Snapshot(tmp_path, "of", 4)) == 0
    assert f"{copied} is damaged; its 6 texts are embedded again (kept as {copied.stem}.damaged)" in caplog.text
    assert not copied.exists() and copied.with_suffix(".damaged").exists()
    again = Snapshot(tmp_path, "of", 4)
    again.add(text_keys("", list("abcdef")), VECTORS)
    assert copied.read_bytes() == shard.read_bytes() and len(Snapshot(tmp_path, "of", 4)) == 6


def test_texts_of_a_damaged_shard_are_counted_before_they_are_bought_again(
    server: EmbedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(server)
    prompt = prompt_of(source)
    root = tmp_path / "snapshots"
    snapshot_of(source, root).embed(source, prompt, TEXTS)
    path, *_ = (root / source.fingerprint).glob("*.npy")
    before = snapshot_of(source, root).vectors(text_keys(prompt, TEXTS))
    flip(path)
    estimate = texts_to_buy(source, {prompt: TEXTS}, tmp_path, ClosedConfig())
    assert estimate.texts == 10 and "its 10 texts are bought again" in caplog.text
    assert snapshot_of(source, root).embed(source, prompt, TEXTS) == 10
    assert np.array_equal(snapshot_of(source, root).vectors(text_keys(prompt, TEXTS)), before)
    assert sorted(server.book.texts().values()) == [1] * 90 + [2] * 10


def test_nothing_is_bought_that_was_damaged_after_the_cost_was_counted(server: EmbedServer, tmp_path: Path) -> None:
    source = source_of(server)
    snapshot_of(source, tmp_path).embed(source, prompt_of(source), TEXTS)
    assert snapshot_of(source, tmp_path).embed(source, prompt_of(source), TEXTS) == 0, "the cost is counted: nothing"
    path, *_ = (tmp_path / source.fingerprint).glob("*.npy")
    flip(path)
    with pytest.raises(ModelError, match="damaged after their cost was counted, and nothing is bought beyond that"):
        snapshot_of(source, tmp_path).embed(source, prompt_of(source), TEXTS)
    assert set(server.book.texts().values()) == {1} and len(stored(snapshot_of(source, tmp_path), source)) == 90


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["vectors.npy", "train_a.npy", "val_label.npy", "same.npy"])
def test_a_damaged_view_is_written_again(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def written() -> Path:
        return write_view(tmp_path, "digest", VECTORS, ROWS, ROWS, np.arange(6))

    view = written()
    whole = {path.name: path.read_bytes() for path in view.iterdir()}
    assert is_sound(view)
    DAMAGE[damage](view / name)
    with pytest.raises(OSError):
        View.open(view, map_memory=False)
    assert not is_sound(view) and f"view {view} is damaged" in caplog.text
    assert {path.name: path.read_bytes() for path in written().iterdir()} == whole and is_sound(view)


def test_a_view_of_an_earlier_version_is_used_as_it_is(tmp_path: Path) -> None:
    view = write_view(tmp_path, "digest", VECTORS, ROWS, ROWS)
    (view / "view.json").write_text('{"digest": "digest", "texts": 6, "train": 3, "val": 3}')
    assert is_sound(view) and np.array_equal(View.open(view, map_memory=False).vectors, VECTORS)
    (view / "vectors.npy").write_bytes(b"")
    assert not is_sound(view)


def test_what_is_added_to_a_view_is_written_again_too(tmp_path: Path) -> None:
    view = write_view(tmp_path, "digest", VECTORS, ROWS, ROWS)
    texts = ViewTexts("model", None, [""], [0] * 6, list("abcdef"))
    fold, index = np.arange(6, dtype=np.int8), np.arange(2)

    def add() -> dict[str, bytes]:
        write_texts(view, texts)
        write_folds(view, fold, 6, 0)
        write_sample(view, index)
        return {path.name: path.read_bytes() for path in view.iterdir()}

    whole = add()
    for name in ("texts.json", "folds-6-0.npy", *(path.name for path in view.glob("sample-*"))):
        flip(view / name, -4)
        assert add() == whole, name
    (view / "folds-6-0.sha256").unlink()
    kept = (view / "folds-6-0.npy").stat().st_ino
    write_folds(view, fold, 6, 0)
    assert (view / "folds-6-0.npy").stat().st_ino == kept, "one of an earlier version has no hash"
