"""`modal run cluster/launch.py` as a user runs it, offline: what it prints, writes, pays for and ends."""

import json
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cluster.launch import launch as launched_here
from cluster.ledger import Ledger
from cluster.settings import TRIAL_SCALEDOWN
from tests.helpers import tensorboard_runs
from tests.helpers.command import Ran, leaderboard, summary, tune_inside, wait_for
from tests.helpers.modal_launch import (
    REPOSITORY,
    SMALL,
    VOLUME,
    container_of,
    environment,
    launch,
    launched,
    modal_local,
    reports,
    trial_running,
)
from tests.modal_local import Call, ModalLocal, RpcFault
from tune.cli.main import show_error
from tune.data.general import general_pairs
from tune.errors import UserError
from tune.train.outcomes import settle_trials

pytestmark = [pytest.mark.modal, pytest.mark.timeout(250), pytest.mark.usefixtures("warm_ray")]


@dataclass(frozen=True)
class Search:
    """A finished search, and its stand-in."""

    stand_in: ModalLocal
    code: int
    out: str
    folder: Path
    killed: Call


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """asha on the demo pairs; one trial's container is killed half-way, and learning rates of 3e38 fail."""
    root = tmp_path_factory.mktemp("asha")
    with modal_local(root, commit_seconds=0.5) as stand_in:
        arguments = (
            "--search", "asha", *SMALL, "--loss", "cosent,contrastive", "--learning-rate", "1e-3,1e-2,3e38",
            "--weight-decay", "1e-6:1e-3", "--epochs", 240, "--trials", 8, "--finalists", 3, "--seed", 1,
            "--results", root / "results", "--name", "first", "--download", "all",
        )  # fmt: skip
        with launched(stand_in, *arguments, log=root / "log") as process:

            def past_the_rungs() -> Call | None:
                assert process.poll() is None, (root / "log").read_text()
                # With 5 of 16 reports a trial is past the rung at 1/4, so asha no longer stops it.
                return trial_running(stand_in, "first", past=5)

            killed = wait_for(past_the_rungs, 90)
            stand_in.end_container(container_of(stand_in, killed))
            code = process.wait(150)
        stand_in.wait_until_idle(1)
        yield Search(stand_in, code, (root / "log").read_text(), root / "results" / "first", killed)
        assert stand_in.errors == [] and stand_in.unknown_rpcs == []


def trial_of(search: Search, call: Call) -> Path:
    [path] = [path for path in search.folder.glob("trials/*/calls.jsonl") if call.call_id in path.read_text()]
    return path.parent


def test_the_search_ends_and_prints_what_matters(asha: Search) -> None:
    assert asha.code == 0, asha.out
    assert "No --data given" in asha.out and "search: 8 trials, 2 at a time" in asha.out
    assert "container seconds paid" in asha.out and "--resume first" in asha.out
    assert "Verdict (synthetic data): The winner (wordllama" in asha.out
    assert f"SentenceTransformer('{asha.folder}/best')" in asha.out
    assert "Traceback" not in asha.out
    assert "8 trial calls, 0 left running" in asha.out
    facts = summary(asha.folder)
    assert facts["modal"]["left_running"] == 0 and facts["modal"]["container_seconds"] > 1
    assert facts["modal"]["usd"] == pytest.approx(facts["modal"]["container_seconds"] / 3600 * 1.1016, rel=0.1)
    assert facts["modal"]["container_seconds"] >= facts["modal"]["containers"] * TRIAL_SCALEDOWN
    costs = {row["trial"]: float(row["usd"]) for row in leaderboard(asha.folder) if row["status"] != "baseline"}
    assert min(costs.values()) > 0 and sum(costs.values()) < facts["modal"]["usd"]
    assert facts["modal"]["usd_by_trial"] == costs and facts["usd"] == {"vectors": 0, "total": facts["modal"]["usd"]}
    assert facts["command"].startswith("modal run cluster/launch.py --search asha")
    assert "beats" in (asha.folder / "report.md").read_text() and (asha.folder / "report.html").stat().st_size > 800_000


def test_weak_trials_are_stopped_and_their_calls_cancelled(asha: Search) -> None:
    assert asha.stand_in.running_calls() == []
    rows = {row["trial"]: row for row in leaderboard(asha.folder) if row["status"] != "baseline"}
    assert len(rows) == 8
    stopped = [trial for trial, row in rows.items() if row["status"] == "stopped"]
    assert stopped and all(0 < float(rows[trial]["budget"]) < 1 for trial in stopped)
    calls = {trial_of(asha, call).name: call for call in asha.stand_in.calls if call.function == "train_trial"}
    assert set(calls) == set(rows) and len(calls) == len(
        [c for c in asha.stand_in.calls if c.function == "train_trial"]
    )
    assert {calls[trial].state for trial in stopped} == {"cancelled"}
    assert {calls[trial].state for trial, row in rows.items() if row["status"] == "failed"} == {"success"}
    for trial in stopped:
        assert (asha.folder / "trials" / trial / "best.safetensors").exists()


def test_the_killed_trial_resumed_from_its_checkpoint(asha: Search) -> None:
    assert asha.killed.attempts == 2 and asha.killed.retries == 1
    trial = trial_of(asha, asha.killed)
    numbers = reports(trial)
    assert numbers == list(range(1, 17)) and (trial / "done").exists()
    log = tensorboard_runs.runs(asha.folder)[trial.name]
    assert list(tensorboard_runs.scalars(log)) == numbers, "each reported once, in order"
    first, second = asha.killed.containers
    assert first != second
    [entry] = Ledger(trial).entries().values()
    assert [stint.container for stint in entry.stints] == [first, second]
    assert all(stint.started is not None and 0 <= stint.began - stint.started < 60 for stint in entry.stints)
    assert next(container for container in asha.stand_in.containers if container.task_id == first).exit_code != 0


def test_the_failed_trial_has_its_reason(asha: Search) -> None:
    failed = [row for row in leaderboard(asha.folder) if row["status"] == "failed"]
    assert failed and all("learning rate" in row["error"] and not row["val_auc"] for row in failed)
    failure = json.loads((asha.folder / "trials" / failed[0]["trial"] / "failed.json").read_text())
    assert "Traceback" in failure["traceback"] and f"{len(failed)} failed" in asha.out


def test_local_and_volume_results_agree(asha: Search) -> None:
    def files(root: Path) -> dict[str, bytes]:
        paths = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    here, there = files(asha.folder), files(asha.stand_in.volume(VOLUME) / "first")
    assert here.keys() == there.keys() and here == there
    trials = asha.stand_in.volume("embedtune-trials") / "first"
    for row in leaderboard(asha.folder):
        if row["status"] != "baseline":
            for name in ("reports.jsonl", "best.safetensors", "failed.json", "done"):
                assert here.get(f"trials/{row['trial']}/{name}") == files(trials / row["trial"]).get(name)


def test_what_was_downloaded_is_whole(asha: Search, tmp_path: Path) -> None:
    trials = shutil.copytree(asha.folder / "trials", tmp_path / "trials")
    assert list(settle_trials(trials, asha.folder / "asha.json")) == []


def test_the_exported_model_scores_what_was_reported(asha: Search, tmp_path: Path) -> None:
    import pandas as pd

    from tune.data.demo import demo_pairs

    sides = pd.read_parquet(asha.folder / "split.parquet").set_index("row").side
    table = pd.DataFrame(demo_pairs(), columns=["question1", "question2", "is_duplicate"]).assign(side=sides)
    table[table.side == "test"].drop(columns="side").to_csv(tmp_path / "test.csv", index=False)
    scored = tune_inside("score", asha.folder / "best", "--data", tmp_path / "test.csv", "--json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["auc"] == pytest.approx(float(leaderboard(asha.folder)[0]["test_auc"]), abs=1e-4)


def test_containers_import_what_was_uploaded_and_see_no_test_rows(asha: Search) -> None:
    uploads = asha.stand_in.uploads
    for name in ("tune/pipeline/search.py", "tune/train/frozen/trial.py", "cluster/train_trial.py"):
        assert uploads[f"/root/{name}"].read_bytes() == (REPOSITORY / name).read_bytes()
    assert not any(path.startswith("/root/tests") for path in uploads)
    digest = summary(asha.folder)["bases"]["wordllama"]["digest"]
    about = json.loads((asha.stand_in.volume("embedtune-snapshots") / "views" / digest / "view.json").read_text())
    counts = summary(asha.folder)["data"]["split"]
    assert about["train"] + about["val"] < 4000 and counts


def test_a_finished_search_is_only_downloaded(asha: Search, tmp_path: Path) -> None:
    calls = len(asha.stand_in.calls)
    ran = launch(asha.stand_in, "--resume", "first", "--results", tmp_path, "--json")
    assert ran.code == 0, ran.out + ran.err
    assert len(asha.stand_in.calls) == calls and "downloading" in ran.err
    said = json.loads(ran.out.splitlines()[-1])
    assert said["winner"]["trial"] == leaderboard(asha.folder)[0]["trial"]
    assert said["paths"]["report"] == str(tmp_path / "first" / "report.html")
    assert (tmp_path / "first" / "leaderboard.csv").read_bytes() == (asha.folder / "leaderboard.csv").read_bytes()
    weights = [path.parent.name for path in tmp_path.glob("first/trials/*/best.safetensors")]
    assert weights == [said["winner"]["trial"]], "those of the others only on request"


@pytest.mark.slow
def test_the_board_shows_the_trials(asha: Search) -> None:
    deployed = subprocess.run(
        [sys.executable, "-m", "modal", "deploy", "cluster/board.py"],
        cwd=REPOSITORY,
        env=environment(asha.stand_in),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    url = asha.stand_in.web_url("board")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/data/runs", timeout=30)
    key, secret = asha.stand_in.proxy_token

    def runs() -> set[str]:
        headers = {"Modal-Key": key, "Modal-Secret": secret}
        request = urllib.request.Request(f"{url}/data/runs", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 200
            return {run.rsplit("-", 1)[1] for run in json.load(response) if run.startswith("first/runs/")}

    trials = {row["trial"] for row in leaderboard(asha.folder) if row["status"] != "baseline"}
    wait_for(lambda: runs() == trials, 60)


BOTH_KINDS = """
[search]
search = "grid"
finalists = 1

[[space]]
dims = [16]
loss = ["cosent"]
epochs = [2]
train_size = "1500:all"

[[space]]
freeze = [false]
dims = ["none", 16]
loss = ["mnr"]
learning_rate = [1e-2]
epochs = [1]
"""


OF_A_SEARCH = (
    "FunctionMap", "FunctionGetOutputs", "FunctionCallCancel", "QueueGet", "QueuePut", "VolumeCommit", "VolumeReload",
    "DictGet", "DictUpdate",
)  # fmt: skip
"""The RPCs that a running search sends. The client itself tries each four times."""


def test_a_grid_here_and_there_has_the_same_numbers(tmp_path: Path) -> None:
    (tmp_path / "both.toml").write_text(BOTH_KINDS)
    grid = (tmp_path / "both.toml", "--base-model", "wordllama", "--batch-size", 64)
    data = tmp_path / "pairs.csv"
    write_graded_demo(data)
    guard = tmp_path / "guard.csv"
    pd.DataFrame(general_pairs(), columns=["text1", "text2", "label"]).to_csv(guard, index=False)
    grid = (*grid, "--score", "grade", "--score-max", 5, "--report", "false", "--guard", guard)
    with modal_local(tmp_path) as stand_in:
        flaky = RpcFault(OF_A_SEARCH, count=30, share=0.8)
        stand_in.rpc_faults.append(flaky)
        ran = launch(stand_in, *grid, "--max-concurrent", 2, "--data", data, "--results", tmp_path, "--name", "there")
        assert ran.code == 0, ran.out + ran.err + stand_in.logs()
        assert flaky.hit == flaky.count, "an outage changes no number"
        for file in (data, guard):
            there = stand_in.volume(VOLUME).glob(f".data/*/{file.name}")
            assert [path.read_bytes() for path in there] == [file.read_bytes()]
        stand_in.wait_until_idle(1)
    here = tune_inside("search", *grid, "--jobs", 2, "--data", data, "--results", tmp_path, "--name", "here",
                "--cache", tmp_path / "cache")  # fmt: skip
    assert here.code == 0, here.err
    numbers = (
        "val_auc", "threshold", "budget", "test_auc", "test_auc_low", "test_accuracy", "val_spearman", "test_spearman",
        "guard_auc_before", "guard_auc", "merge",
    )  # fmt: skip
    rows = {place: {row["trial"]: row for row in leaderboard(tmp_path / place)} for place in ("here", "there")}
    assert rows["here"].keys() == rows["there"].keys() and len(rows["here"]) == 6
    assert {row["train"] for row in rows["there"].values() if row["test_spearman"] and row["rank"]} == {"", "full"}
    assert summary(tmp_path / "there")["modal"]["gpu"] == "L4", "a search that trains base models needs bf16"
    for trial, row in rows["here"].items():
        for name in numbers:
            assert bool(row[name]) == bool(rows["there"][trial][name])
            if row[name]:
                assert float(rows["there"][trial][name]) == pytest.approx(float(row[name]), abs=1e-6), (trial, name)
    # The configuration written on Modal runs here unchanged.
    tomls = [(tmp_path / place / "search.toml").read_text().splitlines() for place in ("here", "there")]
    assert [line for line in tomls[0] if not line.startswith("cache")] == tomls[1]
    spaces = tomllib.loads((tmp_path / "there" / "search.toml").read_text())["space"]
    assert spaces[0]["train_size"] == [1500, 0], "sizes that depend on the data are written as numbers"


def write_graded_demo(path: Path) -> None:
    import pandas as pd

    from tune.data.demo import demo_pairs

    table = pd.DataFrame(demo_pairs(), columns=["text_a", "text_b", "label"])
    table.assign(grade=3 * table.label + table.index % 3).to_csv(path, index=False)


@pytest.fixture(scope="module")
def nothing_runs(tmp_path_factory: pytest.TempPathFactory) -> ModalLocal:
    """A stand-in on which nothing may be called, started or stored."""
    with modal_local(tmp_path_factory.mktemp("refused")) as stand_in:
        yield stand_in
        assert stand_in.calls == [] and stand_in.containers == []
        assert not list(stand_in.volume(VOLUME).rglob("*"))


BAD: dict[str, tuple[list[str], list[str]]] = {
    "no such option": (["--sarch", "grid"], ["python -m tune search --help"]),
    "two bad values": (["--trials", "0", "--dims", "x"], ["[search] trials", "[space] dims"]),
    "not available on Modal": (["--cache", "/tmp/x"], ["[search] cache: not available on Modal"]),
    "no int8 on Modal": (["--base-model", "minilm", "--precision", "int8"], ["[search] precision: int8 runs on CPUs"]),
    "no extension on Modal": (["--resume", "first", "--extend", "5"], ["--extend works for searches on this machine"]),
    "not a number": (["--max-concurrent", "none"], ["--max-concurrent"]),
    "too many at a time": (["--jobs", "1001"], ["--max-concurrent: must be at most 1000"]),
    "no such file": (["--base-model", "wordllama", "--data", "nowhere.csv"], ["nowhere.csv"]),
    "one class": (["--base-model", "wordllama", "--data", "ONE_CLASS"], ["one.csv"]),
    "nothing to resume": (["--resume", "nothing"], ["no search nothing"]),
}
"""Case -> (arguments, what each line of the answer must contain, in order)."""
AS_A_COMMAND = ("two bad values", "one class", "nothing to resume")
"""Run by Modal's client; the others have to be refused before it is used at all."""


def refused_here(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Ran:
    """Launch in this process, which knows no Modal, and show the error as the entry point does."""
    with pytest.raises(UserError) as caught:
        launched_here(arguments)
    show_error(caught.value)
    return Ran(2, *capsys.readouterr())


@pytest.mark.parametrize("case", list(BAD))
def test_each_problem_is_one_line_and_costs_nothing(
    case: str, nothing_runs: ModalLocal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_class = tmp_path / "one.csv"
    one_class.write_text("text_a,text_b,label\n" + "".join(f"a{n},b{n},1\n" for n in range(500)))
    arguments, expected = BAD[case]
    given = [str(one_class) if argument == "ONE_CLASS" else argument for argument in arguments]
    given += ["--results", str(tmp_path)]
    ran = launch(nothing_runs, *given) if case in AS_A_COMMAND else refused_here(given, capsys)
    assert ran.code == 2, ran.out + ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(expected), errors
    assert all(word in line for word, line in zip(expected, errors, strict=True)), errors
    assert "Traceback" not in ran.out + ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["one.csv"]
