"""The index of a snapshot: the last of equal keys, keys alike by half, vectors into a view in parts."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tune.embed.keys import KEY_BYTES, KEY_TYPE, KeyIndex, as_keys, first_places, text_key, text_keys
from tune.embed.maps import gathered
from tune.embed.snapshot import Snapshot
from tune.embed.view import PairRows, Stored, View, write_view


def made(*numbers: int) -> np.ndarray:
    """Return keys whose halves are often the same, or mix to the same number."""
    return as_keys([bytes([number // 8] * 8 + [number // 8 if number % 2 else number % 8] * 8) for number in numbers])


def test_keys_of_many_texts_are_those_of_each() -> None:
    texts = ["where is it", "", "Stra\u00dfe", "\ud800 alone", "where is it"]
    for prompt in ("", "query: "):
        assert text_keys(prompt, texts).tolist() == [text_key(prompt, text) for text in texts]
    assert text_key("a", "b") != text_key("", "a\0b") and len(text_key("", "")) == KEY_BYTES
    assert text_keys("", []).dtype == KEY_TYPE


def test_an_index_agrees_with_a_dict() -> None:
    rng = np.random.default_rng(0)
    index, known = KeyIndex(), dict[bytes, tuple[int, int]]()
    for shard in range(60):
        keys = made(*rng.integers(0, 1000, int(rng.integers(0, 40))).tolist())
        index.add(keys, shard)
        for row, key in enumerate(keys.tolist()):
            known.setdefault(key, (shard, row))
        if shard % 20 == 19:
            moved = as_keys(list(known)[::3])
            index.move(moved, set(range(shard - 5)), shard + 100)
            for row, key in enumerate(moved.tolist()):
                if known[key][0] < shard - 5:
                    known[key] = (shard + 100, row)
        asked = made(*range(1000))
        shards, rows = index.find(asked)
        expected = [known.get(key, (-1, 0)) for key in asked.tolist()]
        assert list(zip(shards.tolist(), rows.tolist(), strict=True)) == expected
        assert len(index) == len(known)


def test_first_places_keep_the_order_of_texts() -> None:
    keys = made(*np.random.default_rng(1).integers(0, 200, 500).tolist())
    first = {key: place for place, key in reversed(list(enumerate(keys.tolist())))}
    assert first_places(keys).tolist() == sorted(first.values())


def test_vectors_are_copied_into_a_view_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {number}" for number in range(5000)]
    vectors = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    writer = Snapshot(tmp_path, "of", 8)
    for start in range(0, 5000, 2500):
        writer.add(text_keys("", texts[start : start + 2500]), vectors[start : start + 2500])
    order = np.random.default_rng(1).permutation(5000)[:3000]
    asked = text_keys("", [texts[place] for place in order])
    monkeypatch.setattr("tune.embed.view._BYTES_AT_ONCE", 4 * 8 * 700)
    rows = PairRows(np.array([0]), np.array([1]), np.array([1], np.int8))
    np.save(tmp_path / "expected.npy", vectors[order])
    for name, snapshot in (("writer", writer), ("reader", Snapshot(tmp_path, "of", None))):
        told: list[tuple[int, int]] = []

        def part(some: slice, snapshot: Snapshot = snapshot) -> NDArray[np.float32]:
            return snapshot.vectors(asked[some])

        stored = Stored(3000, 8, part, lambda done, total, told=told: told.append((done, total)))  # type: ignore[misc]
        view = write_view(tmp_path, name, stored, rows, rows)
        assert (view / "vectors.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
        assert told == [(700, 3000), (1400, 3000), (2100, 3000), (2800, 3000), (3000, 3000)]
        mapped = View.open(view).vectors
        some = np.random.default_rng(2).integers(0, 3000, 1500)
        assert np.array_equal(gathered(mapped, some), mapped[some])
        assert snapshot.vectors([]).shape == (0, 8)
