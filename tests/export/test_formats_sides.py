"""Graphs whose sides differ: a layer for queries alone, a base model with routes, prompts; and what is no graph."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW

from tests.helpers.bases import routed_pairs, save_router
from tests.helpers.exported_trials import FROZEN, exported_trial
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, topic_pairs
from tune.embed.graph import GraphEmbedder
from tune.embed.graphs.network import chains_of
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.errors import ModelError
from tune.export.about import read_about
from tune.export.formats.graph import write_graph
from tune.export.formats.request import Request

QUERY: dict[str, Any] = {**FROZEN, "dims": None, "side": "query", "bias": False, "learning_rate": 1e-3}
TEXTS = ["t1w1 t2w2", "t3w3", "", "t4w1 " * 60]


def _graph(model: Path, folder: Path, form: Any = "onnx") -> tuple[GraphEmbedder, dict[str, Any]]:
    """Write an exported model as a graph; return it, and what embedtune.json says of it."""
    source, about = SentenceTransformerSource(str(model)), read_about(model)
    source.model.to("cpu")
    folder.mkdir()
    graph = write_graph(source, (about["prompt_a"], about["prompt_b"]), Request(form), folder, [])
    (folder / "embedtune.json").write_text(json.dumps({"graph": graph.table}))
    return GraphEmbedder.load(folder), graph.table


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_layer_for_queries_alone_is_a_second_output(tmp_path: Path, form: str) -> None:
    sides = {
        side: topic_pairs(count, seed)
        for seed, (side, count) in enumerate([("train", 200), ("val", 150), ("test", 150)])
    }
    done = exported_trial(str(save_tiny_bert(tmp_path / "bert")), sides, tmp_path, QUERY)
    graph, table = _graph(done.model, tmp_path / "graph", form)
    model = SentenceTransformer(str(done.model), device="cpu")
    queries, documents = model.encode_query(TEXTS), model.encode_document(TEXTS)
    assert np.abs(queries - documents).max() > 1e-3
    assert np.abs(graph.encode(TEXTS, "a") - queries).max() < 1e-5
    assert np.abs(graph.encode(TEXTS, "b") - documents).max() < 1e-5
    assert {side["file"] for side in table["sides"].values()} == {f"model.{'onnx' if form == 'onnx' else 'xml'}"}


def test_a_base_model_with_routes_is_two_graphs(tmp_path: Path) -> None:
    sides = {
        side: routed_pairs(count, seed)
        for seed, (side, count) in enumerate([("train", 200), ("val", 150), ("test", 150)])
    }
    done = exported_trial(str(save_router(tmp_path / "router")), sides, tmp_path, FROZEN)
    graph, table = _graph(done.model, tmp_path / "graph")
    model = SentenceTransformer(str(done.model), device="cpu")
    assert np.abs(graph.encode(TEXTS, "a") - model.encode_query(TEXTS)).max() < 1e-5
    assert np.abs(graph.encode(TEXTS, "b") - model.encode_document(TEXTS)).max() < 1e-5
    assert [table["sides"][side]["file"] for side in "ab"] == ["model_a.onnx", "model_b.onnx"]


def test_prompts_go_before_the_texts_of_their_side(tmp_path: Path) -> None:
    source = SentenceTransformerSource(str(save_tiny_bert(tmp_path / "bert")))
    source.model.to("cpu")
    graph = write_graph(source, ("t0w0 t0w1 ", "t9w0 "), Request("onnx"), tmp_path, [])
    (tmp_path / "embedtune.json").write_text(json.dumps({"graph": graph.table}))
    loaded = GraphEmbedder.load(tmp_path)
    for side, prompt in (("a", "t0w0 t0w1 "), ("b", "t9w0 ")):
        expected = source.model.encode(TEXTS, prompt=prompt, normalize_embeddings=True)
        assert np.abs(loaded.encode(TEXTS, side) - expected).max() < 1e-5  # type: ignore[arg-type]
    source.model[1].include_prompt = False
    with pytest.raises(ModelError, match="its pooling leaves out the tokens of the prompt 't0w0 t0w1 '"):
        chains_of(source.model, ("t0w0 t0w1 ", "t9w0 "))


def test_a_model_whose_texts_are_no_tokens_is_refused() -> None:
    model = SentenceTransformer(modules=[BoW(TOPIC_WORDS)], device="cpu")
    with pytest.raises(ModelError, match="begins with BoW cannot be written as a graph"):
        chains_of(model, ("", ""))
