"""Near copies by side: texts of val and test that are nearly in train; a catalogue shared by design does not count."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.helpers.tiny import save_tiny_model
from tune.data.sides import LabelledPairs
from tune.embed.leaks import near_copies_by_side
from tune.embed.prepare import prepare_base
from tune.embed.sources import load_source


def side(queries: list[str], documents: list[str]) -> LabelledPairs:
    return LabelledPairs(queries, documents, np.arange(len(queries), dtype=np.int8) % 2)


def test_texts_shared_by_design_are_not_checked(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(12)]
    sides = {
        "train": side(["w0", "w1", "w2"], ["w10", "w11", "w10"]),
        "val": side(["w3", "w4"], ["w10", "w11"]),
        "test": side(["w5", "w0", "w6", "w7"], ["w11", "w11", "w10", "w9"]),
    }
    source = load_source(str(save_tiny_model(tmp_path / "model", words=words)))
    base = prepare_base(source, sides, tmp_path / "cache", ("", ""))
    plain = near_copies_by_side(base, sides, tmp_path / "cache", 0)
    assert plain["val"] == {"near": 2, "of": 4} and plain["test"] == {"near": 3, "of": 7}
    by_queries = {name: replace(pairs, shared="b") for name, pairs in sides.items()}
    counted = near_copies_by_side(base, by_queries, tmp_path / "cache", 0)
    assert counted["val"] == {"near": 0, "of": 2} and counted["test"] == {"near": 1, "of": 4}
    turned = {name: LabelledPairs(p.text_b, p.text_a, p.label, shared="a") for name, p in sides.items()}
    assert near_copies_by_side(base, turned, tmp_path / "cache", 0) == counted
