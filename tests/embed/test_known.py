"""What is noted about base models: it spares loading them, and never outlives a change of their files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny import save_tiny_model
from tune.embed import known
from tune.embed.known import KnownSource, OpenSource, Wanted, open_source
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.sources import load_open
from tune.errors import ModelError

TEXTS = ["refund my order", "reset the password"]


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of tests are new, and count as settled at once."""
    monkeypatch.setattr(known, "_SETTLED_NS", -1)


class Opener:
    """Opens a base model, and counts how often it was loaded."""

    def __init__(self, cache: Path, name: Path | str, max_length: int | None = None) -> None:
        self.cache, self.wanted, self.loaded = cache, Wanted(str(name), "fp32", max_length), 0

    def load(self) -> SentenceTransformerSource:
        self.loaded += 1
        return load_open(self.wanted.name, self.wanted.precision, self.wanted.max_length)

    def open(self) -> OpenSource:
        return open_source(self.cache, self.wanted, self.load)


def weights_of(folder: Path) -> Path:
    return max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size)


def test_a_known_model_is_loaded_when_it_embeds(tmp_path: Path) -> None:
    opener = Opener(tmp_path / "cache", save_tiny_model(tmp_path / "base"))
    first = opener.open()
    assert isinstance(first, SentenceTransformerSource) and opener.loaded == 1
    again = opener.open()
    assert isinstance(again, KnownSource) and opener.loaded == 1
    for name in ("name", "dims", "known_dims", "weights", "fingerprint"):
        assert getattr(again, name) == getattr(first, name)
    for query_document in (False, True):
        prompts = first.prompts(query_document)
        assert again.prompts(query_document) == prompts and again.note(prompts) == first.note(prompts)
        assert again.prompts(query_document, ("q: ", None)) == ("q: ", prompts[1])
        assert again.remarks(prompts) == first.remarks(prompts)
    assert opener.loaded == 1
    np.testing.assert_array_equal(again.embed(TEXTS), first.embed(TEXTS))
    assert opener.loaded == 2


def test_changed_weights_are_another_model_though_size_and_time_stay(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base")
    opener = Opener(tmp_path / "cache", folder)
    before, weights = opener.open(), weights_of(folder)
    content, times = bytearray(weights.read_bytes()), weights.stat()
    content[-8:] = bytes(byte ^ 1 for byte in content[-8:])
    with open(weights, "r+b") as file:
        file.write(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert weights.stat().st_size == times.st_size and weights.stat().st_mtime_ns == times.st_mtime_ns
    after = opener.open()
    assert opener.loaded == 2 and after.weights != before.weights and after.fingerprint != before.fingerprint


def test_another_file_length_or_library_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "base")
    opener = Opener(tmp_path / "cache", folder)
    opener.open()
    assert isinstance(Opener(opener.cache, folder, 4).open(), SentenceTransformerSource)
    (folder / "added.txt").write_text("a file that may matter")
    assert isinstance(opener.open(), SentenceTransformerSource) and isinstance(opener.open(), KnownSource)
    monkeypatch.setattr(known, "version", lambda name: "another")
    assert isinstance(opener.open(), SentenceTransformerSource)


@pytest.mark.parametrize("damage", ["", "{}", '{"facts": {"dims": 8}, "hash": ""}', "cut", "edited"])
def test_a_damaged_note_is_made_again(damage: str, tmp_path: Path) -> None:
    opener = Opener(tmp_path / "cache", save_tiny_model(tmp_path / "base"))
    fingerprint = opener.open().fingerprint
    [note] = (tmp_path / "cache").rglob("*.json")
    whole = note.read_text()
    note.write_text(
        {"cut": whole[:-20], "edited": whole.replace('"fingerprint": "', '"fingerprint": "x')}.get(damage, damage)
    )
    assert opener.open().fingerprint == fingerprint and opener.loaded == 2
    assert note.read_text() == whole and isinstance(opener.open(), KnownSource)


def test_files_that_may_still_change_are_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_SETTLED_NS", 10**18)
    opener = Opener(tmp_path / "cache", save_tiny_model(tmp_path / "base"))
    opener.open()
    assert isinstance(opener.open(), SentenceTransformerSource) and not (tmp_path / "cache").exists()


def test_a_model_that_changes_before_it_is_loaded_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base")
    opener = Opener(tmp_path / "cache", folder)
    opener.open()
    source = opener.open()
    weights = weights_of(folder)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="has changed while it was in use; run again"):
        source.embed(TEXTS)


def test_a_folder_that_is_not_all_of_a_model_is_not_noted(tmp_path: Path) -> None:
    elsewhere, folder = save_tiny_model(tmp_path / "base"), tmp_path / "linked"
    folder.mkdir()
    for path in elsewhere.iterdir():
        (folder / path.name).symlink_to(path)
    opener = Opener(tmp_path / "cache", folder)
    opener.open()
    assert isinstance(opener.open(), KnownSource), "the files behind links are looked at"
    (folder / "folder").symlink_to(tmp_path, target_is_directory=True)
    assert not isinstance(opener.open(), KnownSource) and not isinstance(opener.open(), KnownSource)


EMBED = """
import sys
from pathlib import Path
from tune.config.search import search_config
from tune.embed import known
from tune.embed.orders import embed_bases
from tune.events import ignore
from tune.pipeline.pairs import read_split

known._SETTLED_NS = -1
base, cache = sys.argv[1:]
config = search_config(space={"base_model": base}, search={"cache": cache})
split, _ = read_split(config, ignore)
bases, _ = embed_bases(config, split, Path(cache), ignore)
heavy = ("sentence_transformers", "transformers", "sklearn", "datasets", "scipy.stats", "torch")
print(bases[base].fingerprint, bases[base].embedded > 0, [name for name in heavy if name in sys.modules])
"""


def test_where_all_is_embedded_no_model_library_is_imported(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    said = [
        subprocess.run(
            [sys.executable, "-c", EMBED, str(base), str(tmp_path / "cache")],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout.split(maxsplit=2)
        for _ in range(2)
    ]  # fmt: skip
    assert said[0][:2] == [said[1][0], "True"] and "sentence_transformers" in said[0][2]
    assert said[1][1:] == ["False", "[]\n"]


def test_until_ray_starts_a_search_imports_no_framework() -> None:
    rooms = "tune.cli.search, tune.cli.tables, tune.pipeline.preflight, tune.pipeline.local, tune.pipeline.search"
    heavy = (
        "torch",
        "ray",
        "sentence_transformers",
        "transformers",
        "sklearn",
        "datasets",
        "scipy.stats",
        "optuna",
        "altair",
    )
    code = f"import sys, {rooms}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"
