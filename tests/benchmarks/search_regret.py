"""Full searches of this version and of the last one that ranked trials on different pairs, over many seeds.

Each is `--search asha` over layers and whole models of wordllama, from the command line, on the same pairs and axes.
Afterwards every trial's kept weights are scored on all of val by this version, whatever they were ranked on, and on
test the best whole model and the best layer are compared as the search itself compared them.

- regret: AUC on all of val of the search's best trial minus that of its winner; `against_reference`: minus that of the
  best trial of the same seed's two searches.
- told_apart: share of searches whose comparison of the best whole model with the best layer is not "level";
  told_apart_wrongly: of these, where the kinds' best trials of both searches are within LEVEL on all of val.
- best_layer, best_whole: mean AUC on all of val of the kind's best trial. Stopping a kind too early shows here.

The earlier version is a commit of this repository, checked out in a temporary folder.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common import SPLIT_COLUMN, Options, Result, Target, pairs_config, split_of, threads
from tune.data.sides import LabelledPairs
from tune.embed.prepare import ViewOptions, prepare_base
from tune.embed.sources import load_source
from tune.metrics.score import roc_auc
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models

TITLE = "the winner of full searches, ranked on different pairs (before) and on the same (after)"
BEFORE = "ac43c62"
"""The last commit that let layers report on all of val and whole models on a random part of it."""

BASE, SEEDS, TRIALS, LEVEL = "wordllama", 20, 24, 0.003
TIMEOUT = 1800


@dataclass(frozen=True)
class _Found:
    """A finished search. aucs: (kind, AUC on all of val) of every trial. winner: AUC on all of val of the winner.

    test: its test AUC. outcome: of the best whole model against the best layer; "" if one of the kinds is missing.
    """

    aucs: list[tuple[str, float]]
    winner: float
    test: float
    outcome: str

    def best(self, kind: str = "") -> float:
        """Return the best trial's AUC, of a kind or of all."""
        return max((auc for of, auc in self.aucs if kind in ("", of)), default=float("nan"))


def run(options: Options) -> Result:
    """Run the searches of both versions and describe them."""
    result = Result()
    _, sides = split_of(pairs_config(options, space={"base_model": BASE}))
    found: dict[str, list[_Found]] = {"before": [], "after": []}
    with threads(1), tempfile.TemporaryDirectory() as folder, _checked_out(Path(folder) / "before") as before:
        results = Path(folder) / "results"
        base = prepare_base(load_source(BASE), sides, options.cache, ("", ""), ViewOptions(texts=True))
        models = Models({BASE: base}, options.cache, None)
        for seed in range(options.pick(SEEDS, 1)):
            for version, code in (("before", before), ("after", Path.cwd())):
                name = f"{version}-{seed}"
                _search(code, options, results, name, seed)
                found[version].append(_read(results / name, models, sides["val"]))
                print(name, found[version][-1].winner, found[version][-1].outcome, file=sys.stderr, flush=True)
    result.figures = {version: _described(found, version) for version in found}
    after = result.figures["after"]
    result.targets.append(Target("regret after", after["mean_regret"], most=0.0005))
    result.targets.append(Target("level kinds told apart after", after["told_apart_wrongly"], most=0.05))
    result.notes.append(
        f"before: commit {BEFORE}; {options.pick(SEEDS, 1)} seeds, {options.pick(TRIALS, 6)} trials each"
    )
    return result


@contextlib.contextmanager
def _checked_out(folder: Path) -> Iterator[Path]:
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(folder), BEFORE], check=True, timeout=120)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], check=False, timeout=120)


def _search(code: Path, options: Options, results: Path, name: str, seed: int) -> None:
    axes = {
        "base-model": BASE, "train-size": "2000", "epochs": "2", "freeze": "true,false", "learning-rate": "1e-4:3e-2",
    }  # fmt: skip
    values = {
        "data": str(options.data.resolve()), "split-column": SPLIT_COLUMN, "search": "asha", "seed": str(seed),
        "trials": str(options.pick(TRIALS, 6)), "jobs": "1", "results": str(results), "name": name,
        "cache": str(options.cache.expanduser().resolve()), **axes,
    }  # fmt: skip
    flags = [part for key, value in values.items() for part in (f"--{key}", value)]
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tune", "search", *flags]
    subprocess.run(
        command, cwd=code, env=environment, check=True, timeout=TIMEOUT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _read(folder: Path, models: Models, val: LabelledPairs) -> _Found:
    """Score all trials of a search on all of val. Both versions leave the same files."""
    aucs, winner = [], 0.0
    summary = json.loads((folder / "summary.json").read_text())
    for outcome in trial_outcomes(folder / "trials", folder / "asha.json"):
        if outcome.best is None or outcome.status == "failed":
            continue
        model = models.of(outcome)
        auc = roc_auc(next(iter(model.test(val).values())), val.label)
        aucs.append((model.kind.group, auc))
        if outcome.trial == summary["winner"]["trial"]:
            winner = auc
    test: dict[str, Any] = json.loads((folder / "test.json").read_text())
    between = [entry["outcome"] for entry in test["comparisons"] if entry["kind"] == "frozen"]
    return _Found(
        aucs, winner, test["models"][summary["winner"]["trial"]]["test"]["auc"], between[0] if between else ""
    )


def _described(found: dict[str, list[_Found]], version: str) -> dict[str, Any]:
    searches = found[version]
    reference = [max(pair, key=lambda one: one.best()) for pair in zip(*found.values(), strict=True)]
    best = {
        kind: [max(one.best(kind) for one in pair) for pair in zip(*found.values(), strict=True)]
        for kind in ("frozen", "full")
    }
    level = np.abs(np.array(best["full"]) - np.array(best["frozen"])) < LEVEL
    apart = np.array([one.outcome in ("beats", "behind") for one in searches])
    regret = np.array([one.best() - one.winner for one in searches])
    return {
        "searches": len(searches),
        "mean_regret": float(regret.mean()),
        "largest_regret": float(regret.max()),
        "regret_against_reference": float(
            np.mean([top.best() - one.winner for top, one in zip(reference, searches, strict=True)])
        ),
        "winner_val_auc": float(np.mean([one.winner for one in searches])),
        "winner_test_auc": float(np.mean([one.test for one in searches])),
        "best_layer_val_auc": float(np.mean([one.best("frozen") for one in searches])),
        "best_whole_val_auc": float(np.mean([one.best("full") for one in searches])),
        "told_apart": float(apart.mean()),
        "level_kinds": float(level.mean()),
        "told_apart_wrongly": float((apart & level).mean()),
    }
