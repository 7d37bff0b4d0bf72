"""Layers for queries alone, from a trial to the export: routes, prompts, scores, and what plain `encode` returns."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.helpers.bases import routed_pairs, save_router
from tests.helpers.exported_trials import Exported, exported_trial, st_auc
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, topic_pairs
from tune.config.search import search_config
from tune.data.sides import LabelledPairs
from tune.embed.exported import load_exported
from tune.events import ignore
from tune.pipeline.score import score_command

QUERY: dict[str, Any] = {"dims": None, "side": "query", "bias": False, "learning_rate": 2e-2, "epochs": 6}
ROUTES = ("query", "document")
PROMPTS = {"query": "t0w0 t0w1 ", "document": "t1w0 "}
SIDES = {"train": topic_pairs(400, 0), "val": topic_pairs(200, 1), "test": topic_pairs(200, 2)}
ROUTED = {"train": routed_pairs(300, 0), "val": routed_pairs(200, 1), "test": routed_pairs(200, 2)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model whose queries and documents have prompts."""
    folder = save_tiny_model(tmp_path_factory.mktemp("bases") / "plain", words=TOPIC_WORDS)
    model = SentenceTransformer(str(folder), device="cpu", prompts=PROMPTS)
    model.save(str(folder.parent / "prompted"), create_model_card=False)
    return folder.parent / "prompted"


@pytest.fixture(scope="module")
def done(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported_trial(str(base), SIDES, tmp_path_factory.mktemp("exported"), QUERY)


def write_pairs(path: Path, pairs: LabelledPairs) -> Path:
    """Write the pairs with columns that say nothing about queries."""
    rows = dict.fromkeys(zip(pairs.text_a, pairs.text_b, pairs.label.tolist(), strict=True))
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows([("text1", "text2", "label"), *rows])
    return path


def test_the_export_scores_what_was_reported_by_its_two_routes(done: Exported) -> None:
    reported = done.final["test"]["auc"]
    assert abs(reported - done.untouched["test"]["auc"]) > 0.02, "the layer must do something"
    assert st_auc(done.model, SIDES["test"], ROUTES) == pytest.approx(reported, abs=1e-4)
    assert done.final["val_auc"] == pytest.approx(done.reports[-1].best_auc, abs=1e-6)


def test_documents_and_plain_encode_keep_the_vectors_of_the_base(done: Exported, base: Path) -> None:
    exported, untouched = (SentenceTransformer(str(one), device="cpu") for one in (done.model, base))
    texts = SIDES["test"].text_b[:20]
    stored = untouched.encode_document(texts, normalize_embeddings=True)
    assert np.allclose(exported.encode_document(texts), stored, atol=1e-6)
    assert np.allclose(exported.encode(texts), stored, atol=1e-6), "the default route, with its prompt"
    queries = exported.encode_query(texts)
    assert not np.allclose(queries, untouched.encode_query(texts, normalize_embeddings=True), atol=0.05)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert exported.prompts == PROMPTS and exported.default_prompt_name == "document"


def test_score_and_the_loader_take_both_routes_whatever_the_columns_are_called(done: Exported, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.csv", SIDES["test"])
    config = search_config(data={"data": str(data)}, space={"base_model": "minilm"})
    scored = score_command(str(done.model), config, None, None, ignore)
    assert scored["auc"] == pytest.approx(done.final["test"]["auc"], abs=1e-4)
    assert scored["accuracy"] == pytest.approx(done.final["test"]["accuracy"], abs=0.01)
    loaded, test = load_exported(done.model), SIDES["test"]
    a, b = loaded.encode(test.text_a, "a"), loaded.encode(test.text_b, "b")
    fresh = SentenceTransformer(str(done.model), device="cpu")
    assert np.allclose(a, fresh.encode_query(test.text_a), atol=1e-6)
    assert np.allclose(b, fresh.encode_document(test.text_b), atol=1e-6)


def test_the_card_says_which_side_was_trained(done: Exported) -> None:
    card, about = (done.model / "README.md").read_text(), json.loads((done.model / "embedtune.json").read_text())
    assert "with a Dense layer for first texts (queries) alone, trained on" in card
    assert (
        "Document vectors that you have stored stay valid" in card and "Plain `encode` takes the route of doc" in card
    )
    assert 'model.encode_query(["first text"])' in card and 'model.encode_document(["second text"])' in card
    assert about["config"]["side"] == "query" and about["config"]["bias"] is False
    assert about["prompt_a"] == "[query] t0w0 t0w1 " and about["prompt_b"] == "[document] t1w0 "


@pytest.mark.parametrize("query_document", [True, False], ids=["routes", "alike"])
def test_a_base_with_routes_keeps_them_behind_the_layer(tmp_path: Path, query_document: bool) -> None:
    router = str(save_router(tmp_path / "router"))
    done = exported_trial(router, ROUTED, tmp_path, QUERY, query_document)
    assert st_auc(done.model, ROUTED["test"], ROUTES) == pytest.approx(done.final["test"]["auc"], abs=1e-4)
    data = write_pairs(tmp_path / "pairs.csv", replace(ROUTED["test"]))
    config = search_config(data={"data": str(data)}, space={"base_model": "minilm"})
    scored = score_command(str(done.model), config, None, None, ignore)
    assert scored["auc"] == pytest.approx(done.final["test"]["auc"], abs=2e-3), "without repeats"
    exported, base = SentenceTransformer(str(done.model), device="cpu"), SentenceTransformer(router, device="cpu")
    texts = ROUTED["test"].text_b[:20]
    assert np.allclose(
        exported.encode_document(texts), base.encode_document(texts, normalize_embeddings=True), atol=1e-6
    )
    assert np.allclose(exported.encode(texts), exported.encode_document(texts), atol=1e-6)
