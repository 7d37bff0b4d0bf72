"""Quantised vectors: codes are sentence-transformers' own, ranges come from train, no failure costs scores on test."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import quantize_embeddings
from sklearn.metrics import roc_auc_score

from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, topic_pairs
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.prepare import ViewOptions, prepare_base
from tune.embed.similarity import unit
from tune.embed.sources import load_source
from tune.embed.view import TEXTS_FILE, PairRows, View
from tune.evaluate.final_test import Opening, open_test
from tune.evaluate.quantised import PRECISIONS, bytes_per_vector, int8_ranges, quantised_scores
from tune.export.facts import ExportFacts
from tune.export.write import write_model
from tune.train.kinds import kind_of
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models, TrialModel

DIMS = 20  # not whole bytes of bits


def vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors of any length around a point that is not 0, with components of different spread."""
    rng = np.random.default_rng(seed)
    return ((rng.normal(size=(count, DIMS)) + 0.3) * np.linspace(0.2, 3, DIMS)).astype(np.float32)


def pairs(count: int, texts: int, seed: int) -> PairRows:
    rng = np.random.default_rng(seed)
    return PairRows(rng.integers(0, texts, count), rng.integers(0, texts, count), rng.integers(0, 2, count, np.int8))


def cosines(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    found: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


@pytest.mark.parametrize("dims", [DIMS, 12])
def test_int8_is_the_cosine_of_the_codes_that_train_calibrates(dims: int) -> None:
    train, test, rows = vectors(300, 0), vectors(80, 1) * 1.2, pairs(200, 80, 2)
    scores = quantised_scores((test, rows), dims, "int8", int8_ranges(train, dims))
    codes = quantize_embeddings(unit(test[:, :dims]), "int8", calibration_embeddings=unit(train[:, :dims]))
    assert codes.dtype == np.int8 and len(np.unique(codes)) > 100
    np.testing.assert_allclose(scores, cosines(codes[rows.a], codes[rows.b]), atol=1e-12)
    own = quantize_embeddings(unit(test[:, :dims]), "int8", ranges=int8_ranges(test, dims))
    assert not np.allclose(scores, cosines(own[rows.a], own[rows.b]), atol=1e-3), "ranges of test are other ranges"


def test_a_pairs_score_does_not_depend_on_the_other_texts_or_on_lengths() -> None:
    """With ranges from train, what else is on test changes nothing; nor does how the work is cut into parts."""
    ranges, test, rows = int8_ranges(vectors(300, 0), DIMS), vectors(5_000, 1), pairs(9_000, 5_000, 2)
    few = rows.take(np.flatnonzero((rows.a < 50) | (rows.b < 50))[:40])
    for precision in ("float16", "int8", "binary"):
        alone = quantised_scores((test, few), DIMS, precision, ranges)
        shifted = test.copy()
        others = np.setdiff1d(np.arange(len(test)), np.concatenate([few.a, few.b]))
        shifted[others] += 50
        np.testing.assert_array_equal(alone, quantised_scores((shifted, few), DIMS, precision, ranges))
        among = quantised_scores((test, rows), DIMS, precision, ranges)
        places = np.flatnonzero((rows.a < 50) | (rows.b < 50))[:40]
        np.testing.assert_array_equal(alone, among[places])
        longer = quantised_scores((test * np.float32(4), few), DIMS, precision, ranges)
        np.testing.assert_allclose(alone, longer, atol=1e-12)


def test_binary_is_the_cosine_of_the_signs() -> None:
    test, rows = vectors(80, 1), pairs(200, 80, 2)
    for dims in (DIMS, 7, 8, 1):
        signs = np.where(test[:, :dims] > 0, 1, -1)
        expected = cosines(signs[rows.a], signs[rows.b])
        np.testing.assert_allclose(quantised_scores((test, rows), dims, "binary"), expected, atol=1e-12)


def test_half_precision_and_bytes() -> None:
    test, rows = vectors(80, 1), pairs(200, 80, 2)
    full = cosines(test[rows.a], test[rows.b])
    scores = quantised_scores((test, rows), DIMS, "float16")
    np.testing.assert_allclose(scores, full, atol=1e-3)
    assert not np.allclose(scores, full, atol=1e-7)
    assert [bytes_per_vector(20, one) for one in ("float32", "float16", "int8", "binary")] == [80, 40, 20, 3]
    assert bytes_per_vector(256, "binary") == 32


CELLS: tuple[dict[str, Any], ...] = (
    {"dims": 16, "epochs": 4},
    {"dims": 16, "epochs": 1, "learning_rate": 1e-4},
    {"dims": 4, "epochs": 4},
    {"dims": 16, "epochs": 4, "matryoshka": (4,)},
    {"dims": None, "epochs": 1, "freeze": False, "eval_pairs": 200},
)
"""The second is the weaker one of the first's cell."""


@dataclass(frozen=True)
class Searched:
    """What a search with these trials has when it opens test: models, finalists (best first) and sides."""

    models: Models
    finalists: list[TrialModel]
    sides: dict[str, LabelledPairs]

    def opened(self, side: str = "test", grid: bool = True) -> dict[str, Any]:
        return open_test(self.finalists, self.models, self.sides[side], 0, Opening(grid=grid)).result

    @cached_property
    def result(self) -> dict[str, Any]:
        return self.opened()

    def of(self, cell: int) -> TrialModel:
        """Return the model of one of CELLS."""
        [found] = [model for model in self.finalists if model.config == config_of(cell, model.base.name)]
        return found


def config_of(cell: int, base: str) -> TrialConfig:
    return TrialConfig(**{"base_model": base, "loss": "cosent", "learning_rate": 1e-2, **CELLS[cell]})


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("quantised")
    name = str(save_tiny_model(folder / "words", words=TOPIC_WORDS))
    sizes = {"train": 480, "val": 300, "test": 300, "other test": 300}
    sides = {side: topic_pairs(count, seed) for seed, (side, count) in enumerate(sizes.items())}
    both = {**sides, "test": joined(sides["test"], sides["other test"])}
    base = prepare_base(load_source(name), both, folder / "cache", ("", ""), ViewOptions(texts=True))
    view = View.open(base.view(folder / "cache"))
    for cell in range(len(CELLS)):
        config = config_of(cell, name)
        list(kind_of(config).open(config, folder / "trials" / config.digest(base.digest), view))
    models = Models({name: base}, folder / "cache", None)
    finalists = [models.of(one) for one in trial_outcomes(folder / "trials", folder / "asha.json")]
    return Searched(models, sorted(finalists, key=lambda one: -one.val_auc()), sides)


def joined(a: LabelledPairs, b: LabelledPairs) -> LabelledPairs:
    return LabelledPairs(a.text_a + b.text_a, a.text_b + b.text_b, np.concatenate([a.label, b.label]))


def test_which_models_are_quantised_and_float32_is_what_test_says(searched: Searched) -> None:
    result = searched.result
    entries = result["quantised"]
    assert "quantised_note" not in result and json.loads(json.dumps(entries)) == entries
    [base] = searched.models.bases.values()
    matryoshka = searched.of(3)
    expected = {
        (f"baseline:{base.name}", 48), (searched.of(0).key(16), 16), (searched.of(2).key(4), 4),
        (matryoshka.key(4), 4), (matryoshka.key(16), 16), (searched.of(4).key(48), 48),
    }  # fmt: skip
    assert {(entry["key"], entry["dims"]) for entry in entries} == expected
    assert Counter(entry["precision"] for entry in entries) == dict.fromkeys(PRECISIONS, len(expected))
    for entry in entries:
        final = result["models"][entry["key"]]
        assert entry["base_model"] == base.name and entry["trial"] == entry["key"].partition("@")[0]
        assert entry["bytes"] == bytes_per_vector(entry["dims"], entry["precision"])
        assert entry["low"] < entry["auc"] < entry["high"]
        if entry["precision"] == "float32":
            test = final["test"]
            assert (entry["val_auc"], entry["auc"]) == (final["val_auc"], test["auc"])
            assert (entry["low"], entry["high"]) == (test["auc_low"], test["auc_high"])
        else:
            # Four signs say little.
            margin = {"float16": 1e-3, "int8": 0.03, "binary": 0.15 if entry["dims"] > 4 else 0.4}[entry["precision"]]
            assert entry["val_auc"] == pytest.approx(final["val_auc"], abs=margin), entry
    winner = searched.finalists[0]
    chosen = {entry["trial"] for entry in searched.opened(grid=False)["quantised"]}
    assert chosen == {f"baseline:{base.name}", winner.outcome.trial}, "without a grid, the winner alone"


def test_losses_are_paired_with_the_best_float32_vectors_by_validation(searched: Searched) -> None:
    entries = searched.result["quantised"]
    untouched, trained = (
        [one for one in entries if one["key"].startswith("baseline:") == is_base] for is_base in (1, 0)
    )
    assert untouched and not any("lost" in one for one in untouched)
    best = max((one for one in trained if one["precision"] == "float32"), key=lambda one: one["val_auc"])
    assert {one["lost_from"] for one in trained} == {best["key"]}
    for one in trained:
        assert one["lost"] == pytest.approx(best["auc"] - one["auc"])
        assert one["lost_low"] <= one["lost"] <= one["lost_high"]
    halves = next(one for one in trained if one["key"] == best["key"] and one["precision"] == "float16")
    assert best["lost"] == best["lost_low"] == best["lost_high"] == 0
    apart = halves["high"] - halves["low"]
    assert halves["lost_high"] - halves["lost_low"] < apart / 10, "the same pairs, nearly the same vectors"


def test_other_test_pairs_change_nothing_on_val(searched: Searched) -> None:
    """Ranges that test had a part in would show in the AUC of int8 on val."""
    one, two = searched.result["quantised"], searched.opened("other test")["quantised"]
    assert [entry["val_auc"] for entry in one] == [entry["val_auc"] for entry in two]
    assert [entry["auc"] for entry in one] != [entry["auc"] for entry in two]


@pytest.mark.parametrize(("cell", "dims"), [(0, 16), (3, 4), (4, 48)], ids=["layer", "Matryoshka", "whole"])
def test_the_exported_models_vectors_are_what_is_quantised(
    searched: Searched, cell: int, dims: int, tmp_path: Path
) -> None:
    model, result = searched.of(cell), searched.result
    final = result["models"][model.key(model.dims[0])]
    write_model(
        model, ExportFacts(model.outcome.trial, model.config, model.base, {dims: final}, {}), tmp_path / "model"
    )
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu", truncate_dim=dims)

    def encoded(texts: list[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = loaded.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return found

    train = encoded(sorted({*searched.sides["train"].text_a, *searched.sides["train"].text_b}))
    for name in ("val", "test"):
        side = searched.sides[name]
        for precision in ("int8", "ubinary"):
            a, b = (
                quantize_embeddings(encoded(texts), precision, calibration_embeddings=train)
                for texts in (side.text_a, side.text_b)
            )
            if precision == "ubinary":
                a, b = (np.where(np.unpackbits(codes, axis=1, count=dims), 1, -1) for codes in (a, b))
            [entry] = [
                entry
                for entry in result["quantised"]
                if entry["key"] == model.key(dims) and entry["precision"] == precision.removeprefix("u")
            ]
            auc = roc_auc_score(side.label, cosines(a, b))
            assert entry["val_auc" if name == "val" else "auc"] == pytest.approx(auc, abs=1e-3)


def test_a_failure_costs_its_own_entries_and_no_score_on_test(searched: Searched) -> None:
    whole, [base] = searched.of(4), searched.models.bases.values()
    before = searched.result
    texts = base.view(searched.models.cache) / TEXTS_FILE
    texts.rename(texts.with_suffix(".away"))
    try:
        result = searched.opened()
    finally:
        texts.with_suffix(".away").rename(texts)
    assert result["models"] == before["models"] and result["verdicts"] == before["verdicts"]
    kept = [entry for entry in before["quantised"] if entry["trial"] != whole.outcome.trial]
    assert result["quantised"] == kept and len(kept) < len(before["quantised"])
    assert result["quantised_note"].startswith(f"quantised vectors of {whole.outcome.trial} were not scored (")
