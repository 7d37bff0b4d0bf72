"""Commands on the machines that people have: job systems, containers, odd locales, streams that end."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command import TIMEOUT, Ran, environment, leaderboard, summary, untouched
from tests.helpers.tiny import save_tiny_model
from tune.cli.main import main
from tune.data.demo import demo_pairs
from tune.machine import one_thread

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
"""Python reads and writes ASCII only."""


def shell(line: str, *arguments: object, **variables: str | None) -> Ran:
    """Run a line of bash with the arguments as "$@"; $TUNE runs embedtune. A variable of None is taken out."""
    given = {**environment(), "TUNE": f"{sys.executable} -m tune", **variables}
    done = subprocess.run(
        ["bash", "-c", line, "bash", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env={name: value for name, value in given.items() if value is not None},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_search_where_nothing_is_as_usual(tmp_path: Path) -> None:
    """Variables of another Ray cluster, a long TMPDIR, one core of many, a locale of C, names with accents."""
    base = save_tiny_model(tmp_path / "modèle", 16)
    pairs = tmp_path / "données.csv"
    with open(pairs, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text1", "text2", "label"), *demo_pairs()])
    temporary = tmp_path / ("long" * 30)
    temporary.mkdir()
    other = {
        "RAY_ADDRESS": "127.0.0.1:1",
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 0}',
        "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "gcs://missing.zip"}}',
    }
    ran = shell(
        '$TUNE search "$@"', "--data", pairs, "--base-model", base, "--search", "grid", "--dims", 8, "--loss", "cosent",
        "--learning-rate", "1e-3,3e38", "--epochs", 1, "--results", tmp_path / "résultats", "--name", "odd",
        "--cache", tmp_path / "cache",
        TMPDIR=str(temporary), RAY_TMPDIR=None, SLURM_CPUS_PER_TASK="1", **C_LOCALE, **other,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.out + ran.err and ran.out.isascii() and "mod?le" in ran.out
    [said] = [line for line in ran.out.splitlines() if "are ignored" in line]
    assert all(name in said for name in other) and "--ray-address" in said
    assert "Ray's files go to /tmp: TMPDIR is too long for Ray's sockets" in ran.out
    assert list(temporary.glob("ray*")) == []
    assert "search: 2 trials, 1 at a time" in ran.out
    rows, facts = leaderboard(tmp_path / "résultats" / "odd"), summary(tmp_path / "résultats" / "odd")
    assert facts["cores"] == 1
    [failed] = [row for row in rows if row["status"] == "failed"]
    assert ran.out.count(failed["trial"]) == 1 and (ran.out + ran.err).count(failed["error"]) == 1
    assert f"trial {failed['trial']} failed: {failed['error']}" in ran.out and "1 trial failed" in ran.out
    assert {Path(row["base_model"]).name for row in rows} == {"modèle", "tf-idf"}
    best = tmp_path / "résultats" / "odd" / "best"
    card = (best / "README.md").read_text(encoding="utf-8")
    assert card.count("(AUC on validation: modèle 0.") == 1 and "modèle: ." not in card
    for name in ("README.md", "embedtune.json"):
        assert str(tmp_path) not in (best / name).read_text(encoding="utf-8"), f"{name} names a folder of this machine"


def test_a_command_finishes_without_streams_or_readers(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny", 16)
    ran = shell(
        '$TUNE baselines "$@" <&- 2>&- | head -1; echo "${PIPESTATUS[0]}"',
        "--base-model", base, "--results", tmp_path, "--cache", tmp_path / "cache", "--name", "unread",
    )  # fmt: skip
    first, code = ran.out.splitlines()
    assert first and code == "0" and ran.err == ""
    assert len(untouched(tmp_path / "unread")) == 1 and summary(tmp_path / "unread")["finished"]
    assert (tmp_path / "unread" / ".lock").read_bytes() == b"", "what is printed must not go to the next open file"


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("$TUNE presets >&-", 0, ""),
        ("$TUNE presets | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("$TUNE presets > /dev/full", 1, "error: output could not be written (No space left on device)"),
        ("$TUNE nonsense 2> /dev/full", 2, ""),
    ],
)
def test_streams_that_take_nothing(line: str, code: int, says: str) -> None:
    ran = shell(line)
    assert (ran.code, ran.err.strip()) == (code, says)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    ran = shell("$TUNE search --data $(printf 'donn\\xe9es.csv')")
    assert ran.code == 2 and "is not valid UTF-8; rename the file" in ran.err and ran.err.count("\n") == 1


def test_a_limit_on_address_space_is_refused_before_it_hangs() -> None:
    ran = shell("ulimit -v 3000000; $TUNE search --base-model wordllama")
    assert ran.code == 2 and ran.err.count("\n") == 1, ran.err
    assert "ulimit -v limits this process to 2.86 GiB" in ran.err and "ulimit -v unlimited" in ran.err


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"HOME": None}, "HOME is not set; set HOME to a folder"),
        ({"HOME": "/dev/null"}, "choose another --cache"),
        ({"RAY_TMPDIR": "/dev/null/ray"}, "RAY_TMPDIR: /dev/null/ray is not a folder"),
        ({"RAY_TMPDIR": "/" + "long" * 30}, "is too long for Ray's sockets"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_before_anything_is_read(
    variables: dict[str, str | None],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def nameless(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr("pwd.getpwuid", nameless)
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    assert main(["search", "--base-model", "wordllama", "--results", str(tmp_path / "results")]) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_disk_that_takes_no_more_is_one_line(tmp_path: Path) -> None:
    """Known only when it is written to, as with a quota or a full disk; here by a limit on the size of files."""
    ran = shell('ulimit -f 1; $TUNE search "$@"', "--base-model", "wordllama", "--results", tmp_path)
    assert ran.code == 2 and ran.err == "error: File too large; raise the limit on the size of files (ulimit -f)\n"


def test_the_doctor_looks_at_everything_and_tells_no_secret(tmp_path: Path) -> None:
    options = ("--results", tmp_path / "results", "--cache", tmp_path / "cache")
    keys = dict.fromkeys(("OPENAI_API_KEY", "HF_TOKEN", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"), "s3cr3t")
    ran = shell('$TUNE doctor "$@"', *options, SLURM_CPUS_PER_TASK="1", RAY_ADDRESS="127.0.0.1:1", **keys)
    states = {line.split()[1]: line.split()[0] for line in ran.out.splitlines()[:-1]}
    assert ran.code == 0, ran.out + ran.err
    assert {"python", "packages", "cores", "memory", "results", "cache", "tmp", "keys", "modal", "hub", "gpu"} < set(
        states
    )
    assert states["ray"] == "ok" and states["hub"] == "note" and "problem" not in states.values()
    assert "OPENAI_API_KEY set, COHERE_API_KEY not set" in ran.out and "token in the environment" in ran.out
    assert "s3cr3t" not in ran.out + ran.err
    assert "RAY_ADDRESS is ignored" in ran.out and "1 usable" in ran.out
    assert not (tmp_path / "results").exists() and not (tmp_path / "cache").exists(), "it only looks"


def test_the_doctor_names_what_would_stop_a_search() -> None:
    ran = shell(
        'ulimit -v 3000000; $TUNE doctor "$@"', "--results", "/dev/null/results", "--cache", "~nobody-here/cache"
    )
    assert ran.code == 1 and ran.err == "", ran.err
    for line in (
        "problem memory    ulimit -v",
        "problem results ",
        "problem cache ",
        "not looked at: fix memory first",
    ):
        assert line in ran.out
    assert ran.out.endswith("notes\n") and "3 problems" in ran.out


@pytest.mark.parametrize(("variables", "threads"), [({}, "1 1"), ({"OMP_NUM_THREADS": "2"}, "2 ")])
def test_numeric_libraries_follow_the_usable_cores(variables: dict[str, str], threads: str) -> None:
    """On one core of several; a user's own setting counts. torch reads it when it is imported."""
    ask = "" if variables else "import torch; print(torch.get_num_threads(), end='')"
    code = (
        f"import os; from tune.machine import *; limit_threads(); print(os.environ['OMP_NUM_THREADS'], end=' '); {ask}"
    )
    given = {**dict.fromkeys(one_thread()), **variables, "SLURM_CPUS_PER_TASK": "1"}
    assert shell(f'{sys.executable} -c "$1"', code, **given).out == threads
