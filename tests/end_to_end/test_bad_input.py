"""Bad input at the command line: one clear line a problem, exit code 2, before any model is loaded, nothing left."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.command import environment
from tests.helpers.tiny import save_tiny_bert, save_tiny_model
from tune.cli.main import main
from tune.data.demo import demo_pairs

OFFLINE = ("--base-model", "wordllama")


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model may be loaded for what is refused."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("tune.embed.sentence_transformer.load_model", refuse)


def refused(capsys: pytest.CaptureFixture[str], results: Path, *arguments: object) -> list[str]:
    """The lines of a refused search."""
    code = main(["search", *map(str, arguments), "--results", str(results)])
    captured = capsys.readouterr()
    assert code == 2, captured.err
    lines = captured.err.splitlines()
    assert lines and all(line.startswith("error: ") and len(line) < 600 for line in lines), captured.err
    assert not results.exists(), "nothing is left half-written"
    return lines


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def csv_of(rows: int, label: object = None) -> str:
    lines = [f"question {i} here,another {i * 7} there,{i % 2 if label is None else label}" for i in range(rows)]
    return "text1,text2,label\n" + "\n".join(lines) + "\n"


DATA = {
    "no such file": (None, "missing.csv", ["no such file"]),
    "unknown format": ("a b c", "pairs.docx", ["csv", "parquet"]),
    "empty": ("", "pairs.csv", ["empty"]),
    "header only": ("text1,text2,label\n", "pairs.csv", ["no rows"]),
    "columns": ("foo,bar,label\na,b,1\n", "pairs.csv", ["foo", "bar", "--text-a"]),
    "labels": (csv_of(600, "maybe"), "pairs.csv", ["maybe", "--positive-from"]),
    "one class": (csv_of(600, 1), "pairs.csv", ["label", "0"]),
    "too few": (csv_of(300), "pairs.csv", ["100"]),
    "not utf-8": (b"text1,text2,label\ncaf\xe9,b,1\n", "pairs.csv", ["UTF-8"]),
    "broken json": ('{"text1": "a", "text2": "b", "label": 1}\n{"text1": \n', "pairs.jsonl", ["line 2"]),
    "torn gzip": (gzip.compress(csv_of(3000).encode())[:-200], "pairs.csv.gz", ["gz"]),
}


@pytest.mark.parametrize("case", list(DATA))
def test_data_that_cannot_be_searched_on(case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    content, name, says = DATA[case]
    path = tmp_path / name
    if content is not None:
        write(path, content)
    [line] = refused(capsys, tmp_path / "results", "--data", path, *OFFLINE)
    assert all(word in line for word in says), line


def test_a_split_that_cannot_be_names_the_option_with_which_the_search_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [f"the one search term,candidate {i} here,{i % 2}" for i in range(2800)]
    data = ("--data", write(tmp_path / "pairs.csv", "query,document,relevant\n" + "\n".join(rows) + "\n"), *OFFLINE)
    for option in ([], ["--split", "cut"]):
        [line] = refused(capsys, tmp_path / "results", *data, *option)
        assert "one text, in column 'query', is in 100% of the pairs" in line and "use --split queries" in line
    assert main(["search", *map(str, data), "--split", "queries", "--dry-run"]) == 0
    assert "those of 'query' (1) are shared by design" in capsys.readouterr().out


def test_a_truncated_parquet_and_an_empty_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pd.DataFrame(demo_pairs()[:2000], columns=["text1", "text2", "label"]).to_parquet(whole)
    torn = write(tmp_path / "torn.parquet", whole.read_bytes()[:-1000])
    [line] = refused(capsys, tmp_path / "results", "--data", torn, *OFFLINE)
    assert "parquet" in line
    (tmp_path / "empty").mkdir()
    [line] = refused(capsys, tmp_path / "results", "--data", tmp_path / "empty", *OFFLINE)
    assert "empty" in line


def test_a_hub_name_without_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    [line] = refused(capsys, tmp_path / "results", "--data", "nobody/no-such-pairs:pair-class", *OFFLINE)
    assert "nobody/no-such-pairs" in line
    [line] = refused(capsys, tmp_path / "results", "--base-model", "nobody/no-such-model")
    assert "nobody/no-such-model" in line and "minilm, wordllama" in line


OPTIONS = [
    (["--loss", "cosent,foo"], ["loss", "foo", "choose from"]),
    (["--learning-rate", "1e-2:1e-4"], ["reversed"]),
    (["--learning-rate", "1e-3:x"], ["LOW:HIGH"]),
    (["--learning-rate", "0"], ["above 0"]),
    (["--search", "grid", "--dropout", "0:0.5"], ["dropout", "a grid takes a list"]),
    (["--train-size", "1000,2000"], ["train_size", "--search grid"]),
    (["--train-size", "1000000"], ["train_size", "choose a smaller size"]),
    (["--train-size", "250:all"], ["train_size", "--search grid"]),
    (["--dims", "0"], ["dims", "at least 1"]),
    (["--dims", "64:128"], ["dims", "takes a list"]),
    (["--dims", "64,64"], ["twice"]),
    (["--trials", "0"], ["trials"]),
    (["--jobs", "0"], ["jobs"]),
    (["--search", "magic"], ["search", "grid", "asha"]),
    (["--name", "a/b"], ["name"]),
    (["--seed", "4294967296"], ["seed"]),
    (["--cache", __file__], ["cache", "cannot be written"]),
    (["--tials", "4"], ["--tials", "did you mean --trials", "--help"]),
    (["leftover"], ["leftover"]),
    (["--data"], ["--data", "--help"]),
    (["--ray-address", "127.0.0.1:1"], ["ray_address", "nothing listens"]),
    (["--gpus-per-trial", "0.5"], ["gpus_per_trial", "no GPU"]),
]


@pytest.mark.parametrize(("arguments", "says"), OPTIONS, ids=[" ".join(a) for a, _ in OPTIONS])
def test_options_that_cannot_be(
    arguments: list[str], says: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = "\n".join(refused(capsys, tmp_path / "results", *OFFLINE, *arguments))
    assert all(word in text for word in says), text


def test_all_problems_are_told_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    toml = write(
        tmp_path / "search.toml",
        '[baz]\nx = 1\n[search]\ntrials = 0\nfoo = 1\n[data]\nsplit = "x"\n'
        '[[space]]\nloss = ["cosent", "nope"]\nlerning_rate = [1e-3]\n',
    )
    lines = refused(capsys, tmp_path / "results", toml, "--dims", "0")
    assert len(lines) == 7
    for word in ("[baz]", "trials", "foo", "nope", "lerning_rate", "[data] split", "dims"):
        assert sum(word in line.split(";")[0] for line in lines) == 1, word


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("trials = ", "is not valid TOML"),
        ("[serch]\ntrials = 3", "unknown table [serch]"),
        ("[[space]]\ndims=[8]\n[[space]]\ndims=[0]", "[space 2] dims"),
        ("space = [3]", "space must be a table"),
        ("search = 3", "must be a table"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_toml_that_cannot_be_read(
    content: str | bytes | None, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "search.toml"
    if content is not None:
        write(path, content)
    [line] = refused(capsys, tmp_path / "results", path, *OFFLINE)
    assert says in line


def test_a_taken_name_and_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "results" / "taken").mkdir(parents=True)
    write(tmp_path / "results" / "taken" / "search.toml", "")
    code = main(["search", *OFFLINE, "--results", str(tmp_path / "results"), "--name", "taken"])
    assert code == 2 and "--resume taken" in capsys.readouterr().err
    write(tmp_path / "file", "")
    code = main(["search", *OFFLINE, "--results", str(tmp_path / "file" / "results")])
    assert code == 2 and "not writable" in capsys.readouterr().err


def test_a_folder_without_a_search_in_it_is_not_offered_for_resume(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "half").mkdir()
    assert main(["search", *OFFLINE, "--results", str(tmp_path), "--name", "half"]) == 2
    said = capsys.readouterr().err
    assert "taken" in said and "--resume" not in said


def test_score_refuses_what_it_cannot_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.csv", csv_of(50))
    assert main(["score", "wordllama"]) == 2 and "--data" in capsys.readouterr().err
    assert main(["score", "wordllama", "--data", str(pairs), "--threshold", "nan"]) == 2
    assert "not a finite number" in capsys.readouterr().err
    write(tmp_path / "modules.json", "[]")
    for content in ("[1]", '{"threshold": "high"}', "{"):
        write(tmp_path / "embedtune.json", content)
        assert main(["score", str(tmp_path), "--data", str(pairs)]) == 2
        assert "embedtune.json" in capsys.readouterr().err


def test_commands_that_are_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serach"]) == 2 and "the commands are search, baselines, " in capsys.readouterr().err
    assert main([]) == 0 and "usage" in capsys.readouterr().out
    assert main(["export", str(tmp_path)]) == 2 and "--to" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--to", "x"]) == 2 and "is not a results folder" in capsys.readouterr().err
    assert main(["score", str(tmp_path), "--data", "x.csv"]) == 2 and "model folder" in capsys.readouterr().err


def test_what_is_refused_at_once_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nfrom tune.cli.main import main\n"
        "assert main(['search', '--data', 'missing.csv', '--base-model', 'nope', '--loss', 'cosent']) == 2\n"
        "heavy = {'torch', 'ray', 'sentence_transformers', 'transformers'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment()
    )
    assert done.stdout.strip() == "[]" and done.stderr.count("error: ") == 2


def test_lora_on_static_vectors_is_refused_with_all_else_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, and a hub model in the local cache."""
    folder = save_tiny_model(tmp_path / "static")
    # The hub's cache as huggingface_hub lays it out.
    kept = tmp_path / "hub" / "models--someone--words"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (kept / "refs").mkdir(parents=True)
    write(kept / "refs" / "main", commit)
    (kept / "snapshots" / commit).mkdir(parents=True)
    write(kept / "snapshots" / commit / "modules.json", (folder / "modules.json").read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    bert = save_tiny_bert(tmp_path / "bert")
    capsys.readouterr()
    lines = refused(
        capsys, tmp_path / "results", "--data", tmp_path / "missing.csv", "--freeze", "true,false",
        "--train", "full,lora", "--base-model", f"{folder},{bert},someone/words",
    )  # fmt: skip
    assert len(lines) == 3 and "no such file" in lines[2]
    for line, name in zip(lines, (folder, "someone/words"), strict=False):
        assert (
            f"[space] train: lora needs attention layers, and {name} has none that it can adapt; use train=full" in line
        )


def test_a_ranking_loss_that_would_see_no_positives_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Train has both classes; its first pair in the file is a positive one, that of its seeded order is not."""
    rows = ["text1,text2,label,split"]
    for side, count, every in (("train", 600, 100), ("val", 300, 2), ("test", 300, 2)):
        rows += [f"{side} question {i},{side} answer {i},{int(i % every == 0)},{side}" for i in range(count)]
    data = write(tmp_path / "pairs.csv", "\n".join(rows))
    sizes = ("--data", data, "--split-column", "split", *OFFLINE, "--search", "grid", "--train-size", "1,500")
    [line] = refused(capsys, tmp_path / "results", *sizes, "--loss", "cosent,mnr", "--freeze", "true,false")
    assert "mnr learns from positive pairs" in line and "train_size=1 includes none" in line
    assert main(["search", *map(str, sizes), "--loss", "cosent", "--dry-run"]) == 0


ODD = [
    ("byte order mark", lambda text: b"\xef\xbb\xbf" + text.encode()),
    ("windows line ends", lambda text: text.replace("\n", "\r\n").encode()),
]


@pytest.mark.parametrize(("name", "change"), ODD, ids=[name for name, _ in ODD])
def test_ordinary_oddities_are_read(name: str, change: object, tmp_path: Path) -> None:
    from tune.config.data import DataConfig
    from tune.data.pairs import read_pairs

    rows = [('a "quoted"\nline', "émoji 🧀", 1), ("x" * 100_000, "NA", 0), ("007", "1e5", 1)]
    text = "text1,text2,label\n" + "".join(
        ",".join('"' + str(v).replace('"', '""') + '"' for v in row) + "\n" for row in rows[1:]
    )
    path = write(tmp_path / "pairs.csv", change(text))  # type: ignore[operator]
    pairs = read_pairs(DataConfig(data=str(path)))
    assert list(zip(pairs.text_a, pairs.text_b, pairs.label.tolist(), strict=True)) == rows[1:]
    jsonl = write(
        tmp_path / "pairs.jsonl",
        "\n".join(json.dumps(dict(zip(("text1", "text2", "label"), row, strict=True))) for row in rows),
    )
    assert read_pairs(DataConfig(data=str(jsonl))).text_a == [row[0] for row in rows]
