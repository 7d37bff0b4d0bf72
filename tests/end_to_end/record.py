"""Records what every command says and leaves behind, so that two versions can be compared to the last digit.

`python -m tests.end_to_end.record FOLDER` runs six small searches (grid, asha, whole, LoRA, folds, closed) and all
other commands; `python -m tests.end_to_end.record --compare OLD NEW` exits with 1 and names what differs. Paths, times
and versions are left out. A change that is meant to move no number is checked this way; a run takes some minutes.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.embed_server import KEYS, embed_server
from tests.helpers.tiny import save_tiny_bert, write_some_pairs, write_topic_pairs

TIMEOUT = 400
VOLATILE = {
    "seconds", "pairs_per_second", "started", "finished", "fixed", "command", "versions", "embedtune", "source",
    "cores",
}  # fmt: skip
"""Fields that differ from run to run."""

# One trial at a time: asha's path depends on the order in which trials report.
_SMALL = ("--jobs", "1", "--seed", "3", "--loss", "cosent")
SEARCHES: dict[str, tuple[str, ...]] = {
    "grid": ("--search", "grid", "--base-model", "minilm,wordllama", "--dims", "32,64", "--learning-rate", "3e-3"),
    "asha": ("--search", "asha", "--base-model", "wordllama", "--trials", "12", "--dims", "32,64,128"),
    "whole": (
        "--search", "grid", "--base-model", "{bert}", "--freeze", "true,false", "--dims", "8",
        "--learning-rate", "1e-3,3e-3", "--epochs", "2",
    ),
    "lora": (
        "--search", "grid", "--base-model", "{bert}", "--freeze", "false", "--train", "lora", "--lora-rank", "4",
        "--dims", "none,8", "--learning-rate", "3e-3", "--epochs", "2",
    ),
    "folds": ("--search", "random", "--base-model", "wordllama", "--folds", "4", "--trials", "3", "--dims", "16,32"),
    "closed": (
        "--search", "grid", "--base-model", "minilm,openai:text-embedding-3-small,cohere:embed-v4.0@256",
        "--dims", "32", "--learning-rate", "1e-2", "--base-url", "{openai}", "--cohere-base-url", "{cohere}",
    ),
}  # fmt: skip


class Recorder:
    """Runs commands in one folder; keeps what they print."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: dict[str, dict[str, Any]] = {}

    def run(self, name: str, *arguments: object) -> None:
        """Run `python -m tune ARGUMENTS` and keep its output under `name`."""
        done = subprocess.run(
            [sys.executable, "-m", "tune", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "COLUMNS": "200",
                **KEYS,
            },
        )
        self.printed[name] = {"exit": done.returncode, "out": done.stdout, "err": done.stderr}
        print(f"{name}: exit {done.returncode}", flush=True)


def record(folder: Path) -> None:
    """Run everything and write FOLDER/record.json."""
    folder.mkdir(parents=True)
    recorder = Recorder(folder)
    bert = save_tiny_bert(folder / "bert")
    topics = write_topic_pairs(folder / "topics.csv", {"train": 700, "val": 400, "test": 400})
    some = write_some_pairs(folder / "some.csv", {"train": 700, "val": 260, "test": 260})
    places = ("--results", folder, "--cache", folder / "cache")
    with embed_server() as server:
        filled = {"bert": bert, "openai": server.openai_url, "cohere": server.cohere_url}
        for name, arguments in SEARCHES.items():
            pairs = topics if name in ("whole", "lora") else some
            options = [argument.format(**filled) for argument in arguments]
            data = ("--data", pairs, "--split-column", "side", "--name", name)
            recorder.run(f"search {name}", "search", *options, *_SMALL, *data, *places)
        _other_commands(recorder, some, places, (server.openai_url, server.cohere_url))
    content = {"printed": recorder.printed, "folders": {name: _folder(folder / name) for name in SEARCHES}}
    (folder / "record.json").write_text(json.dumps(content, indent=1, sort_keys=True))


def _other_commands(recorder: Recorder, some: Path, places: tuple[object, ...], servers: tuple[str, str]) -> None:
    folder, run = recorder.folder, recorder.run
    data = ("--data", some, "--split-column", "side")
    cache = ("--cache", folder / "cache")
    closed = ("--base-model", "openai:text-embedding-3-small", "--base-url", servers[0])
    run("baselines", "baselines", "--base-model", "minilm,wordllama", "--name", "baselines", *data, *places)
    run("presets", "presets")
    run("resume", "search", "--resume", "grid", *places)
    run("dry run", "search", "--dry-run", *closed, *data, *places)
    run("export", "export", folder / "grid", "--to", folder / "exported")
    run("export whole", "export", folder / "whole", "--to", folder / "exported-whole")
    run("score", "score", folder / "exported", "--json", "--side", "test", *data, *cache)
    run("score closed", "score", folder / "closed" / "best", "--side", "test", *data, *cache)
    run("score base", "score", "minilm", "--threshold", "0.5", "--side", "val", *data, *cache)
    for name, arguments in {
        "no command": ("dance",),
        "misspelt": ("search", "--base-modle", "minilm"),
        "two problems": ("search", "--dims", "x", "--loss", "none"),
        "no data": ("search", "--data", "gone.csv"),
        "no results": ("export", folder / "gone", "--to", folder / "never"),
        "no winner": ("search", "--resume", "gone", *places),
    }.items():
        run(f"refused: {name}", *arguments)


def _folder(folder: Path) -> dict[str, Any]:
    """Return what a search left, without what differs from run to run."""
    with open(folder / "leaderboard.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    reports = {
        path.parent.name: [_stable(json.loads(line)) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("trials/*/reports.jsonl"))
    }
    weights = sorted((*folder.glob("best/**/*.safetensors"), *folder.glob("trials/*/*.safetensors")))
    left = {
        "leaderboard": [_stable(row) for row in rows],
        "summary": _stable(json.loads((folder / "summary.json").read_text())),
        "test": json.loads((folder / "test.json").read_text()),
        "embedtune.json": _stable(json.loads((folder / "best" / "embedtune.json").read_text())),
        "reports": reports,
        "asha": json.loads((folder / "asha.json").read_text()) if (folder / "asha.json").exists() else None,
        "weights": {str(path.relative_to(folder)): _hash(path) for path in weights},
        "split": _hash(folder / "split.parquet"),
        "files": sorted({path.relative_to(folder).parts[0] for path in folder.iterdir()}),
    }
    return dict(json.loads(_without_ports(json.dumps(left), rows)))


def _without_ports(content: str, rows: list[dict[str, str]]) -> str:
    """Name the trials on closed models by their axes: their digests hold the address of the loopback server."""
    for row in rows:
        if ":" in row["base_model"] and row["status"] != "baseline":
            content = content.replace(row["trial"], f"{row['base_model']}-{row['dims']}")
    return content


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if key not in VOLATILE}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield a line for every place where two records differ. Sentences may change; their numbers may not."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if (key in old) != (key in new):
                yield f"{where}/{key}: only in the {'old' if key in old else 'new'} record"
            else:
                yield from differences(old[key], new[key], f"{where}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}/{place}")
    elif isinstance(old, str) and isinstance(new, str):
        if (numbers := _numbers(old)) != _numbers(new):
            yield f"{where}: {numbers} became {_numbers(new)}"
    elif old != new:
        yield f"{where}: {old!r} became {new!r}"


def _numbers(text: str) -> list[str]:
    """Return the figures with a decimal point in a text, without times, rates and the lines that come by the clock."""
    text = re.sub(r"^(trials: .*|.* texts embedded, .*)$", "", text, flags=re.M)
    text = re.sub(r"127\.0\.0\.1:\d+|\d+(\.\d+)? (s|texts/s)\b|\S*/\S*", "", text)
    return sorted(re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text))


def main() -> int:
    """Record, or compare two records."""
    parser = argparse.ArgumentParser(prog="python -m tests.end_to_end.record", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--compare", action="store_true", help="compare two folders that were recorded")
    parsed = parser.parse_args()
    if not parsed.compare:
        record(parsed.folders[0].resolve())
        return 0
    old, new = (json.loads((folder / "record.json").read_text()) for folder in parsed.folders)
    found = list(differences(old, new))
    print("\n".join(found) or "the same numbers everywhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
