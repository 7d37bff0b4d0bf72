"""What people bring as base models: usable ones are made usable with a remark, others are refused in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, RobertaConfig

from tests.helpers.bases import VOCABULARY, save_transformer
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model
from tune.cli.main import main
from tune.embed.base_models import check_source, is_static
from tune.embed.sources import load_source
from tune.errors import ModelError

TEXTS = [" ".join(TOPIC_WORDS[place : place + 2 + place % 7]) for place in range(0, 70, 3)]
LONG = " ".join(TOPIC_WORDS)
GPT2 = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=VOCABULARY)
ROBERTA = RobertaConfig(
    vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=34, pad_token_id=2,
)  # fmt: skip


def remarks(folder: Path) -> list[str]:
    return load_source(str(folder)).remarks(("", ""))


def test_without_a_padding_token_the_end_of_text_is_used_and_vectors_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    folder = save_transformer(tmp_path / "base", GPT2, pad=False)
    source = load_source(str(folder))
    assert "its tokenizer has no padding token; its end-of-text token [EOS] is used" in source.remarks(("", ""))
    alone = np.concatenate([source.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(source.embed(TEXTS), alone, atol=1e-5)
    source.model.save(str(tmp_path / "saved"), create_model_card=False)
    assert SentenceTransformer(str(tmp_path / "saved"), device="cpu").tokenizer.pad_token == "[EOS]"
    assert remarks(tmp_path / "saved") == []
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({k: v for k, v in json.loads(settings.read_text()).items() if k != "eos_token"}))
    with pytest.raises(ModelError, match="its tokenizer has neither a padding token nor an end-of-text token; set pad"):
        load_source(str(folder))


def test_every_route_pads(tmp_path: Path) -> None:
    routes = {}
    for name in ("query", "document"):
        folder = save_transformer(tmp_path / name, GPT2, pad=False)
        routes[name] = list(SentenceTransformer(str(folder), device="cpu").children())
    router = Router(routes, default_route="document", allow_empty_key=False)  # type: ignore[arg-type]
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "router"), create_model_card=False)
    source = load_source(str(tmp_path / "router"))
    for route in ("[query] ", "[document] "):
        alone = np.concatenate([source.embed([text], route) for text in TEXTS])
        np.testing.assert_allclose(source.embed(TEXTS, route), alone, atol=1e-5)
    padded = "its tokenizer has no padding token; its end-of-text token [EOS] is used"
    assert source.remarks(("[query] ", "[document] ")) == [padded]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("~nobody-of-this-name/model", "no such home folder; give the full path of the folder"),
        ("x" * 300, "File name too long; give a folder that you can read, or a hub name"),
    ],
)
def test_a_name_that_cannot_be_looked_up_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    for command in (("search", "--dry-run", "--base-model", name), ("score", name, "--data", tmp_path / "pairs.csv")):
        assert main([str(word) for word in command]) == 2
        assert capsys.readouterr().err == f"error: base model {name}: {says}\n"


@pytest.mark.parametrize("limit", [0, 4096, 10**9])
@pytest.mark.parametrize(("kind", "positions"), [("gpt2", 32), ("roberta", 31), ("bert", 64)])
def test_texts_are_cut_at_the_last_position(tmp_path: Path, kind: str, positions: int, limit: int) -> None:
    if kind == "bert":
        folder = save_tiny_bert(tmp_path)
    else:
        folder = tmp_path / "model"
        made = save_transformer(tmp_path / "made", GPT2 if kind == "gpt2" else ROBERTA)
        SentenceTransformer(str(made), device="cpu").save(str(folder), create_model_card=False)
    settings = next(folder.rglob("sentence_bert_config.json"))
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "max_seq_length": limit}))
    source = load_source(str(folder))
    limited = "it has no token limit, but only" if limit == 10**9 else f"its limit of tokens is {limit}, but it has"
    assert source.remarks(("", "")) == [f"{limited} {positions} positions; texts are cut there"]
    [first], [longer] = source.embed([LONG]), source.embed([f"{LONG} {LONG}"])
    np.testing.assert_allclose(first, longer, atol=1e-6)
    assert np.abs(first - source.embed([TOPIC_WORDS[0]])[0]).max() > 1e-3
    assert load_source(str(folder), max_length=5).model.max_seq_length == 5


def test_roberta_takes_fewer_tokens_than_its_settings_say(tmp_path: Path) -> None:
    source = load_source(str(save_transformer(tmp_path, ROBERTA, limit=10**30)))
    assert source.remarks(("", "")) == ["its limit of tokens is 34, but it has 31 positions; texts are cut there"]
    assert source.embed([LONG]).shape == (1, 16)


def test_model2vec_s_own_format_is_static_vectors(tmp_path: Path) -> None:
    original = load_source(str(save_tiny_model(tmp_path / "static", words=TOPIC_WORDS)))
    folder = tmp_path / "model2vec"
    folder.mkdir()
    shutil.copy(next((tmp_path / "static").rglob("tokenizer.json")), folder)
    vectors = original.model[0].embedding.weight.detach()
    save_file({"embeddings": vectors.half()}, str(folder / "model.safetensors"))
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": True, "hidden_dim": 48}
    (folder / "config.json").write_text(json.dumps(config))
    assert is_static(str(folder))
    source = load_source(str(folder))
    expected = original.embed(TEXTS)
    np.testing.assert_allclose(
        source.embed(TEXTS), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=2e-3
    )
    assert {tensor.dtype for tensor in source.model.parameters()} == {torch.float32}


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 90868376\n")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "modules.json"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, file: str) -> None:
    folder = save_tiny_bert(tmp_path)
    path = next(folder.rglob(file))
    pointer(path)
    with pytest.raises(ModelError, match="is a git-lfs pointer, not the file itself; run git lfs pull") as caught:
        check_source(str(folder))
    assert str(path.relative_to(folder)) in str(caught.value)


def test_a_cross_encoder_is_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(**small, vocab_size=9)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a cross-encoder, which scores pairs and has no vectors of single texts"):
        check_source(str(tmp_path))


@pytest.mark.parametrize(("kind", "says"), [("CrossEncoder", "a cross-encoder"), ("SparseEncoder", "a SparseEncoder")])
def test_other_kinds_of_sentence_transformers_are_refused(tmp_path: Path, kind: str, says: str) -> None:
    folder = save_tiny_bert(tmp_path)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_type": kind}))
    with pytest.raises(ModelError, match=rf"is {says}\b.*; give an? (embedding )?model"):
        check_source(str(folder))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["model-q4.gguf"], "has GGUF weights only; give the original model"),
        (["config.json", "model-q4.gguf"], "has GGUF weights only; give the original model"),
        (["config.json", "onnx/model.onnx"], "has ONNX weights only; give the original model"),
        (["config.json"], r"has no weights: .* contains neither \*.safetensors nor \*.bin"),
        (["weights.txt"], "is not a model folder: it contains neither modules.json nor config.json"),
    ],
)
def test_a_folder_without_usable_weights_says_what_it_has(tmp_path: Path, files: list[str], says: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=says):
        check_source(str(tmp_path))


def test_a_single_file_is_refused(tmp_path: Path) -> None:
    for name, says in (
        ("model.gguf", "is a GGUF file, which sentence-transformers cannot train"),
        ("a.pt", "is a file"),
    ):
        (tmp_path / name).write_bytes(b"GGUF")
        with pytest.raises(ModelError, match=says):
            check_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("similarity", "normalized", "note"),
    [
        ("dot", False, "made for dot products; judged by cosine"),
        ("dot", True, ""),
        ("euclidean", False, "made for Euclidean distances; judged by cosine"),
        ("manhattan", True, "made for Manhattan distances; judged by cosine"),
        ("cosine", False, ""),
        (None, False, ""),
    ],
)
def test_a_model_made_for_another_similarity_has_a_note(
    tmp_path: Path, similarity: str | None, normalized: bool, note: str
) -> None:
    static = load_source(str(save_tiny_model(tmp_path / "static", words=TOPIC_WORDS))).model
    modules = [*static.children(), *([Normalize()] if normalized else [])]
    model = SentenceTransformer(modules=modules, similarity_fn_name=similarity, device="cpu")
    model.save(str(tmp_path / "made"), create_model_card=False)
    source = load_source(str(tmp_path / "made"))
    assert source.note(("", "")) == note
    assert source.remarks(("", "")) == (
        [f"was {note.partition(';')[0]}; it is judged by cosine, which ignores vector lengths"] if note else []
    )


def test_a_name_may_say_dot(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "multi-qa-dot-v1", words=TOPIC_WORDS)
    assert load_source(str(folder)).note(("", "")) == "made for dot products; judged by cosine"
    assert load_source(str(save_tiny_model(tmp_path / "dotted", words=TOPIC_WORDS))).note(("", "")) == ""
