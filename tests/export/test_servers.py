"""What the export says of each server is what a reader with that server's published rules gives."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from tests.helpers.bases import save_own_code, save_router
from tests.helpers.exported import cosine_auc
from tests.helpers.exported_trials import FROZEN, LORA, WHOLE, Exported, exported_trial
from tests.helpers.readers import CannotServe, Matrix, Rule, tei_rule, vectors_by, vllm_rule
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model, topic_pairs
from tune.export.about import read_about
from tune.export.portable import MODULES, make_portable
from tune.export.servers import ST, TEI, VLLM, servers_of, warnings

SIDES = {"train": topic_pairs(90, 0), "val": topic_pairs(60, 1), "test": topic_pairs(60, 2)}
TEXTS = ["t0w1 t1w2", "t3w3", " ".join(TOPIC_WORDS), "an unknown word"]
"""The third is longer than the model reads."""

RULES = {TEI: tei_rule, VLLM: vllm_rule}
PLAIN = {**FROZEN, "bias": False}
AXES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "bias": {**FROZEN, "bias": True},
    "tanh": {**FROZEN, "bias": False, "activation": "tanh"},
    "whole": WHOLE,
    "lora": {**LORA, "dims": 16, "bias": False},
    "query": {**FROZEN, "bias": False, "side": "query", "dims": None},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a BERT that returns unit vectors, as most models for similarity do."""
    folder = tmp_path_factory.mktemp("base")
    modules = SentenceTransformer(str(save_tiny_bert(folder)), device="cpu").children()
    SentenceTransformer(modules=[*modules, Normalize()], device="cpu").save(str(folder / "unit"))
    return str(folder / "unit")


@pytest.fixture(scope="module")
def exports(base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    folder = tmp_path_factory.mktemp("exports")
    return {name: exported_trial(base, SIDES, folder / name, axes) for name, axes in AXES.items()}


def own_vectors(model: Path, texts: list[str] = TEXTS, **options: Any) -> Matrix:
    return np.asarray(SentenceTransformer(str(model), device="cpu").encode(texts, **options))


def auc_by(rule: Rule, model: Path) -> float:
    test = SIDES["test"]
    return cosine_auc(*(vectors_by(rule, model, side) for side in (test.text_a, test.text_b)), test.label.tolist())


@pytest.mark.parametrize("server", RULES)
@pytest.mark.parametrize("name", ["plain", "whole", "lora"])
def test_where_a_server_is_right_it_gives_the_vectors_and_the_auc_of_the_leaderboard(
    exports: dict[str, Exported], name: str, server: str
) -> None:
    done = exports[name]
    assert read_about(done.model)["servers"][server]["verdict"] == "right"
    rule = RULES[server](done.model)
    assert abs(vectors_by(rule, done.model, TEXTS) - own_vectors(done.model)).max() < 1e-5
    assert auc_by(rule, done.model) == pytest.approx(done.final["test"]["auc"], abs=1e-4)
    assert f"**{server}** " in (done.model / "README.md").read_text()
    assert not warnings(read_about(done.model)["servers"])


@pytest.mark.parametrize("server", RULES)
@pytest.mark.parametrize(("name", "what"), [("bias", "a bias"), ("tanh", "an activation")])
def test_where_a_server_is_wrong_its_vectors_differ_and_the_card_and_a_line_say_so(
    exports: dict[str, Exported], name: str, what: str, server: str
) -> None:
    model = exports[name].model
    about = read_about(model)["servers"]
    assert about[server]["verdict"] == "wrong" and about[ST]["verdict"] == "right"
    given, own = vectors_by(RULES[server](model), model, TEXTS), own_vectors(model)
    assert given.shape == own.shape and abs(given - own).max() > 1e-3
    card = (model / "README.md").read_text()
    assert f"- **{server}** gives **other vectors**: it normalises at the end alone, but the Dense layer" in card
    [line] = [line for line in warnings(about) if line.startswith(server)]
    assert f"the Dense layer has {what}" in line and line.endswith("--activation identity) is served right")


def test_a_bias_is_served_right_on_a_base_that_does_not_normalise(tmp_path: Path) -> None:
    done = exported_trial(str(save_tiny_bert(tmp_path / "base")), SIDES, tmp_path, AXES["bias"])
    for server, rule in RULES.items():
        assert servers_of(done.model)[server].verdict == "right"
        assert abs(vectors_by(rule(done.model), done.model, TEXTS) - own_vectors(done.model)).max() < 1e-5


def test_the_inner_normalize_is_left_out_only_where_it_changes_nothing(exports: dict[str, Exported]) -> None:
    kinds = {
        name: [module["type"].rsplit(".", 1)[-1] for module in json.loads((done.model / MODULES).read_text())]
        for name, done in exports.items()
    }
    short = ["Transformer", "Pooling", "Dense", "Normalize"]
    assert kinds["plain"] == kinds["lora"] == short and kinds["whole"] == ["Transformer", "Pooling", "Normalize"]
    assert kinds["bias"] == kinds["tanh"] == ["Transformer", "Pooling", "Normalize", "Dense", "Normalize"]
    assert kinds["query"] == ["Transformer", "Pooling", "Normalize", "Router"]


def test_a_layer_for_queries_alone_is_served_as_documents(exports: dict[str, Exported], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exports["query"].model, folder)
    # Its best layer may be the identity that it started from.
    weights = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    save_file({"linear.weight": weights}, str(folder / "3_Router" / "query_0_Dense" / "model.safetensors"))
    model = SentenceTransformer(str(folder), device="cpu")
    for server, rule in RULES.items():
        found = servers_of(folder)[server]
        assert found.verdict == "wrong" and "gives queries the vectors of documents" in found.why
        given = vectors_by(rule(folder), folder, TEXTS)
        assert abs(given - model.encode_document(TEXTS)).max() < 1e-5
        assert abs(given - model.encode_query(TEXTS)).max() > 1e-3


def test_in_the_names_of_version_6_a_server_loses_the_layer_or_does_not_start(
    exports: dict[str, Exported], tmp_path: Path
) -> None:
    model = SentenceTransformer(str(exports["plain"].model), device="cpu")
    model.save(str(tmp_path / "new"), create_model_card=False)
    with pytest.raises(CannotServe, match="lacks a field"):
        tei_rule(tmp_path / "new")
    assert servers_of(tmp_path / "new")[ST].since == "6" and servers_of(tmp_path / "new")[TEI].verdict == "no"
    half = tmp_path / "half"
    shutil.copytree(exports["plain"].model, half)
    shutil.copy(tmp_path / "new" / MODULES, half / MODULES)
    assert vectors_by(tei_rule(half), half, TEXTS).shape[1] == 32 != own_vectors(half).shape[1]
    assert servers_of(half)[TEI].verdict == "no"
    for newer in (tmp_path / "new", half):
        found = servers_of(newer)[VLLM]
        assert found.verdict == "unknown" and "54533" in found.why


@pytest.mark.parametrize(
    ("prompts", "default", "told"),
    [
        ({"text": "t0w0 : "}, "text", "start it with --default-prompt-name text"),
        ({"query": "t0w0 : ", "document": ""}, None, 'give "prompt_name": "query" in each request to /embed'),
    ],
    ids=["one", "query"],
)
def test_what_a_server_has_to_be_told_of_prompts(
    base: str, tmp_path: Path, prompts: dict[str, str], default: str | None, told: str
) -> None:
    [name] = [name for name, text in prompts.items() if text]
    saved = SentenceTransformer(base, device="cpu", prompts=prompts, default_prompt_name=default)
    saved.save(str(tmp_path), create_model_card=False)
    make_portable(tmp_path)
    found = servers_of(tmp_path)
    assert found[TEI].verdict == found[VLLM].verdict == "right" and found[TEI].needs == told
    assert found[VLLM].needs == "put the model's prompt in front of each text, it does not do so itself"
    lines = warnings({server: serving.to_json() for server, serving in found.items()})
    assert [line.partition(" right only if you ")[0] for line in lines] == [
        f"{TEI} serves this model",
        "vLLM serves this model",
    ]
    own = own_vectors(tmp_path, prompt_name=name)
    for rule in (tei_rule(tmp_path), vllm_rule(tmp_path)):
        assert abs(vectors_by(rule, tmp_path, TEXTS, prompts[name]) - own).max() < 1e-5
        assert abs(vectors_by(rule, tmp_path, TEXTS) - own).max() > 1e-3


def test_static_embeddings_and_routes_of_the_base_are_refused_by_servers(tmp_path: Path) -> None:
    bases = {
        "static": save_tiny_model(tmp_path / "static", words=TOPIC_WORDS),
        "routes": save_router(tmp_path / "router"),
    }
    for name, why, since in (("static", "its embeddings are static", "3.2"), ("routes", "take different routes", "5")):
        done = exported_trial(str(bases[name]), SIDES, tmp_path / name, PLAIN)
        found = servers_of(done.model)
        assert (
            found[ST].since == since
            and f"sentence-transformers {since} or later" in (done.model / "README.md").read_text()
        )
        for server, rule in RULES.items():
            assert found[server].verdict == "no" and why in found[server].why
            with pytest.raises(CannotServe):
                rule(done.model)


def test_code_of_its_own_and_unknown_architectures_are_not_judged(tmp_path: Path, exports: dict[str, Exported]) -> None:
    own = str(save_own_code(tmp_path / "own"))
    done = exported_trial(own, SIDES, tmp_path, {**PLAIN, "trust_remote_code": True, "dims": 8})
    other = tmp_path / "other"
    shutil.copytree(exports["plain"].model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "odd", "architectures": ["OddModel"]}))
    for model, why in ((done.model, "its base model runs code of its own"), (other, "its list of")):
        for server in RULES:
            found = servers_of(model)[server]
            assert found.verdict == "unknown" and found.why.startswith(why)
    assert (
        "vLLM** is unchecked: its base model runs code of its own. Compare a" in (done.model / "README.md").read_text()
    )


def test_what_a_server_asks_for_to_start_is_said(tmp_path: Path, exports: dict[str, Exported]) -> None:
    other = tmp_path / "other"
    shutil.copytree(exports["plain"].model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    found = servers_of(other)
    assert found[TEI].verdict == "right" and found[TEI].needs == "start it on a CUDA GPU with --dtype float16"
    assert not servers_of(exports["plain"].model)[TEI].needs
    [line] = warnings({TEI: found[TEI].to_json()})
    assert line == f"{TEI} serves this model right only if you {found[TEI].needs}"


def test_other_weights_in_the_directory_do_not_stop_vllm(exports: dict[str, Exported], tmp_path: Path) -> None:
    model = exports["plain"].model
    assert (model / "adapter.safetensors").is_file()
    vllm_rule(model)
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").unlink()
    with pytest.raises(CannotServe, match=r"no parameter named linear\.weight"):
        vllm_rule(tmp_path / "model")


def test_exports_of_earlier_versions_have_no_servers() -> None:
    assert warnings({}) == []
