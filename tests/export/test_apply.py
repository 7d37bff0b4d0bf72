"""`python -m tune apply`: stored vectors become those of the exported model, whole or not at all."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from tests.helpers.command import environment, tune_here
from tests.helpers.embed_server import OWN_MODEL, EmbedServer, embed
from tests.helpers.exported_trials import FROZEN, WHOLE, exported_trial
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, topic_pairs
from tune.embed.adapted import AdaptedEmbedder, is_adapted
from tune.embed.closed import ClosedName, ClosedOptions
from tune.embed.sources import load_open
from tune.export.write import Adapter, write_adapted

SIDES = {"train": topic_pairs(40, 0), "val": topic_pairs(40, 1), "test": topic_pairs(120, 2)}
TEXTS = list(dict.fromkeys(SIDES["test"].text_a))
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """An export, the vectors of TEXTS that its base model gives, and those that the export gives."""

    model: Path
    stored: Array
    tuned: Array


def kept(base: str, folder: Path, **axes: Any) -> Kept:
    model = exported_trial(base, SIDES, folder, {**FROZEN, **axes}).model
    loaded = SentenceTransformer(str(model), device="cpu")
    encode = loaded.encode_query if axes.get("side") == "query" else loaded.encode
    return Kept(model, load_open(base).embed(TEXTS), encode(TEXTS))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """Exports on the packaged models and on a tiny one of static vectors."""
    folder = tmp_path_factory.mktemp("bases")
    tiny = str(save_tiny_model(folder / "tiny", dims=24, words=TOPIC_WORDS))
    return {
        "tiny": kept(tiny, folder / "plain", bias=False),
        "query": kept(tiny, folder / "query", bias=False, side="query", dims=None),
        "wordllama": kept("wordllama", folder / "wordllama", bias=True),
        "minilm": kept("minilm", folder / "minilm", bias=True, activation="tanh"),
    }


@pytest.fixture
def tiny(bases: dict[str, Kept]) -> Kept:
    return bases["tiny"]


def saved(path: Path, vectors: NDArray[Any]) -> Path:
    np.save(path, vectors)
    return path


def applied(capsys: pytest.CaptureFixture[str], model: Path, vectors: Path, to: Path, *more: object) -> str:
    ran = tune_here(capsys, "apply", model, "--vectors", vectors, "--to", to, *more)
    assert ran.code == 0, ran.err
    return ran.out


def refused(capsys: pytest.CaptureFixture[str], model: Path, vectors: Path, to: Path, *more: object) -> str:
    before = sorted(to.parent.iterdir())
    ran = tune_here(capsys, "apply", model, "--vectors", vectors, "--to", to, *more)
    assert ran.code == 2 and ran.err.count("\n") == 1 and ran.err.startswith("error: "), ran
    assert sorted(to.parent.iterdir()) == before, "something was left behind"
    return ran.err


@pytest.mark.parametrize("name", ["tiny", "query", "wordllama", "minilm"])
def test_vectors_are_those_of_the_exported_model(
    bases: dict[str, Kept], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = bases[name]
    side = ("--side", "query") if name == "query" else ()
    said = applied(capsys, one.model, saved(tmp_path / "in.npy", one.stored), tmp_path / "out.npy", *side, "--chunk", 7)
    got = np.load(tmp_path / "out.npy")
    assert got.dtype == np.float32 and got.shape == one.tuned.shape
    np.testing.assert_allclose(got, one.tuned, atol=1e-6)
    assert f"wrote {tmp_path / 'out.npy'}: {len(TEXTS)} vectors of {got.shape[1]} dims in " in said
    assert f"{len(TEXTS)} of {len(TEXTS)} vectors mapped, " in said and not is_adapted(one.model)


CARD = """
import sys
{code}
np.save("out.npy", vectors)
print(sorted(name for name in ("torch", "tune", "sentence_transformers") if name in sys.modules))
"""


@pytest.mark.parametrize("name", ["tiny", "query", "wordllama", "minilm"])
def test_the_lines_of_the_card_do_the_same(bases: dict[str, Kept], name: str, tmp_path: Path) -> None:
    one = bases[name]
    saved(tmp_path / "stored.npy", one.stored)
    blocks = re.findall(r"```python\n(.*?)\n```", (one.model / "README.md").read_text(), re.S)
    [code] = [block for block in blocks if "adapter.safetensors" in block]
    script = CARD.format(code=code.replace("PATH/OF/THIS/DIRECTORY", str(one.model)))
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and ran.stdout.strip() == "[]", ran.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), one.tuned, atol=1e-6)
    assert len(code.splitlines()) <= 10


@pytest.mark.parametrize("kind", ["float16", "float64", "fortran", ">f4"])
def test_other_layouts_of_npy(kind: str, tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = np.asfortranarray(tiny.stored) if kind == "fortran" else tiny.stored.astype(kind)
    written = saved(tmp_path / "in.npy", stored)
    applied(capsys, tiny.model, written, tmp_path / "out.npy", "--chunk", 50, "--dtype", "float16")
    got = np.load(tmp_path / "out.npy")
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, tiny.tuned, atol=2e-3)


def parquet_of(path: Path, vectors: Array, kind: str, rows: int = 40) -> Path:
    """Write ids, vectors and nested notes, with `rows` in a group."""
    lists = pa.array(vectors.tolist(), pa.list_(pa.float32(), vectors.shape[1] if kind == "fixed" else -1))
    count = range(len(vectors))
    notes = [{"of": [f"note {at}"]} if at % 3 else None for at in count]
    columns = {"id": pa.array([f"id-{at}" for at in count]), "vector": lists, "notes": pa.array(notes)}
    metadata = {"made": "by hand", "huggingface": json.dumps({"info": {"features": {}}})}
    pq.write_table(pa.table(columns, metadata=metadata), path, row_group_size=rows)
    return path


@pytest.mark.parametrize("kind", ["fixed", "variable"])
def test_parquet_keeps_its_other_columns(
    kind: str, tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pq.read_table(parquet_of(tmp_path / "in.parquet", tiny.stored, kind))
    applied(capsys, tiny.model, tmp_path / "in.parquet", tmp_path / "out.parquet", "--chunk", 33)
    after = pq.read_table(tmp_path / "out.parquet")
    assert after.column_names == before.column_names and after.schema.metadata == {b"made": b"by hand"}
    assert all(after[name].equals(before[name]) for name in ("id", "notes"))
    assert after.schema.field("vector").type == pa.list_(pa.float32(), 16)
    np.testing.assert_allclose(np.array(after["vector"].to_pylist()), tiny.tuned, atol=1e-6)


def test_a_folder_is_mirrored(tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name, part in (("b.npy", tiny.stored[50:]), ("a.npy", tiny.stored[:50]), (".part.npy", tiny.stored[:1])):
        saved(tmp_path / "in" / name, part)
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    said = applied(
        capsys, tiny.model, tmp_path / "in", tmp_path / "out", "--texts", tmp_path / "texts.txt", "--chunk", 10**15
    )
    assert "10 texts embedded again: cosines 1.0000 to 1.0000" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.npy", "b.npy"]
    got = np.concatenate([np.load(tmp_path / "out" / name) for name in ("a.npy", "b.npy")])
    np.testing.assert_allclose(got, tiny.tuned, atol=1e-6)
    bad = tiny.stored[:60].copy()
    bad[55, 3] = np.nan
    saved(tmp_path / "in" / "c.npy", bad)
    said = refused(capsys, tiny.model, tmp_path / "in", tmp_path / "again")
    assert "c.npy: row 55 has NaN or an infinite number" in said


def bad_npy(path: Path, stored: Array) -> dict[str, tuple[Any, str]]:
    zero, infinite = stored.copy(), stored.copy()
    zero[9], infinite[8, 0] = 0, np.inf
    return {
        "zero": (zero, "in.npy: row 9 is all zeros; remove it"),
        "infinite": (infinite, "in.npy: row 8 has NaN or an infinite number; remove it"),
        "wide": (
            np.ones((4, 25), np.float32),
            "has vectors of 25 dims, but the layer takes those of tiny, which have 24",
        ),
        "whole numbers": (np.ones((4, 24), np.int8), "holds int8; vectors must be one of float16, float32, float64"),
        "objects": (np.array([[None]]), "holds object; vectors must be one of"),
        "one row": (stored[0], "has the shape (24,); vectors have [rows, dims]"),
        "no rows": (stored[:0], "has no vectors"),
    }


@pytest.mark.parametrize("what", list(bad_npy(Path(), np.ones((20, 24), np.float32))))
def test_vectors_that_are_none_are_one_line(
    what: str, tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array, message = bad_npy(tmp_path, tiny.stored)[what]
    np.save(tmp_path / "in.npy", array, allow_pickle=True)
    assert message in refused(capsys, tiny.model, tmp_path / "in.npy", tmp_path / "out.npy", "--chunk", 5)


def test_files_that_are_damaged_or_of_another_kind_are_one_line(
    tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = saved(tmp_path / "in.npy", tiny.stored).read_bytes()
    contents: dict[str, tuple[bytes, str]] = {
        "empty.npy": (b"", "empty.npy is empty"),
        "cut.npy": (whole[:-10], f"cut.npy is cut: {len(whole) - 10:,} bytes instead of {len(whole):,}"),
        "head.npy": (whole[:40], "head.npy is not a .npy file, or is cut"),
        "two.npy": (whole + b"more", "two.npy has 4 bytes after its array"),
        "text.npy": (b"0.1,0.2\n" * 9, "text.npy is not a .npy file, or is cut"),
        "text.parquet": (b"0.1,0.2\n" * 9, "text.parquet is not a parquet file, or is cut"),
        "vectors.csv": (b"0.1,0.2\n" * 9, "vectors are read from .npy or .parquet files"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        said = refused(capsys, tiny.model, tmp_path / name, tmp_path / f"out{Path(name).suffix}")
        assert message in said, (name, said)
    assert "does not exist" in refused(capsys, tiny.model, tmp_path / "none.npy", tmp_path / "out.npy")
    assert "contains .npy and .parquet files" in refused(capsys, tiny.model, tmp_path, tmp_path / "out")
    good, taken = tmp_path / "in.npy", tmp_path / "cut.npy"
    assert f"--to {taken} exists" in refused(capsys, tiny.model, good, taken)
    ran = tune_here(capsys, "apply", tiny.model, "--vectors", good, "--to", taken / "out.npy")
    assert ran.code == 2 and f"cannot be created, since {taken} is a file" in ran.err
    assert "must end in .npy, as in.npy does" in refused(capsys, tiny.model, good, tmp_path / "out.parquet")
    assert "leave out --column" in refused(capsys, tiny.model, good, tmp_path / "o.npy", "--column", "vector")
    assert "--chunk 0: give a number" in refused(capsys, tiny.model, good, tmp_path / "o.npy", "--chunk", 0)


def test_columns_that_are_no_vectors_are_one_line(
    tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet_of(tmp_path / "in.parquet", tiny.stored[:5], "variable")
    lists: dict[str, list[Any]] = {"ragged": [[0.5] * 24, [0.5] * 24, [0.5] * 23], "empty": [[0.5] * 24, None]}
    for name, values in lists.items():
        pq.write_table(pa.table({"vector": pa.array(values, pa.list_(pa.float32()))}), tmp_path / f"{name}.parquet")
    both = pq.read_table(tmp_path / "in.parquet").append_column(
        "v2", pa.array([[0.5] * 24] * 5, pa.list_(pa.float64()))
    )
    pq.write_table(both, tmp_path / "both.parquet")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "ids.parquet")
    for name, more, message in (
        ("in", ("--column", "embedding"), "in.parquet has no column 'embedding'; its columns are id, vector, notes"),
        ("in", ("--column", "id"), "in.parquet: column id holds string, not lists of floats"),
        ("ids", (), "ids.parquet has no column of lists of floats; its columns are id"),
        ("both", (), "both.parquet has several columns of vectors (vector, v2); choose one with --column"),
        ("ragged", (), "ragged.parquet: row 2 of vector has 23 numbers, not 24"),
        ("empty", (), "empty.parquet: vector has missing values in rows 0 to 1"),
    ):
        said = refused(capsys, tiny.model, tmp_path / f"{name}.parquet", tmp_path / "out.parquet", *more)
        assert message in said, said
    applied(capsys, tiny.model, tmp_path / "both.parquet", tmp_path / "out.parquet", "--column", "v2")


def test_lengths_matter_where_the_layer_has_a_bias(
    bases: dict[str, Kept], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # minilm returns unit vectors: stored ones of other lengths are scaled first, and a line says so.
    minilm, wordllama = bases["minilm"], bases["wordllama"]
    said = applied(capsys, minilm.model, saved(tmp_path / "long.npy", 3 * minilm.stored), tmp_path / "out.npy")
    assert "long.npy: vectors are scaled to length 1 first, as minilm does" in said
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), minilm.tuned, atol=1e-6)
    # wordllama does not: of unit vectors, the lengths are lost.
    unit = wordllama.stored / np.linalg.norm(wordllama.stored, axis=1, keepdims=True)
    said = refused(capsys, wordllama.model, saved(tmp_path / "unit.npy", unit), tmp_path / "none.npy")
    assert (
        "unit.npy has vectors of length 1, and those of wordllama have others, which a layer with a bias needs" in said
    )
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    halved = saved(tmp_path / "half.npy", wordllama.stored / 2)
    said = refused(capsys, wordllama.model, halved, tmp_path / "none.npy", "--texts", texts)
    assert "have other lengths than the vectors of wordllama (0.5 to 0.5 times)" in said
    # Without a bias, lengths do not matter.
    tiny = bases["tiny"]
    applied(capsys, tiny.model, saved(tmp_path / "tiny.npy", tiny.stored / 7), tmp_path / "tiny-out.npy")
    np.testing.assert_allclose(np.load(tmp_path / "tiny-out.npy"), tiny.tuned, atol=1e-6)


def test_a_layer_for_queries_leaves_documents_alone(
    bases: dict[str, Kept], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out = bases["query"], tmp_path / "out.npy"
    stored = saved(tmp_path / "in.npy", one.stored)
    assert "maps queries only; say what the vectors are" in refused(capsys, one.model, stored, out)
    assert "nothing to do: " in refused(capsys, one.model, stored, out, "--side", "document")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    said = applied(capsys, one.model, stored, out, "--side", "a", "--texts", tmp_path / "texts.txt")
    assert "cosines 1.0000 to 1.0000" in said


def test_texts_show_whose_vectors_they_are(
    bases: dict[str, Kept], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = bases["minilm"]
    table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
    pq.write_table(table, tmp_path / "texts.parquet", row_group_size=30)
    (tmp_path / "texts.csv").write_text("".join(f"{at},{text}\n" for at, text in [("id", "text"), *enumerate(TEXTS)]))
    np.save(tmp_path / "texts.npy", np.array(TEXTS))
    largest = abs(one.stored).max(axis=1, keepdims=True) / 127
    rounded = saved(tmp_path / "int8.npy", (np.round(one.stored / largest) * largest).astype(np.float16))
    for kind, more in (("parquet", ()), ("csv", ("--text-column", "text")), ("npy", ())):
        texts = ("--texts", tmp_path / f"texts.{kind}", *more)
        said = applied(capsys, one.model, rounded, tmp_path / f"out-{kind}.npy", *texts)
        assert float(re.search(r"10 texts embedded again: cosines (\S+) to", said)[1]) > 0.999  # type: ignore[index]
    shifted = saved(tmp_path / "shifted.npy", np.roll(one.stored, 1, axis=0))
    said = refused(capsys, one.model, shifted, tmp_path / "out.npy", "--texts", tmp_path / "texts.npy")
    assert re.search(r"are not the vectors of minilm for .*cosines row 0 -?0\.\d{4}, row \d+ .* 0.99 or more", said)
    for rest, message in (
        (("--texts", tmp_path / "texts.csv"), "name the column of texts with --text-column; its columns are id, text"),
        (("--texts", tmp_path / "none.txt"), "none.txt is not a file"),
        (("--texts", tmp_path / "texts.csv", "--text-column", "x"), "has no column 'x'; its columns are id, text"),
        (("--texts", tmp_path / "int8.npy"), "has the type float16"),
    ):
        assert message in refused(capsys, one.model, rounded, tmp_path / "out.npy", *rest)
    (tmp_path / "few.txt").write_text("\n".join(TEXTS[:-1]))
    said = refused(capsys, one.model, rounded, tmp_path / "out.npy", "--texts", tmp_path / "few.txt")
    assert f"has {len(TEXTS) - 1} texts for {len(TEXTS)} vectors" in said


def test_bought_vectors_are_not_bought_again(
    server: EmbedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    dense = Dense(256, 16, bias=True, activation_function=torch.nn.Tanh())
    options = ClosedOptions(base_url=server.openai_url, max_retries=0)
    adapter = Adapter(dense.state_dict(), ClosedName("openai", OWN_MODEL), options, "tanh", ("", ""))
    model = write_adapted(tmp_path / "model", adapter)
    stored = saved(tmp_path / "in.npy", embed(TEXTS, 256))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    applied(capsys, model, stored, tmp_path / "out.npy")
    assert not server.book.sold and not server.keys_seen
    tuned = AdaptedEmbedder.load(model, options).encode(TEXTS)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), tuned, atol=1e-6)
    server.reset()
    check = ("--texts", tmp_path / "texts.txt", "--base-url", server.openai_url, "--cache", tmp_path / "cache")
    said = refused(capsys, model, stored, tmp_path / "again.npy", *check)
    assert f"the price of openai:{OWN_MODEL} is unknown" in said and not server.book.sold
    said = applied(capsys, model, stored, tmp_path / "again.npy", *check, "--price-per-million", 0.1)
    assert "to buy: " in said and "10 texts embedded again: cosines 1.0000" in said
    assert 10 <= server.book.sold.total() <= 11, "ten texts, and perhaps one to measure the vectors"
    sold = server.book.sold.total()
    applied(capsys, model, stored, tmp_path / "third.npy", *check, "--price-per-million", 0.1)
    assert server.book.sold.total() == sold, "the cache has them"


def test_models_without_a_layer_are_one_line(tiny: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored, out = saved(tmp_path / "in.npy", tiny.stored), tmp_path / "out.npy"
    base = save_tiny_model(tmp_path / "base", dims=24, words=TOPIC_WORDS)
    whole = exported_trial(str(base), SIDES, tmp_path / "whole", WHOLE).model
    assert (
        not (whole / "adapter.safetensors").exists()
        and "Vectors already stored" not in (whole / "README.md").read_text()
    )
    assert f"{whole} trained its base model, so stored vectors" in refused(capsys, whole, stored, out)
    assert "is not an exported model" in refused(capsys, base, stored, out)
    (tmp_path / "results" / "best").mkdir(parents=True)
    (tmp_path / "results" / "best" / "embedtune.json").write_text("{}")
    assert "results/best has no adapter.safetensors: it was exported by an earlier version" in refused(
        capsys, tmp_path / "results", stored, out
    )
    (tmp_path / "results" / "best" / "adapter.safetensors").write_bytes(b"torn")
    assert "adapter.safetensors is damaged" in refused(capsys, tmp_path / "results", stored, out)
    other = {"base_model": "other", "activation": "relu", "normalised": "true"}
    layer = {"linear.weight": np.eye(24, dtype=np.float32)}
    save_file(layer, tmp_path / "results" / "best" / "adapter.safetensors", metadata=other)
    (tmp_path / "results" / "best" / "embedtune.json").write_text('{"prompt_a": "", "prompt_b": ""}')
    assert "adapter.safetensors is damaged" in refused(capsys, tmp_path / "results", stored, out)


MEASURED = """
import json, resource, sys
from tune.cli.main import main
model, kind, *names = sys.argv[1:]
peaks = []
for name in names:
    code = main(["apply", model, "--vectors", f"{name}.{kind}", "--to", f"{name}-out.{kind}", "--chunk", "1024"])
    assert code == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
heavy = [name for name in ("torch", "transformers", "sentence_transformers", "ray", "openai") if name in sys.modules]
print(json.dumps({"peaks": peaks, "heavy": heavy}))
"""


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_memory_is_bounded_and_nothing_heavy_is_loaded(kind: str, tiny: Kept, tmp_path: Path) -> None:
    # Sizes grow, so the second peak is that of the large file.
    for name, rows in (("small", 4096), ("large", 800_000)):
        vectors = np.tile(tiny.stored[:100], (rows // 100 + 1, 1))[:rows]
        if kind == "npy":
            saved(tmp_path / f"{name}.npy", vectors)
        else:
            # All in one row group, which is the worst case.
            flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 24)
            pq.write_table(
                pa.table({"vector": flat}),
                tmp_path / f"{name}.parquet",
                row_group_size=rows,
                use_dictionary=False,
                compression="none",
            )
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tiny.model), kind, "small", "large"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        env={**environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["heavy"] == []
    assert found["peaks"][1] - found["peaks"][0] < 0.15 * 800_000 * 24 * 4, "of the file's size"
