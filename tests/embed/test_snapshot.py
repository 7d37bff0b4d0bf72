"""Snapshots: a text is embedded once, whatever is killed, damaged or run in parallel; sources and their names."""

import errno
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny import save_tiny_bert, save_tiny_model
from tune.data.sides import LabelledPairs
from tune.embed import snapshot as snapshot_module
from tune.embed.base_models import check_source
from tune.embed.prepare import prepare_base
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.snapshot import Snapshot, text_key
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.errors import ModelError, UserError

TEXTS = [f"where is the swift purse number {i}" for i in range(100)]


class Counting:
    """A source that records the texts it is asked for."""

    def __init__(self, source: SentenceTransformerSource) -> None:
        self.source, self.asked = source, []
        self.name, self.dims, self.fingerprint = source.name, source.dims, source.fingerprint
        self.weights, self.known_dims = source.weights, source.known_dims

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        return self.source.prompts(query_document, given)

    def embed(self, texts: list[str], prompt: str = "") -> np.ndarray:
        self.asked += [(prompt, text) for text in texts]
        return self.source.embed(texts, prompt)


@pytest.fixture
def source(tiny_model: Path) -> Counting:
    return Counting(load_source(str(tiny_model)))


def snapshot_of(source: Counting, root: Path) -> Snapshot:
    return Snapshot(root, source.fingerprint, source.dims)


def keys(texts: list[str], prompt: str = "") -> list[bytes]:
    return [text_key(prompt, text) for text in texts]


def test_a_text_is_embedded_once_and_read_back_unchanged(source: Counting, tmp_path: Path) -> None:
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", [*TEXTS, *TEXTS[:5]]) == 100
    again = snapshot_of(source, tmp_path)
    assert again.embed(source, "", TEXTS) == 0
    assert again.embed(source, "", [*TEXTS, "a new one"]) == 1
    assert len(source.asked) == 101
    some = [*TEXTS[7:9], "a new one", TEXTS[7]]
    assert np.array_equal(again.vectors(keys(some)), source.source.embed(some))
    with pytest.raises(KeyError):
        again.vectors(keys(["never embedded"]))


def test_prompts_and_max_length_change_the_vectors(source: Counting, tiny_model: Path, tmp_path: Path) -> None:
    snapshot = snapshot_of(source, tmp_path)
    snapshot.embed(source, "", TEXTS)
    assert snapshot.embed(source, "query: ", TEXTS) == 100
    plain, prompted = snapshot.vectors(keys(TEXTS)), snapshot.vectors(keys(TEXTS, "query: "))
    assert not np.array_equal(plain, prompted)
    short = load_source(str(tiny_model), max_length=2)
    assert short.fingerprint != source.fingerprint
    assert np.allclose(short.embed(["a b c d"]), short.embed(["a b x y"]))


def test_changed_weights_are_another_source(tmp_path: Path) -> None:
    first = load_source(str(save_tiny_model(tmp_path / "model", seed=1)))
    assert load_source(str(tmp_path / "model")).fingerprint == first.fingerprint
    other = load_source(str(save_tiny_model(tmp_path / "other" / "model", seed=2)))
    assert other.fingerprint != first.fingerprint
    assert load_source(str(tmp_path / "model"), "bf16").fingerprint != first.fingerprint


@pytest.mark.parametrize("save", [save_tiny_model, save_tiny_bert])
def test_a_changed_tokenizer_is_another_source(save: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = save(tmp_path / "saved")
    first = load_source(str(folder))
    before = first.fingerprint
    first.embed(["where is it", "a"])
    assert SentenceTransformerSource(str(folder)).fingerprint == before
    file = next(folder.rglob("tokenizer.json"))
    words = json.loads(file.read_text())
    # Two words swap their vectors: the weights are the same, the vectors are not.
    one, other = list(words["model"]["vocab"])[-2:]
    vocab = words["model"]["vocab"]
    vocab[one], vocab[other] = vocab[other], vocab[one]
    file.write_text(json.dumps(words))
    changed = load_source(str(folder))
    assert changed.weights == first.weights
    assert not np.array_equal(changed.embed([one]), first.embed([one]))
    assert changed.fingerprint != before


KILLED = """
import os, signal, sys
from pathlib import Path
from tune.embed import snapshot
from tune.embed.sources import load_source
snapshot.TEXTS_PER_SHARD = 1
source = load_source(sys.argv[1])
kept = snapshot.Snapshot(Path(sys.argv[2]), source.fingerprint, source.dims)
texts = [f"where is the swift purse number {i}" for i in range(100)]
kept.embed(source, "", texts, lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 48 else None)
"""


def test_kill_9_loses_at_most_the_shard_being_written(source: Counting, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tiny_model), str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    # A kill during a write leaves a part file, never a torn shard.
    (tmp_path / source.fingerprint / ".abc.npy.xyz.part").write_bytes(b"\x93NUMPY torn")
    snapshot = snapshot_of(source, tmp_path)
    assert len(snapshot) == 48
    assert snapshot.embed(source, "", TEXTS) == 52
    assert np.array_equal(snapshot.vectors(keys(TEXTS)), source.source.embed(TEXTS))


def test_a_damaged_shard_is_embedded_again(
    source: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshot_module, "TEXTS_PER_SHARD", 25)
    snapshot_of(source, tmp_path).embed(source, "", TEXTS)
    shards = sorted((tmp_path / source.fingerprint).glob("*.npy"))
    assert len(shards) == 4
    shards[0].write_bytes(shards[0].read_bytes()[:-100])
    shards[1].write_bytes(b"")
    snapshot = snapshot_of(source, tmp_path)
    assert len(snapshot) == 50 and caplog.text.count("is damaged; its texts are embedded again") == 2
    assert snapshot.embed(source, "", TEXTS) == 50
    assert np.array_equal(snapshot_of(source, tmp_path).vectors(keys(TEXTS)), source.source.embed(TEXTS))


def test_a_shard_that_cannot_be_opened_is_not_treated_as_damaged(
    source: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_of(source, tmp_path).embed(source, "", TEXTS)

    def exhausted(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("tune.embed.snapshot.np.load", exhausted)
        with pytest.raises(UserError, match=r"cannot be read \(Too many open files\); fix that and run again, or move"):
            snapshot_of(source, tmp_path)
    assert len(snapshot_of(source, tmp_path)) == 100


def test_views_are_shared_by_memory_map_and_hold_no_test_rows(source: Counting, tmp_path: Path) -> None:
    def side(start: int, stop: int) -> LabelledPairs:
        part = TEXTS[start:stop]
        return LabelledPairs(part[::2], part[1::2], np.resize(np.array([0, 1], np.int8), len(part) // 2))

    sides = {"train": side(0, 40), "val": side(40, 60), "test": side(60, 100)}
    base = prepare_base(source, sides, tmp_path, ("", ""))  # type: ignore[arg-type]
    assert base.embedded == 100
    view = View.open(base.view(tmp_path))
    assert isinstance(view.vectors, np.memmap) and not view.vectors.flags.writeable
    assert view.vectors.shape == (60, source.dims) and len(view.train) == 20 and len(view.val) == 10
    assert not any(b"purse" in path.read_bytes() for path in base.view(tmp_path).iterdir()), "no texts in it"
    assert np.array_equal(view.vectors[view.val.a[3]], source.source.embed([TEXTS[46]])[0])
    in_memory = View.open(base.view(tmp_path), map_memory=False)
    assert not isinstance(in_memory.vectors, np.memmap) and np.array_equal(in_memory.vectors, view.vectors)
    vectors, rows = base.rows(tmp_path, sides["test"])
    assert np.array_equal(vectors[rows.b[2]], source.source.embed([TEXTS[65]])[0])
    assert prepare_base(source, sides, tmp_path, ("", "")).embedded == 0  # type: ignore[arg-type]
    swapped = {**sides, "train": sides["val"], "val": sides["train"]}
    assert prepare_base(source, swapped, tmp_path, ("", "")).digest != base.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no-such-model", "minilm, wordllama"),
        ("nobody/no-such-model", "minilm, wordllama"),
        ("./nowhere", "no such folder"),
        (str(Path(__file__).parent), "not a model folder"),
    ],
)
def test_an_unknown_base_model_is_one_line_with_a_fix(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        check_source(name)
    assert "\n" not in str(caught.value)


def test_packaged_models_need_no_network(tmp_path: Path) -> None:
    for name, dims in (("minilm", 384), ("wordllama", 256)):
        check_source(name)
        source = load_source(name)
        assert source.dims == dims
        vectors = source.embed(["how do I reset it", "how can I reset it", "blue cheese"])
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.2
