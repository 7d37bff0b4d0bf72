"""A new base model challenges the winner of a finished search: same split, same test pairs, nothing embedded twice."""

import contextlib
import csv
import io
import json
import os
import random
import shutil
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from tests.helpers.command import Ran, children, leaderboard, started, summary, wait_for, words
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_model, write_topic_pairs
from tune.cli.main import main
from tune.config.rebased import with_base_models
from tune.config.search import search_config
from tune.config.toml import Tables
from tune.pipeline.challenge import _decisive
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder
from tune.results.looks import looks_at, looks_sentence
from tune.results.scores import read_scores

pytestmark = pytest.mark.usefixtures("warm_ray")

SIDES = {"train": 300, "val": 300, "test": 300}
DIMS = {"old": 12, "good": 160, "bad": 2}
"""Random vectors of so many dims for each word: the more, the easier the topics are told apart."""


def run(*arguments: object) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words(arguments))
    return Ran(code, out.getvalue(), err.getvalue())


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return when each file of a folder was written, and what it holds."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@dataclass(frozen=True)
class Place:
    """A user's folder. old: the files of the incumbent and of the cache, as the incumbent's search left them."""

    root: Path
    old: dict[str, dict[str, tuple[int, bytes]]]

    @property
    def incumbent(self) -> Path:
        return self.root / "results" / "inc"

    def folder(self, name: str) -> Path:
        return self.root / "results" / name

    def challenge(self, base: str, *options: object) -> Ran:
        return run("challenge", self.incumbent, "--base-model", self.root / base, *options)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished search on the base model `old`, whose folder is gone since."""
    root = tmp_path_factory.mktemp("place")
    write_topic_pairs(root / "pairs.csv", SIDES)
    for name, dims in DIMS.items():
        save_tiny_model(root / name, dims=dims, words=TOPIC_WORDS, seed=5)
    ran = run(
        "search", "--search", "grid", "--data", root / "pairs.csv", "--split-column", "side", "--base-model",
        root / "old", "--dims", 8, "--loss", "cosent", "--learning-rate", "1e-2,3e-2", "--epochs", 2, "--jobs", 1,
        "--finalists", 1, "--results", root / "results", "--name", "inc", "--cache", root / "cache",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    shutil.rmtree(root / "old")
    return Place(root, {name: state(root / name) for name in ("results/inc", "cache")})


@pytest.fixture(scope="module")
def won(place: Place) -> Ran:
    """The first challenge, which the better base model wins."""
    return place.challenge("good", "--json")


@pytest.fixture(scope="module")
def lost(place: Place, won: Ran) -> tuple[Ran, Ran]:
    """The second challenge: ended by Ctrl-C once its folder exists, then run again."""
    begun = place.folder("inc-vs-bad") / "search.toml"

    def interrupt() -> None:
        wait_for(begun.exists, 60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        stopped = place.challenge("bad")
    finally:
        thread.join()
    return stopped, place.challenge("bad")


@pytest.mark.slow
def test_a_challenge_pauses_if_ray_dies(place: Place, tmp_path: Path) -> None:
    words, log = ("challenge", place.incumbent, "--base-model", place.root / "bad", "--name", "dead"), tmp_path / "log"
    with started(*words, log=log) as process:
        wait_for(lambda: [*place.folder("dead").glob("trials/*/reports.jsonl")])
        [raylet] = children(process.pid, "raylet/raylet")
        os.kill(raylet, signal.SIGKILL)
        assert process.wait(20) == 75, log.read_text()
    said = log.read_text().splitlines()[-1]
    assert said.startswith("paused: Ray's raylet ended unexpectedly (SIGKILL); finished work is kept. continue with: ")
    assert "python -m tune challenge" in said
    shutil.rmtree(place.folder("dead"))


def test_the_better_base_model_wins(place: Place, won: Ran) -> None:
    assert won.code == 0, won.err
    printed, found = json.loads(won.out.splitlines()[-1]), summary(place.folder("inc-vs-good"))["challenge"]
    assert printed["challenge"] == found and printed["name"] == "inc-vs-good" and printed["winner"]
    assert found["outcome"] == "beats" and found["better"] == "challenger" and found["pairs"] == SIDES["test"]
    aucs = {}
    for role, name in (("challenger", "inc-vs-good"), ("incumbent", "inc")):
        scores = read_scores(ResultsFolder(place.folder(name)))
        assert scores is not None
        test, key = scores.on("test"), found[role]["key"]
        aucs[role] = roc_auc_score(test.label, test.models[key])
        assert found["aucs"][role]["auc"] == pytest.approx(aucs[role])
        assert found[role]["trial"] == leaderboard(place.folder(name))[0]["trial"]
        assert Path(found[role]["best"]) == place.folder(name) / "best"
    assert 0 < found["low"] < found["delta"] < found["high"]
    assert found["delta"] == pytest.approx(aucs["challenger"] - aucs["incumbent"])
    assert found["sentence"].startswith("the challenger (good, cosent) beats the incumbent (old, cosent) by ")
    end = won.err.split("Challenge: ")[1]
    assert "looked at twice (inc, inc-vs-good)" in end and f"better       {found['challenger']['best']}" in end


def test_the_search_is_that_of_the_incumbent(place: Place, won: Ran) -> None:
    old, new = ((place.folder(name) / "search.toml").read_text() for name in ("inc", "inc-vs-good"))
    assert new == old.replace(str(place.root / "old"), str(place.root / "good"))
    assert summary(place.folder("inc-vs-good"))["data"]["split_hash"] == summary(place.incumbent)["data"]["split_hash"]


def test_nothing_of_the_incumbent_is_embedded_or_changed(place: Place, won: Ran) -> None:
    cache = state(place.root / "cache")
    assert place.old["cache"].items() <= cache.items(), "what the incumbent embedded is as it was"
    bases = summary(place.folder("inc-vs-good"))["bases"]
    assert list(bases) == [str(place.root / "good")] and bases[str(place.root / "good")]["embedded"] > 0
    before, after = place.old["results/inc"], state(place.incumbent)
    assert {name for name in after if after[name] != before.get(name)} == {"summary.json"}
    now, then = summary(place.incumbent), json.loads(before["summary.json"][1])
    [entry] = [one for one in now.pop("challenged_by") if one["name"] == "inc-vs-good"]
    assert now == then
    assert entry["outcome"] == "beats" and "challenge" in entry["command"]


def test_ctrl_c_and_the_same_command_again(place: Place, lost: tuple[Ran, Ran]) -> None:
    stopped, ran = lost
    assert stopped.code == 130 and "continue with: python -m tune challenge" in stopped.err
    assert ran.code == 0, ran.err
    found = summary(place.folder("inc-vs-bad"))["challenge"]
    assert found["outcome"] == "behind" and found["better"] == "incumbent" and found["high"] < 0
    assert f"better       {place.incumbent / 'best'}" in ran.out


def test_every_look_at_test_counts(place: Place, lost: tuple[Ran, Ran]) -> None:
    looks = summary(place.folder("inc-vs-bad"))["challenge"]["looks"]
    assert looks["count"] == 3
    kinds = [("inc", "search"), ("inc-vs-good", "challenge"), ("inc-vs-bad", "challenge")]
    assert [(look["name"], look["kind"]) for look in looks["by"]] == kinds
    assert "looked at 3 times" in lost[1].out
    assert looks["caution"].startswith("corrected for the 2 looks after the first, the difference stays clear")
    assert [one["name"] for one in summary(place.incumbent)["challenged_by"]] == ["inc-vs-good", "inc-vs-bad"]
    # Folders that are gone are remembered by the incumbent, and a copy is no new look.
    elsewhere = place.root / "elsewhere"
    for copy in ("inc", "copied"):
        shutil.copytree(place.incumbent, elsewhere / copy)
    split_hash = summary(place.incumbent)["data"]["split_hash"]
    recorded = [one["look"] for one in summary(place.incumbent)["challenged_by"]]
    assert [look.name for look in looks_at(split_hash, [elsewhere], recorded)] == [name for name, _ in kinds]
    assert "looked at once (inc)" in looks_sentence(looks_at(split_hash, [elsewhere]))
    (elsewhere / "copied" / "test.json").unlink()
    (elsewhere / "inc" / "summary.json").write_text("{")
    assert looks_at(split_hash, [elsewhere]) == [] == looks_at("another", [place.root / "results"])


def test_a_finished_challenge_is_left_as_it_is(place: Place, won: Ran, lost: tuple[Ran, Ran]) -> None:
    before = [state(place.folder(name)) for name in ("inc", "inc-vs-good")]
    ran = place.challenge("good", "--jobs", 2)
    assert ran.code == 0 and "Challenge: The challenger (good, cosent) beats" in ran.out
    assert [state(place.folder(name)) for name in ("inc", "inc-vs-good")] == before


def test_killed_before_comparing(place: Place, won: Ran, lost: tuple[Ran, Ran]) -> None:
    """Then it is compared, and no more; pairs are known by their texts, also if the file's rows were put in order."""
    path, name = place.folder("inc-vs-good") / "summary.json", "inc-vs-good"
    before = summary(path.parent)
    path.write_text(json.dumps({key: value for key, value in before.items() if key != "challenge"}))
    kept = {key: value for key, value in summary(place.incumbent).items() if key != "challenged_by"}
    (place.incumbent / "summary.json").write_text(json.dumps(kept))
    with open(place.root / "pairs.csv", newline="") as handle:
        head, *rows = list(csv.reader(handle))
    random.Random(0).shuffle(rows)
    with open(place.root / "shuffled.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([head, *rows])
    opened = (path.parent / "test.json").read_bytes()
    ran = place.challenge("good", "--data", place.root / "shuffled.csv")
    assert ran.code == 0, ran.err
    assert "starting Ray" not in ran.out and (path.parent / "test.json").read_bytes() == opened
    again = summary(path.parent)["challenge"]
    for key in ("delta", "low", "high", "outcome", "pairs", "aucs", "challenger", "incumbent"):
        assert again[key] == before["challenge"][key], key
    assert [one["name"] for one in summary(place.incumbent)["challenged_by"]] == [name]


def test_results_without_kept_scores(place: Place, won: Ran) -> None:
    """Of an earlier version: the exported winner is scored again, and must be the winner."""
    results = place.root / "earlier"
    for name in ("inc", "inc-vs-good"):
        shutil.copytree(place.folder(name), results / name)
    (results / "inc" / "scores.parquet").unlink()
    path = results / "inc-vs-good" / "summary.json"
    before = summary(path.parent)
    path.write_text(json.dumps({key: value for key, value in before.items() if key != "challenge"}))
    ran = run("challenge", results / "inc", "--base-model", place.root / "good")
    assert ran.code == 0 and "its best/ embeds the texts of 300 test pairs" in ran.out, ran.err
    for key in ("delta", "low", "high"):
        assert summary(path.parent)["challenge"][key] == pytest.approx(before["challenge"][key], abs=1e-4)
    shutil.rmtree(results / "inc" / "best")
    shutil.copytree(place.folder("inc-vs-good") / "best", results / "inc" / "best")
    path.write_text(json.dumps({key: value for key, value in before.items() if key != "challenge"}))
    ran = run("challenge", results / "inc", "--base-model", place.root / "good")
    assert ran.code == 2 and "it is not the model that won" in ran.err


def test_the_report_has_a_section(place: Place, won: Ran, lost: tuple[Ran, Ran]) -> None:
    found = summary(place.folder("inc-vs-bad"))["challenge"]
    pages = {
        name: Report.of([read_story(ResultsFolder(place.folder(name)))]).markdown() for name in ("inc", "inc-vs-bad")
    }
    section = pages["inc-vs-bad"].split("### Challenge")[1].split("###")[0]
    assert found["sentence"][1:] in section and "looked at 3 times" in section
    assert "The better model is in results/inc/best." in section
    assert f"| incumbent | results/inc | old, cosent | {found['incumbent']['trial'][:8]} | 8 | " in section
    assert "Challenged by results/inc-vs-good: the challenger" in pages["inc"].split("### Challenge")[1]


def changed(**facts: Any) -> Callable[[Path], None]:
    """Return what changes the summary of a results folder so."""

    def change(folder: Path) -> None:
        (folder / "summary.json").write_text(json.dumps({**summary(folder), **facts}))

    return change


def without(*names: str) -> Callable[[Path], None]:
    """Return what deletes files of a results folder."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def cut(folder: Path) -> None:
    (folder / "scores.parquet").write_bytes(b"PAR1")


def other_label(folder: Path) -> None:
    text = (folder.parent.parent / "pairs.csv").read_text()
    (folder.parent / "now.csv").write_text(text.replace(",1,test", ",0,test", 1))


REFUSED: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "unfinished": (changed(finished=None, test=None), (), "is not finished; finish it with: python -m tune search"),
    "no winner": (changed(winner=None), (), "no trial produced a model, so there is no winner"),
    "out of fold": (changed(out_of_fold={"auc": 0.9}), (), "this search has no test side"),
    "no scores": (without("scores.parquet", "best/embedtune.json"), (), "there is no scores.parquet"),
    "no split": (without("split.parquet"), (), "split.parquet is missing; restore a copy of it"),
    "cut scores": (cut, (), "scores.parquet cannot be read"),
    "no search": (without("search.toml"), (), "is not a results folder"),
    "data changed": (other_label, ("--data", "now.csv"), "the pairs, or how they are split, have changed"),
    "data gone": (lambda folder: None, ("--data", "gone.csv"), "no such file or folder: "),
    "old base": (lambda folder: None, ("--base-model", "old"), "is already among those of"),
    "no base": (lambda folder: None, ("--base-model", "./nowhere"), "base model ./nowhere: no such folder"),
    "no key": (lambda folder: None, ("--base-model", "openai:text-embedding-3-small"), "OPENAI_API_KEY"),
    "fixed": (lambda folder: None, ("--dims", "16"), "--dims cannot be changed"),
    "misspelt": (lambda folder: None, ("--trails=16",), "no such option --trails"),
    "taken": (lambda folder: None, ("--name", "refused"), "holds another search"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before anything is embedded or made."""
    change, options, message = REFUSED[case]
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    results = place.root / case.replace(" ", "-")
    folder = results / "refused"
    shutil.copytree(place.incumbent, folder)
    change(folder)
    given = [str(place.root / one) if one == "old" else str(results / one) if ".csv" in one else one for one in options]
    base = () if "--base-model" in options else ("--base-model", place.root / "good")
    cache = results / "cache"
    ran = run("challenge", folder, *base, *given, "--cache", cache)
    assert ran.code == 2 and message in ran.err, ran.err
    assert len(ran.err.splitlines()) == 1
    assert not cache.exists() and [path.name for path in results.glob("*/")] in (["refused"], ["now.csv", "refused"])


def tables(*spaces: dict[str, Any]) -> Tables:
    return Tables(search={"search": "asha"}, data={}, closed={}, space=[*spaces])


def test_a_new_base_model_gets_the_space_that_fits_it() -> None:
    layers = {"base_model": ["minilm"], "freeze": [True], "dims": [64]}
    whole = {"base_model": ["minilm"], "freeze": [False], "train": ["full"], "epochs": [2], "dims": [64]}
    usual, static = {**whole, "learning_rate": "1e-06:0.0001"}, {**whole, "learning_rate": "0.001:0.03"}

    found, lines = with_base_models(tables(usual, static), ["wordllama"])
    [space] = search_config(**found).spaces
    assert str(space.learning_rate) == "0.001:0.03" and space.base_model == ("wordllama",) and not lines
    chosen, _ = with_base_models(tables({**whole, "learning_rate": [5e-5]}), ["wordllama"])
    assert search_config(**chosen).spaces[0].learning_rate == (5e-5,), "rates that somebody chose are kept"

    closed = "openai:text-embedding-3-small"
    found, lines = with_base_models(tables(layers, usual), [closed, "minilm"])
    assert [(space.base_model, space.freeze) for space in search_config(**found).spaces] == [
        ((closed, "minilm"), (True,)),
        (("minilm",), (False,)),
    ]
    assert lines == [f"{closed} is a closed model: only layers on its vectors are searched"]
    mixed, _ = with_base_models(tables({**layers, "freeze": [True, False], "learning_rate": [1e-3]}), [closed])
    assert [space.freeze for space in search_config(**mixed).spaces] == [(True,)]


def test_options_with_a_range_are_compared_without_a_warning() -> None:
    config = search_config(space={"learning_rate": "0.001:0.01"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _decisive(config) == _decisive(config)
