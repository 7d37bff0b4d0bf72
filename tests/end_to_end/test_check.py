"""`python -m tune check`, and searches on a damaged cache: damage is named, made again, and moves no number."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.end_to_end.test_any_bytes import anything, read
from tests.helpers.command import Ran, summary, tune_inside
from tests.helpers.disturbed import numbers
from tune.pipeline.check import check_folder

pytestmark = pytest.mark.usefixtures("warm_ray")

ASHA = ("--search", "asha", "--trials", 4, "--base-model", "wordllama", "--epochs", 1, "--jobs", 2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of results and cache; the search is `whole`."""
    place = tmp_path_factory.mktemp("place")
    ran = tune_inside("search", *ASHA, "--results", place / "results", "--cache", place / "cache", "--name", "whole")
    assert ran.code == 0, ran.err
    return place


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the results, to be damaged."""
    return shutil.copytree(undisturbed / "results" / "whole", tmp_path / "whole")


def search(place: Path, cache: Path) -> Ran:
    return tune_inside("search", *ASHA, "--results", place, "--cache", cache, "--name", "again")


def rot(path: Path) -> None:
    """Flip 3,000 bytes in the middle of a file; all of a shorter one."""
    content = bytearray(path.read_bytes())
    start = max(0, len(content) // 2 - 1500)
    for at in range(start, min(len(content), start + 3000)):
        content[at] ^= 0x55
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_shards_move_no_number(undisturbed: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(undisturbed / "cache", tmp_path / "cache")
    shutil.rmtree(cache / "views")
    rotten, short = sorted(cache.glob("snapshots/*/*.npy"))
    rot(rotten)
    cut(short)
    ran = search(tmp_path, cache)
    assert ran.code == 0, ran.err
    for shard in (rotten, short):
        assert ran.err.count(f"snapshot shard {shard} is damaged; its ") == 1, ran.err
    assert numbers(tmp_path / "again") == numbers(undisturbed / "results" / "whole")


def test_a_damaged_view_moves_no_number(undisturbed: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(undisturbed / "cache", tmp_path / "cache")
    [vectors] = cache.glob("views/*/vectors.npy")
    whole = vectors.read_bytes()
    rot(vectors)
    ran = search(tmp_path, cache)
    assert ran.code == 0 and f"view {vectors.parent} is damaged (vectors.npy); written again" in ran.err, ran.err
    assert vectors.read_bytes() == whole
    assert numbers(tmp_path / "again") == numbers(undisturbed / "results" / "whole")


def test_a_whole_folder(undisturbed: Path) -> None:
    results = undisturbed / "results"
    before = {path: path.stat().st_mtime_ns for path in sorted(results.rglob("*")) if path.name != ".lock"}
    ran = tune_inside("check", "whole", "--results", results)
    assert ran.code == 0 and f"{results / 'whole'}: whole (4 trials)" in ran.out, ran.out
    assert "not checked: whether the pairs" in ran.out
    found = json.loads(tune_inside("check", results / "whole", "--json").out)
    assert found["whole"] and found["findings"] == [] and found["trials"] == 4
    assert {path: path.stat().st_mtime_ns for path in sorted(results.rglob("*")) if path.name != ".lock"} == before


def test_no_results_folder(tmp_path: Path) -> None:
    ran = tune_inside("check", tmp_path)
    assert ran.code == 2 and ran.err.startswith("error: ") and "is not a results folder" in ran.err


REMEDIES = {
    "search.toml": "restore a copy",
    "summary.json": "restore a copy",
    "split.parquet": "it says which pairs the rows of scores.parquet are; restore a copy",
    "asha.json": "restore a copy",
    "order.json": "the search is over and needs it no more",
    "test.json": "test is scored only once, so it cannot be made again; restore a copy",
    "scores.parquet": "test is scored only once, so it cannot be made again; restore a copy",
    "leaderboard.csv": "--resume makes it again",
    "best/embedtune.json": "--resume exports it again",
    "best/model.safetensors": "--resume exports it again",
    "trials/WINNER/reports.jsonl": "the winner is fixed, so it is not trained again; restore a copy",
    "trials/WINNER/best.safetensors": "the winner is fixed, so it is not trained again; restore a copy",
    "trials/WINNER/trial.json": "the winner is fixed, so it is not trained again; restore a copy",
    "trials/WINNER/done": "the winner is fixed, so it is not trained again; restore a copy",
}


@pytest.mark.parametrize("name", REMEDIES)
def test_damage_is_named_with_what_can_be_done(name: str, copied: Path) -> None:
    file = name.replace("WINNER", summary(copied)["winner"]["trial"])
    path = copied / file
    if not path.exists():
        path, *_ = copied.glob("best/**/model.safetensors")
        file = str(path.relative_to(copied))
    kept = path.read_bytes()
    for damage in (rot, cut):
        damage(path)
        lines = tune_inside("check", copied).out.splitlines()
        [line] = [line for line in lines if line.startswith(f"{file} is ")]
        assert line.endswith(REMEDIES[name]) and "damaged" in line, lines
        assert lines[-1] == f"{copied}: 1 finding (4 trials)", lines
        path.write_bytes(kept)


def test_what_is_missing_is_named(copied: Path) -> None:
    winner = summary(copied)["winner"]["trial"]
    for path in (copied / "test.json", copied / "leaderboard.csv", copied / "asha.json", copied / "scores.parquet"):
        path.unlink()
    shutil.rmtree(copied / "best")
    shutil.rmtree(copied / "trials" / winner)
    ran = tune_inside("check", copied, "--json")
    found = {finding["file"]: finding["remedy"] for finding in json.loads(ran.out)["findings"]}
    assert ran.code == 1
    assert found.keys() == {"test.json", "leaderboard.csv", "asha.json", "scores.parquet", "best", f"trials/{winner}"}
    assert found["test.json"] == "--resume would score test a second time; restore a copy"


def test_resume_makes_again_what_check_says(undisturbed: Path, copied: Path) -> None:
    rot(copied / "leaderboard.csv")
    shutil.rmtree(copied / "best")
    options = ("--results", copied.parent, "--cache", undisturbed / "cache")
    assert tune_inside("check", copied).out.splitlines()[-1] == f"{copied}: 2 findings (4 trials)"
    ran = tune_inside("search", "--resume", "whole", *options)
    assert ran.code == 0, ran.err
    assert tune_inside("check", copied).code == 0
    # A file that is written only once stays damaged, whatever has run since.
    rot(copied / "scores.parquet")
    assert tune_inside("search", "--resume", "whole", *options).code == 0
    assert tune_inside("check", copied).out.splitlines()[0].startswith("scores.parquet is damaged")


@pytest.fixture(scope="module")
def small(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The results without the model, which takes longest to read."""
    folder = tmp_path_factory.mktemp("small") / "whole"
    yield shutil.copytree(undisturbed / "results" / "whole", folder, ignore=shutil.ignore_patterns("best"))


@pytest.mark.parametrize("name", ["search.toml", "summary.json", "asha.json", "order.json", "test.json", "done"])
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=anything)
def test_whatever_is_in_a_file(small: Path, name: str, content: bytes) -> None:
    path = small / name if name != "done" else next(small.glob("trials/*/done"))
    kept = path.read_bytes()
    try:
        path.write_bytes(content)
        found = read(path, lambda path: check_folder(small))
        assert isinstance(found, str) or not found.whole
    finally:
        path.write_bytes(kept)
