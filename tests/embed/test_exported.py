"""`load_exported` loads every kind of export; a stored address gets no key, and what is no export is refused."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.helpers.embed_server import EmbedServer
from tests.helpers.serving import PROMPT_A, save_export, some_texts
from tune.config.closed import ClosedConfig
from tune.embed.closed import ClosedName, ClosedOptions
from tune.embed.export_files import export_name
from tune.embed.exported import load_exported
from tune.errors import ModelError
from tune.export.write import Adapter, write_adapted


def test_an_open_export_encodes_with_its_own_prompts(tmp_path: Path) -> None:
    best = save_export(tmp_path)
    exported, plain, texts = load_exported(best), SentenceTransformer(str(best), device="cpu"), some_texts(9)
    assert (exported.name, exported.dims) == ("tickets", 32)
    for side, prompt in (("a", PROMPT_A), ("b", "")):
        expected = plain.encode(texts, prompt=prompt, normalize_embeddings=True)
        assert np.abs(exported.encode(texts, side) - expected).max() < 1e-6  # type: ignore[arg-type]
    assert exported.encode([]).shape == (0, 32)
    with pytest.raises(ValueError, match="side must be a or b, not query"):
        exported.encode(texts, "query")  # type: ignore[arg-type]


def test_an_export_on_a_closed_model_sends_its_key_only_where_the_caller_says(
    server: EmbedServer, tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).normal(size=(16, 256)).astype(np.float32)
    options, name = ClosedOptions(base_url=server.cohere_url, max_retries=0), ClosedName("cohere", "embed-v4.0", 256)
    adapter = Adapter({"linear.weight": weight}, name, options, "identity", ("[search_query] ", "[search_document] "))
    written = write_adapted(tmp_path / "closed", adapter)
    with pytest.raises(ModelError, match=r"401|key"):
        load_exported(written).encode(["blue cheese"])
    exported = load_exported(written, closed=ClosedConfig(cohere_base_url=server.cohere_url))
    assert (exported.name, exported.dims) == ("closed", 16)
    assert exported.encode(["blue cheese"], "b").shape == (1, 16)


def test_the_best_of_a_search_has_the_search_s_name(tmp_path: Path) -> None:
    assert export_name(tmp_path / "tickets" / "best") == "tickets" and export_name(tmp_path / "mine") == "mine"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "is not an exported model .has no embedtune.json"),
        ("[]", "was not written by an export"),
        ("{", "cannot be read"),
        ('{"prompt_a": 3}', "was not written by an export"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / "embedtune.json").write_text(content)
    with pytest.raises(ModelError, match=why):
        load_exported(tmp_path)
