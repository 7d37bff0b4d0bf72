"""Graphs behind the API: an int8 graph's vectors depend on the texts they are encoded with, so requests stay apart."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import openai
import pytest

from tests.helpers.serving import PROMPT_A, running, some_texts
from tests.helpers.tiny import save_tiny_bert
from tune.embed.exported import load_exported
from tune.embed.sources import load_open
from tune.export.formats.graph import write_graph
from tune.export.formats.request import Request
from tune.serve.app import make_app
from tune.serve.served import load_served

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_requests_at_once_get_what_encode_gives_for_their_texts(
    tmp_path: Path, quantize: Literal["int8"] | None
) -> None:
    graph, texts = tmp_path / "graph", some_texts(60)
    graph.mkdir()
    source = load_open(str(save_tiny_bert(tmp_path)))
    table = write_graph(source, (PROMPT_A, ""), Request("onnx", quantize), graph, texts).table
    (graph / "embedtune.json").write_text(json.dumps({"graph": table, "prompt_a": PROMPT_A, "prompt_b": ""}))
    exported, served = load_exported(graph), load_served(graph)
    together, apart = exported.encode(texts), np.concatenate([exported.encode([text]) for text in texts])
    assert (np.abs(together - apart).max() > 1e-4) == (quantize == "int8") == served.alone

    with running(make_app(served)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=60)

        def ask(start: int) -> bool:
            own = texts[start : start + 1 + start % 5]
            answer = client.embeddings.create(model="graph", input=own)
            assert answer.usage.prompt_tokens == sum(len(text.split()) + len(PROMPT_A.split()) + 2 for text in own)
            got = np.array([one.embedding for one in answer.data])
            return bool(np.abs(got - exported.encode(own)).max() < 1e-6)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(50)))
