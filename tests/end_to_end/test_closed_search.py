"""Closed models in searches, baselines and score, as a user runs them, against a server that speaks both APIs.

Money is agreed on before it is spent, nothing is bought twice, no key gets into a file.
"""

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.command import environment, leaderboard, summary, tune_inside
from tests.helpers.embed_server import COHERE_PATH, KEY, KEYS, OWN_MODEL, EmbedServer
from tests.helpers.exported import cosine_auc
from tests.helpers.planted import Looked, looking
from tests.helpers.tiny import write_some_pairs
from tune.cli.main import main
from tune.embed.adapted import AdaptedEmbedder
from tune.embed.closed import ClosedOptions
from tune.embed.closed.prices import usd
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder

OPENAI, COHERE = "openai:text-embedding-3-small", "cohere:embed-v4.0@256"
ALL = f"wordllama,{OPENAI},{COHERE}"
SIZES = {"train": 700, "val": 260, "test": 260}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand of the demo pairs, as a csv with its own split."""
    return write_some_pairs(tmp_path_factory.mktemp("pairs") / "some.csv", SIZES)


def texts_of(pairs: Path) -> set[str]:
    with open(pairs, newline="") as handle:
        return {row[column] for row in csv.DictReader(handle) for column in ("text1", "text2")}


def options(server: EmbedServer, pairs: Path, root: Path, *more: object) -> list[str]:
    addresses = ("--base-url", server.openai_url, "--cohere-base-url", server.cohere_url)
    places = ("--data", pairs, "--split-column", "side", "--results", root / "results", "--cache", root / "cache")
    return [str(one) for one in (*addresses, *places, *more)]


@dataclass(frozen=True)
class Searched:
    """A search that is over, what it printed, and what the server sold it."""

    root: Path
    folder: Path
    out: str
    ray: Path
    ray_files: Looked
    sold: int
    most: int


@pytest.fixture(scope="module")
def searched(one_server: EmbedServer, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    """A grid over an open model and two closed ones."""
    one_server.reset()
    root = tmp_path_factory.mktemp("searched")
    ray = Path(tempfile.mkdtemp(prefix="ray"))  # short: sockets lie in it
    arguments = options(one_server, pairs, root, "--search", "grid", "--base-model", ALL, "--name", "one", "--jobs", 1)
    trials = ("--dims", "32", "--loss", "cosent", "--learning-rate", "1e-2", "--epochs", "8", "--finalists", "3")
    with looking(ray, KEY) as looked:
        ran = tune_inside("search", *arguments, *trials, **KEYS, RAY_TMPDIR=str(ray))
    assert ran.code == 0, ran.out + ran.err
    told = ran.err.splitlines()
    assert len(told) == 2 and all("_API_KEY goes to 127.0.0.1:" in line for line in told), ran.err
    sold = one_server.book.sold
    yield Searched(root, root / "results" / "one", ran.out, ray, looked, sold.total(), max(sold.values()))
    shutil.rmtree(ray, ignore_errors=True)


def test_all_three_are_baselines_and_have_adapters(searched: Searched, pairs: Path) -> None:
    every = leaderboard(searched.folder)
    rows = [row for row in every if row["base_model"] != "tf-idf"]
    assert len(every) == len(rows) + 1
    for kind in ("baseline", "done"):
        assert {row["base_model"] for row in rows if row["status"] == kind} == set(ALL.split(",")), kind
    assert [row["dims"] for row in rows if row["status"] == "baseline" and row["base_model"] == OPENAI] == ["1536"]
    for row in rows:
        assert float(row["test_auc_low"]) < float(row["test_auc"]) < float(row["test_auc_high"])
        assert float(row["bytes_per_million_vectors"]) == 4e6 * int(row["dims"])
        assert bool(row["usd_per_million_texts"]) == (row["base_model"] != "wordllama")
        assert all(row[f"test_{name}"] for name in ("accuracy", "precision", "recall", "hard_auc_logistic"))
    assert float(rows[0]["test_auc"]) > 0.7
    prices = {row["base_model"]: float(row["usd_per_million_texts"] or 0) for row in rows}
    assert prices[COHERE] == pytest.approx(6 * prices[OPENAI]), "0.12 against 0.02 USD per million tokens"
    assert searched.most == 1 and searched.sold == 2 * len(texts_of(pairs)), "each text once from each provider"


def test_the_price_is_told_before_and_the_verdicts_after(searched: Searched, pairs: Path) -> None:
    said, facts = searched.out, summary(searched.folder)
    for name in (OPENAI, COHERE):
        assert said.index(f"to buy: {name}: ") < said.index("results: ")
        assert f"{name}: {len(texts_of(pairs))} texts, " in said[said.index("results: ") :]
    assert len(facts["verdicts"]) == 3 and facts["verdicts"][0] == facts["verdict"]["sentence"]
    for sentence in facts["verdicts"]:
        assert f"{sentence[0].upper()}{sentence[1:]}." in said
    assert " the untouched wordllama by " in said and " at 32 dims, an eighth of its storage" in said
    assert f" beats {OPENAI} by " in said and "1/48 of its storage" in said and f"untouched {OPENAI}" not in said
    families = [entry["family"] for entry in facts["comparisons"]]
    assert families == ["primary"] * 3 + ["exploratory"] * 6, "the winner against the three base models, first"
    assert "P-values of the 3 primary comparisons are Holm-corrected.\n" in said
    prices = [base["usd_per_million_texts"] for base in facts["bases"].values() if base["closed"]]
    bought = f"about {usd(sum(prices) * len(texts_of(pairs)) / 1e6)} USD of vectors bought\n"
    [*_, last] = [line for line in said.splitlines(keepends=True) if line.startswith("trials: ")]
    [cost] = [line for line in said.splitlines(keepends=True) if line.startswith("cost ")]
    assert last.endswith(f", {bought}") and cost.endswith(f", {bought}")
    assert facts["usd"]["vectors"] == pytest.approx(sum(prices) * len(texts_of(pairs)) / 1e6)
    assert facts["correction"] == "p-values of the 3 primary comparisons are Holm-corrected"


def test_the_key_is_in_no_file(searched: Searched, server: EmbedServer) -> None:
    looked = Looked()
    looked.look(searched.root, KEY)
    assert looked.files and not looked.with_secret
    logs = {Path(name).suffix for name in searched.ray_files.files}
    assert {".log", ".out"} <= logs and not searched.ray_files.with_secret, "while it ran"
    assert list(searched.ray.iterdir()) == [], "Ray's logs are removed at the end of a search"
    assert KEY not in searched.out
    assert KEY not in Report.of([read_story(ResultsFolder(searched.folder))]).markdown(), "it is in the environment"


def test_an_exported_adapter_scores_what_was_reported(
    searched: Searched, server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in leaderboard(searched.folder) if row["base_model"] == COHERE and row["rank"])
    to = tmp_path / "model"
    assert main(["export", str(searched.folder), "--trial", row["trial"], "--to", str(to)]) == 0
    card = (to / "README.md").read_text()
    assert "AdaptedEmbedder.load" in card and "embedtune[cohere]" in card and f"{float(row['test_auc']):.4f}" in card
    capsys.readouterr()
    scoring = ["score", str(to), "--data", str(pairs), "--split-column", "side", "--side", "test", "--json"]
    # The address that the directory names gets no key unless it is given again.
    assert main([*scoring, "--cache", str(tmp_path / "none")]) == 2
    assert "keys are not sent to an address from a model's directory" in capsys.readouterr().err
    scoring += ["--cohere-base-url", server.cohere_url]
    server.reset()
    assert main([*scoring, "--cache", str(searched.root / "cache")]) == 0
    captured = capsys.readouterr()
    scored = json.loads(captured.out)
    for name in ("auc", "accuracy", "precision", "recall", "hard_auc_logistic"):
        assert scored[name] == pytest.approx(float(row[f"test_{name}"]), abs=1e-4), name
    assert "all texts already bought" in captured.err and server.book.sold.total() == 0
    # With another cache it has to be paid for, and is asked for first.
    assert main([*scoring, "--cache", str(tmp_path / "cache"), "--max-embed-usd", "0"]) == 2
    assert "--max-embed-usd" in capsys.readouterr().err and server.book.requests == []
    with open(pairs, newline="") as handle:
        rows = [one for one in csv.DictReader(handle) if one["side"] == "test"]
    model = AdaptedEmbedder.load(to, ClosedOptions(base_url=server.cohere_url))
    a, b = model.encode([one["text1"] for one in rows]), model.encode([one["text2"] for one in rows], side="b")
    auc = cosine_auc(a, b, [int(one["label"]) for one in rows])
    assert auc == pytest.approx(float(row["test_auc"]), abs=1e-4) and a.shape[1] == 32


def test_baselines_are_those_of_the_search_and_cost_nothing_again(
    searched: Searched, server: EmbedServer, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(server, pairs, searched.root, "--base-model", ALL)
    assert main(["baselines", *arguments]) == 0
    said = capsys.readouterr().out
    assert server.book.requests == [] and f"{OPENAI}: all texts already bought" in said
    [folder] = (searched.root / "results").glob("baselines-some-*")
    rows = leaderboard(folder)
    assert rows == [row for row in leaderboard(searched.folder) if row["status"] == "baseline"]
    facts = summary(folder)
    assert facts["search"] == "baselines" and facts["finished"] and facts["test"]["pairs"] == SIZES["test"]
    models = {f"baseline:{name}" for name in (*ALL.split(","), "tf-idf")}
    assert set(json.loads((folder / "test.json").read_text())["models"]) == models
    assert "hard AUC" in said and "USD per M texts" in said and f"{float(rows[0]['test_auc']):.4f} [" in said
    assert not (folder / "search.toml").exists(), "there is no search to go on with"


def test_a_dry_run_writes_and_buys_nothing_and_needs_no_key(
    server: EmbedServer,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("COHERE_API_KEY")
    for command, more in (("search", ["--search", "grid"]), ("baselines", [])):
        assert main([command, *options(server, pairs, tmp_path, "--base-model", ALL, *more), "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "split: train 700 pairs" in said and f"to buy: {COHERE}: {len(texts_of(pairs)):,} texts" in said
        assert "dry run: nothing was embedded" in said and ("grid: 54 trials" in said) == (command == "search")
    short = options(server, pairs, tmp_path, "--base-model", OPENAI, "--max-length", 5)
    assert main(["baselines", *short, "--dry-run"]) == 0
    assert " of them too long, cut to its limit)" in capsys.readouterr().out
    assert server.book.requests == [] and list(tmp_path.iterdir()) == []


def refused(capsys: pytest.CaptureFixture[str], root: Path, arguments: list[str], command: str = "search") -> list[str]:
    """The lines of what is refused before anything was made."""
    assert main([command, *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines)
    assert list(root.iterdir()) == []
    return lines


def test_without_a_terminal_a_price_above_the_limit_is_refused(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(server, pairs, tmp_path, "--base-model", ALL)
    [line] = refused(capsys, tmp_path, [*arguments, "--max-usd", "0.0001"])
    assert "embedding alone costs" in line and "above --max-usd 0.0001; allow at least 0.0" in line
    [line] = refused(capsys, tmp_path, [*arguments, "--max-embed-usd", "0.0001"])
    assert "nothing was bought" in line and "approve it with --max-embed-usd 0.0" in line
    unknown = [*arguments, "--base-model", "openai:brand-new", "--base-url", "https://example.com/v1"]
    [line] = refused(capsys, tmp_path, unknown)
    assert "the price of openai:brand-new is unknown" in line
    assert "--price-per-million openai:brand-new=USD" in line
    assert main(["search", *unknown, "--price-per-million", "0.5", "--dry-run"]) == 0
    assert "at 0.5 USD per million tokens (as given)" in capsys.readouterr().out
    assert server.book.requests == []


def test_what_cannot_be_is_refused_at_once(
    server: EmbedServer,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = options(server, pairs, tmp_path)
    whole = refused(capsys, tmp_path, [*arguments, "--base-model", OPENAI, "--freeze", "true,false", "--loss", "nope"])
    assert len(whole) == 2 and any(
        f"{OPENAI} is a closed model, so its weights cannot be trained" in one for one in whole
    )
    lora = refused(capsys, tmp_path, [*arguments, "--base-model", COHERE, "--freeze", "false", "--train", "lora"])
    assert len(lora) == 1 and "freeze=false or train=lora needs an open base model" in lora[0]
    [dims] = refused(capsys, tmp_path, [*arguments, "--base-model", "cohere:embed-v4.0@300"])
    assert "256, 512, 1024, 1536 dims, not 300" in dims
    [flagged] = refused(capsys, tmp_path, [*arguments, "--openai-api-key", KEY])
    assert "keys come from the environment alone" in flagged and KEY not in flagged
    monkeypatch.delenv("COHERE_API_KEY")
    for command in ("search", "baselines"):
        [line] = refused(capsys, tmp_path, [*arguments, "--base-model", ALL], command)
        assert COHERE in line and "no key; set COHERE_API_KEY" in line
    assert server.book.requests == []


def test_after_a_storm_of_429_only_the_rest_is_bought(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(server, pairs, tmp_path, "--base-model", OPENAI, "--request-retries", 0, "--max-in-flight", 2)
    server.fault_from("rate_limit", 6)
    assert main(["baselines", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "too many requests (429)" in line and "are kept, and the next run continues from there" in line
    kept = server.book.sold.total()
    book = server.book
    server.fault_from("rate_limit", 10**9)
    assert 0 < kept < len(texts_of(pairs))
    assert main(["baselines", *arguments]) == 0
    assert f"to buy: {OPENAI}: {len(texts_of(pairs)) - kept:,} texts" in capsys.readouterr().out
    assert set(book.texts()) == texts_of(pairs) and set(book.texts().values()) == {1}


def test_an_own_server_with_a_model_that_no_table_knows(
    server: EmbedServer, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(server, pairs, tmp_path, "--prompt-a", "q: ", "--name", "own")
    models = ("--base-model", f"openai:{OWN_MODEL},{COHERE}")
    # A server that is given a key may be a gateway to a paid model.
    assert main(["baselines", *arguments, *models]) == 2
    assert f"the price of openai:{OWN_MODEL} is unknown" in capsys.readouterr().err
    assert main(["baselines", *arguments, *models, "--price-per-million", "0", "--json"]) == 0
    answer, said = capsys.readouterr()
    assert "about 0.00 USD at 0 USD per million tokens (as given)" in said
    assert "at 0.12 USD per million tokens (list price" in said, "a bare price is not of listed models"
    rows = {row["base_model"]: row for row in leaderboard(tmp_path / "results" / "own")}
    scored = json.loads(answer)
    assert {one["base_model"]: one["test"]["auc"] for one in scored["models"]} == {
        name: float(row["test_auc"]) for name, row in rows.items()
    }
    assert scored["paths"]["leaderboard"] == str(tmp_path / "results" / "own" / "leaderboard.csv")
    assert (
        rows[f"openai:{OWN_MODEL}"]["dims"] == "256" and rows[f"openai:{OWN_MODEL}"]["usd_per_million_texts"] == "0.0"
    )
    of_cohere = {(kind, text.startswith("q: ")) for path, kind, text in server.book.sold if path == COHERE_PATH}
    assert of_cohere == {("search_query", True), ("search_query", False)}, "a prompt keeps its input type"


@pytest.mark.parametrize("answer", ["y", ""])
def test_on_a_terminal_it_asks(answer: str, server: EmbedServer, pairs: Path, tmp_path: Path) -> None:
    arguments = options(server, pairs, tmp_path, "--base-model", OPENAI, "--max-embed-usd", "0")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tune", "baselines", *arguments]
    env = {**environment(), **KEYS, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, close_fds=True) as process:
        os.close(theirs)
        said = b""
        try:
            while True:
                try:
                    said += os.read(ours, 4096)
                except OSError:  # the other end is closed
                    break
                if b"Buy? [y/N]" in said and answer is not None:
                    assert server.book.requests == [] and not (tmp_path / "results").exists()
                    os.write(ours, f"{answer}\n".encode())
                    answer, given = None, answer  # type: ignore[assignment]
            code = process.wait(60)
        finally:
            process.kill()
            os.close(ours)
    text = said.decode()
    if given:
        assert code == 0 and "ordered by validation AUC" in text, text
        assert server.book.sold.total() == len(texts_of(pairs))
    else:
        assert code == 2 and "it was not approved" in text, text
        assert server.book.requests == [] and list(tmp_path.iterdir()) == []
