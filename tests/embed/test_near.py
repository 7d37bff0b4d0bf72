"""The search for near copies: exact for any kind of vectors; of large data a sample, whose error is said."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny import save_tiny_model
from tune.data.sides import LabelledPairs
from tune.embed.leaks import near_copies_by_side
from tune.embed.near import NEAR_COSINE, counted_text, has_near
from tune.embed.prepare import prepare_base
from tune.embed.sources import load_source
from tune.events import Compared, Event


def expected(train: np.ndarray, others: np.ndarray) -> np.ndarray:
    train, others = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (train, others))
    reached: np.ndarray = (others @ train.T).max(axis=1) >= NEAR_COSINE
    return reached


def crowded(dims: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors around one direction: the smaller the spread, the more of them are near."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=dims) * 2
    train, others = (middle + spread * rng.normal(size=(count, dims)) for count in (3000, 700))
    others[:40] = train[:40] * 3 + 0.02 * rng.normal(size=(40, dims))
    others[40], train[50] = 0, 0
    return train.astype(np.float32), others.astype(np.float32)


@pytest.mark.parametrize("dims", [2, 48, 256])
@pytest.mark.parametrize("spread", [0.3, 0.5, 2.0, 20.0])
def test_near_copies_are_those_of_the_whole_product(dims: int, spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune.embed.near._LARGE", 0)
    monkeypatch.setattr("tune.embed.near._CORPUS_ROWS", 256)
    monkeypatch.setattr("tune.embed.near._OTHER_ROWS", 100)
    train, others = crowded(dims, spread, seed=dims)
    wanted = expected(train, others)
    assert wanted.sum() >= 40
    assert np.array_equal(has_near(train, np.arange(len(train)), others), wanted)
    some = np.arange(0, len(train), 3)
    assert np.array_equal(has_near(train, some, others), expected(train[some], others))


def test_a_map_of_a_file_is_searched_in_pieces_and_progress_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.embed.near._CORPUS_ROWS", 1000)
    train, others = crowded(128, 1.0, seed=1)
    np.save(tmp_path / "train.npy", train)
    told: list[tuple[int, int]] = []
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    found = has_near(mapped, np.arange(3000), others, lambda done, total: told.append((done, total)))
    assert np.array_equal(found, expected(train, others))
    assert told == [(1000, 3000), (2000, 3000), (3000, 3000)]
    assert len(has_near(mapped, np.arange(3000), others[:0])) == 0


def test_of_large_data_a_sample_is_checked_and_its_error_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"w{number}" for number in range(300)]
    rng = np.random.default_rng(0)

    def side(texts: list[str]) -> LabelledPairs:
        return LabelledPairs(texts[::2], texts[1::2], np.arange(len(texts) // 2, dtype=np.int8) % 2)

    train = [" ".join(rng.choice(words, 12)) for _ in range(200)]
    # Every other text of val is one of train with two words swapped, which has the same mean of word vectors.
    copies = [" ".join([*reversed(text.split()[:2]), *text.split()[2:]]) for text in train[:60]]
    val = [
        text for pair in zip(copies, (" ".join(rng.choice(words, 12)) for _ in range(60)), strict=True) for text in pair
    ]
    sides = {"train": side(train), "val": side(val), "test": side(copies[:20])}
    base = prepare_base(load_source(str(save_tiny_model(tmp_path / "model", words=words))), sides, tmp_path, ("", ""))
    whole = near_copies_by_side(base, sides, tmp_path, 0)
    assert whole["val"] == {"near": 60, "of": 120} and whole["test"] == {"near": 20, "of": 20}
    monkeypatch.setattr("tune.embed.leaks._MOST_PRODUCTS", 200 * 50)
    monkeypatch.setattr("tune.events._QUIET_SECONDS", -1)
    events: list[Event] = []
    counted = near_copies_by_side(base, sides, tmp_path, 0, events.append)
    assert counted["test"] == whole["test"]
    val_count = counted["val"]
    assert val_count["of"] == 50 and val_count["sample_of"] == 120
    low, high = val_count["share"]
    assert 0.3 < low < val_count["near"] / 50 < high < 0.7 and math.isclose(high - low, 0.267, abs_tol=0.01)
    assert (
        counted_text(val_count) == f"{val_count['near']} of 50 (a sample of 120 texts: {low:.2%} to {high:.2%} of them)"
    )
    assert [event.done for event in events if isinstance(event, Compared)] == [200]
