"""The split: no text on two sides, new rows move only what they touch, same result everywhere; errors."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.data.pair_files import pairs_of
from tune.data.clean import normalise
from tune.data.sides import SIDES
from tune.data.split import Split, split_pairs, text_overlaps, train_order, write_split
from tune.errors import DataError


def random_rows(n: int, texts: int, seed: int = 0) -> list[tuple[str, str, int]]:
    """n distinct pairs over `texts` texts, each spelled in one of three equivalent ways."""
    rng = np.random.default_rng(seed)
    rows: dict[tuple[int, int], tuple[str, str, int]] = {}
    while len(rows) < n:
        a, b = sorted(rng.integers(0, texts, 2).tolist())
        if a != b:
            way_a, way_b, label = rng.integers(0, (3, 3, 2)).tolist()
            rows[a, b] = (spelled(a, way_a), spelled(b, way_b), label)
    return list(rows.values())


def spelled(text: int, way: int) -> str:
    return [f"text number {text}", f"Text  number-{text}?", f"«TEXT number {text}»"][way]


def sides_of_texts(split: Split) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {}
    for a, b, side in zip(split.pairs.text_a, split.pairs.text_b, split.side.tolist(), strict=True):
        for text in (a, b):
            sides.setdefault(normalise(text), set()).add(side)
    return sides


SPARSE = random_rows(6000, 30_000)  # components of a few pairs each
DENSE = random_rows(6000, 3000)  # one giant


def test_no_text_is_on_two_sides() -> None:
    for seed in range(3):
        split = split_pairs(pairs_of(random_rows(4000, 20_000, seed)), seed)
        assert all(len(sides) == 1 for sides in sides_of_texts(split).values())
        assert text_overlaps(split) == {"val": 0, "test": 0}
        for component in np.unique(split.component):
            assert len(set(split.side[split.component == component].tolist())) == 1


def test_components_are_those_of_a_plain_union_find() -> None:
    split = split_pairs(pairs_of(SPARSE))
    root: dict[str, str] = {}

    def find(text: str) -> str:
        while root.setdefault(text, text) != text:
            text = root[text]
        return text

    for a, b, _ in SPARSE:
        root[find(normalise(a))] = find(normalise(b))
    ids: dict[str, int] = {}
    assert [ids.setdefault(find(normalise(a)), len(ids)) for a, _, _ in SPARSE] == split.component.tolist()


def test_counts() -> None:
    split = split_pairs(pairs_of(SPARSE))
    counts = split.counts
    assert sum(counts["rows"].values()) == len(SPARSE)
    assert counts["rows"]["val"] == int((split.side == "val").sum())
    assert counts["positives"]["test"] == int(split.pairs.label[split.side == "test"].sum())
    assert sum(counts["components"].values()) == int(split.component.max()) + 1
    assert counts["shares"]["train"] == pytest.approx(0.8, abs=0.03)
    assert counts["shares"]["test"] == pytest.approx(0.1, abs=0.02)
    assert counts["largest_component"] == np.bincount(split.component).max()
    assert counts["mode"] == "components" and counts["crossing_dropped"] == 0


def test_seed_draws_another_split() -> None:
    first, second = split_pairs(pairs_of(SPARSE), 0), split_pairs(pairs_of(SPARSE), 1)
    assert 0.2 < np.mean(first.side != second.side) < 0.5  # 1 - 0.8^2 - 0.1^2 - 0.1^2 = 0.34
    assert first.digest != second.digest and first.row_hash == second.row_hash


def test_order_of_rows_and_direction_do_not_matter() -> None:
    split = split_pairs(pairs_of(SPARSE))
    order = np.random.default_rng(1).permutation(len(SPARSE))
    shuffled = split_pairs(pairs_of([SPARSE[i] for i in order]))
    assert (split.side[order] == shuffled.side).all()
    assert split.digest == shuffled.digest
    turned = split_pairs(pairs_of([(b, a, label) for a, b, label in SPARSE]))
    assert (turned.side == split.side).all()


def test_new_rows_move_only_the_components_they_touch() -> None:
    old = split_pairs(pairs_of(SPARSE))
    rng = np.random.default_rng(2)
    known = rng.choice(len(SPARSE), 100, replace=False).tolist()
    new = [(SPARSE[i][0], f"newly written {i}", 1) for i in known] + [(f"new {i}", f"pair {i}", 0) for i in range(500)]
    grown = split_pairs(pairs_of(SPARSE + new))
    touched = set(old.component[known].tolist())
    moved = np.flatnonzero(grown.side[: len(SPARSE)] != old.side)
    assert {int(c) for c in old.component[moved]} <= touched
    assert len(moved) < len(touched)

    before = [old.row_hash[i] for i in train_order(old, 7)]
    after = [grown.row_hash[i] for i in train_order(grown, 7)]
    both = set(before) & set(after)
    assert len(both) > 4000
    assert [row for row in before if row in both] == [row for row in after if row in both]


def test_train_order() -> None:
    split = split_pairs(pairs_of(SPARSE))
    order = train_order(split, 0)
    assert sorted(order.tolist()) == np.flatnonzero(split.side == "train").tolist()
    assert order.tolist() != sorted(order.tolist())
    assert order.tolist() == train_order(split, 0).tolist() != train_order(split, 1).tolist()
    # A prefix is a fair draw: half of the rows are positive in the first thousand as well.
    assert split.pairs.label[order[:1000]].mean() == pytest.approx(0.5, abs=0.06)


def test_same_in_another_process() -> None:
    code = (
        "from tests.data.test_split import SPARSE, pairs_of, split_pairs, train_order;"
        "s = split_pairs(pairs_of(SPARSE)); print(s.digest, s.row_hash[0], train_order(s, 3)[:5].tolist())"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=root, env=environment, capture_output=True, text=True
    )
    split = split_pairs(pairs_of(SPARSE))
    assert run.stdout.strip() == f"{split.digest} {split.row_hash[0]} {train_order(split, 3)[:5].tolist()}", run.stderr


def test_the_hashes_are_pinned() -> None:
    """Results identify splits by these hashes; a change makes old results incomparable and must be deliberate."""
    split = split_pairs(pairs_of([(f"Text {i}?", f"{i} 🙂", i % 2) for i in range(4000)]))
    assert split.row_hash[0] == "bc56a3b153334f87ea25f1270e38cd75"
    assert split.digest == "6419e33d037df2688ca55eae29572799"
    assert train_order(split, 0)[:4].tolist() == [1645, 1214, 130, 379]


def test_large_components_go_to_train() -> None:
    star = [("the hub of it all", f"spoke {i}", i % 2) for i in range(60)]
    for seed in range(8):
        split = split_pairs(pairs_of(SPARSE + star), seed)
        assert set(split.side[len(SPARSE) :].tolist()) == {"train"}
        assert split.counts["large_rows"] >= 60 and split.counts["large_components"] >= 1
        assert split.counts["moved_to_train"] in (0, split.counts["large_rows"])
    small = [("the hub of it all", f"spoke {i}", i % 2) for i in range(25)]
    assert {split_pairs(pairs_of(SPARSE + small), seed).side[-1] for seed in range(40)} == set(SIDES)


def test_cut_splits_a_giant_by_text() -> None:
    rows = random_rows(40_000, 20_000)
    share = float(refusal(rows).split("%")[0].split()[-1])
    assert share > 95
    split = split_pairs(pairs_of(rows), mode="cut")
    assert len(split.pairs) + split.counts["crossing_dropped"] == len(rows)
    assert split.counts["mode"] == "cut" and split.counts["crossing_dropped"] > 10_000
    assert all(len(sides) == 1 for sides in sides_of_texts(split).values())
    assert len(split.side) == len(split.row_hash) == len(split.component) == len(split.pairs)


def test_too_few_pairs_are_refused() -> None:
    assert "100 of either class" in refusal(random_rows(500, 30_000))
    assert "needed" in refusal([("a", "b", 1), ("c", "d", 0)])
    assert "needed" in refusal([("a", "b", 1), ("c", "d", 0)], mode="cut")


def refusal(rows: list[tuple[str, str, int]], side: list[str] | None = None, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        split_pairs(pairs_of(rows, side), **options)
    line = str(refused.value)
    assert "\n" not in line and line.startswith("test: ") and len(line) < 560
    return line


def thirds(rows: list[tuple[str, str, int]], *names: str) -> list[str]:
    return [names[min(i * len(names) // len(rows), len(names) - 1)] for i in range(len(rows))]


def test_given_split_is_kept_and_overlaps_are_counted() -> None:
    side = thirds(DENSE, *SIDES)
    split = split_pairs(pairs_of(DENSE, side))
    assert split.side.tolist() == side
    texts = {
        name: {normalise(t) for row, s in zip(DENSE, side, strict=True) if s == name for t in row[:2]} for name in SIDES
    }
    expected = {name: len(texts[name] & texts["train"]) for name in ("val", "test")}
    assert split.counts["overlaps"] == text_overlaps(split) == expected
    assert expected["val"] > 100 and split.counts["mode"] == "given" and split.counts["cut_from_train"] == []


@pytest.mark.parametrize("there", ["val", "test"])
def test_a_missing_side_is_cut_from_train(there: str) -> None:
    side = thirds(SPARSE, "train", "train", "train", "train", there)
    split = split_pairs(pairs_of(SPARSE, side))
    absent = "test" if there == "val" else "val"
    was_train = np.array(side) == "train"
    assert split.counts["cut_from_train"] == [absent]
    assert set(split.side[~was_train].tolist()) == {there}
    assert np.mean(split.side[was_train] == absent) == pytest.approx(0.1, abs=0.02)
    texts = sides_of_texts(split)
    assert not any({"train", absent} <= sides for sides in texts.values())
    grown = split_pairs(pairs_of([*SPARSE, ("entirely", "new", 1)], [*side, "train"]))
    assert (grown.side[:-1] == split.side).all()


def test_given_splits_refused() -> None:
    few = ["test" if i < 150 else "val" if i < 1000 else "train" for i in range(len(SPARSE))]
    line = refusal(SPARSE, few)
    assert "given split has only" in line and "in test" in line and "--split-column" in line
    assert "no train rows" in refusal(SPARSE, thirds(SPARSE, "val", "test"))
    assert "leave out --split cut" in refusal(SPARSE, thirds(SPARSE, *SIDES), mode="cut")
    one = [(a, b, 1 if i < 2000 else i % 2) for i, (a, b, _) in enumerate(SPARSE)]
    assert "one class only" in refusal(one, thirds(one, *SIDES))


def test_written_split_holds_no_texts(tmp_path: Path) -> None:
    split = split_pairs(pairs_of(SPARSE))
    path = tmp_path / "split.parquet"
    for _ in range(2):  # the second overwrites the first
        write_split(split, path)
    table = pq.read_table(path)
    assert table.column_names == ["row", "row_hash", "component", "side"]
    assert table["row"].to_pylist() == split.pairs.row.tolist()
    assert table["row_hash"].to_pylist() == split.row_hash
    assert table["component"].to_pylist() == split.component.tolist()
    assert table["side"].to_pylist() == split.side.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["split.parquet"]
    assert b"text number" not in path.read_bytes()


def test_row_hashes_differ() -> None:
    rows = [("ab", "c", 1), ("a", "bc", 1), ("ab", "c", 0), ("c", "ab", 1)]
    assert len(set(split_pairs(pairs_of(rows + SPARSE)).row_hash[:4])) == 4


def test_odd_texts_split() -> None:
    odd = [("\x00", "🙂" * 50_000, 1), ("?!", "...", 0), ("?!", "!?", 1), ("a\nb", "A  B", 1)]
    split = split_pairs(pairs_of(odd + SPARSE))
    assert split.component[1] == split.component[2] != split.component[0]
