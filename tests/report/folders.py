"""Results folders of made-up searches, with as many trials as asked for, as a search would leave them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tune.config.trial import TrialConfig
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import Row, ranked, write_leaderboard
from tune.train.directory import TrialDirectory
from tune.train.stream import REPORTS_PER_TRIAL, Report

SIZES = (250, 500, 1000, 2000, 4000, 8000)
_BEGAN = 1_790_000_000
_LOSSES = ("cosent", "cosine", "mnr", "angle")


def made_up_folder(
    root: Path, trials: int, *, grid: bool = False, finished: bool = True, name: str = "made-up"
) -> Path:
    """Write a search of so many trials; return its folder. grid: over SIZES and two dims, all of them scored on test.

    finished: with leaderboard, winner and test; else as a search leaves it that still runs.
    """
    folder = ResultsFolder(root / name)
    folder.trials.mkdir(parents=True)
    configs = _grid() if grid else [_random(number) for number in range(trials)]
    rows = [_write_trial(folder, number, config) for number, config in enumerate(configs)]
    summary = _summary(folder, grid)
    if finished:
        scored = ranked([*(_with_test(row) if grid or i < 5 else row for i, row in enumerate(_by_val(rows))), _base()])
        write_leaderboard(folder.leaderboard, scored)
        summary |= _ending(scored[0], len(rows))
    folder.summary.write_text(json.dumps(summary))
    folder.config.write_text("")
    return folder.root


def _grid() -> list[TrialConfig]:
    return [
        TrialConfig(base_model="wordllama", dims=dims, loss="cosent", learning_rate=1e-3, train_size=size)
        for size in SIZES
        for dims in (64, 256)
    ]


def _random(number: int) -> TrialConfig:
    generator = np.random.default_rng(number)
    return TrialConfig(
        base_model=("wordllama", "minilm")[number % 2],
        dims=int(generator.choice([64, 128, 256])),
        loss=_LOSSES[number % len(_LOSSES)],
        learning_rate=float(10 ** generator.uniform(-4, -2)),
    )


def _write_trial(folder: ResultsFolder, number: int, config: TrialConfig) -> Row:
    """Write a trial's directory; return its row. Every fifth was stopped early, every eleventh failed."""
    generator = np.random.default_rng([number, 1])
    trial = TrialDirectory(folder.trials / config.digest(f"made-up {number}"))
    best = 0.9 - 0.4 * (config.train_size or 6000) ** -0.3 + 0.01 * np.log10(config.learning_rate) + config.dims * 1e-5
    best += 0.002 * generator.normal()
    failed, reports = number % 11 == 10, REPORTS_PER_TRIAL // 4 if number % 5 == 4 else REPORTS_PER_TRIAL
    row: Row = {"trial": trial.path.name, "status": "failed" if failed else "done", "freeze": True, **_axes(config)}
    with trial.locked():
        trial.begin(config)
        trial.best.write_bytes(b"weights")
        if failed:
            trial.fail(RuntimeError("the loss is nan"))
            row["error"] = "the loss is nan"
        else:
            lines = [_report(k, float(best), number) for k in range(1, reports + 1)]
            for line in lines:
                trial.append(line)
            row |= {"budget": lines[-1].budget, "val_auc": lines[-1].best_auc, "val_pairs": 400, "seconds": 8.0}
            row["bytes_per_million_vectors"] = config.dims * 4_000_000
    began = _BEGAN + 5 * number
    os.utime(trial.path / "trial.json", (began, began))
    if not failed:
        os.utime(trial.path / "reports.jsonl", (began + reports / 2, began + reports / 2))
    return row


def _axes(config: TrialConfig) -> dict[str, Any]:
    names = ("base_model", "dims", "loss", "learning_rate", "batch_size", "epochs", "train_size")
    return {name: getattr(config, name) for name in names}


def _report(number: int, best: float, trial: int) -> Report:
    auc = best - 0.1 * (1 - number / REPORTS_PER_TRIAL) ** 2
    return Report(
        number=number, budget=number / REPORTS_PER_TRIAL, auc=auc, best_auc=auc, accuracy=0.8, threshold=0.5, loss=0.1,
        pairs_per_second=1000.0, seconds=number / 2, step=number,
    )  # fmt: skip


def _by_val(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.get("val_auc", 0.0))


def _with_test(row: Row) -> Row:
    if "val_auc" not in row:
        return row
    auc = row["val_auc"] - 0.005
    gain = auc - 0.8
    return {
        **row, "test_auc": auc, "test_auc_low": auc - 0.02, "test_auc_high": auc + 0.02, "test_accuracy": 0.8,
        "test_hard_auc_logistic": 0.79, "over_base": gain, "over_base_low": gain - 0.01, "over_base_high": gain + 0.01,
        "threshold": 0.5,
    }  # fmt: skip


def _base() -> Row:
    return {
        "trial": "", "status": "baseline", "base_model": "wordllama", "dims": 256, "val_auc": 0.81, "val_pairs": 400,
        "test_auc": 0.8, "test_auc_low": 0.78, "test_auc_high": 0.82, "test_accuracy": 0.75,
        "test_hard_auc_logistic": 0.74, "bytes_per_million_vectors": 1_024_000_000,
    }  # fmt: skip


def _summary(folder: ResultsFolder, grid: bool) -> dict[str, Any]:
    rows = {"train": 8000, "val": 400, "test": 500}
    return {
        "name": folder.name,
        "data": {
            "source": "pairs.csv", "synthetic": False, "split_hash": "0123abcd",
            "labels": "1 is positive, 0 is negative",
            "columns": {"text_a": "text1", "text_b": "text2", "label": "label"},
            "counts": {"read": 9000, "unlabelled": 60, "empty": 0, "repeated": 40, "kept": 8900},
            "split": {"mode": "components", "rows": rows, "positives": {"train": 3200, "val": 160, "test": 200}},
            "leaks": {"texts_seen_in_train": {"val": 0, "test": 0}},
        },
        "seed": 0, "search": "grid" if grid else "asha", "command": "python -m tune search --data pairs.csv",
        "started": "2026-01-02T03:04:05+00:00", "versions": {"embedtune": "0.1.0"}, "cores": 2,
        "seconds": {"data": 1.0, "search": 100.0},
    }  # fmt: skip


def _ending(winner: Row, trials: int) -> dict[str, Any]:
    sentence = "the winner (wordllama, cosent) beats the untouched wordllama by 5.0 points of AUC [4.0, 6.0] at 64 dims"
    return {
        "winner": {"trial": winner["trial"], "val_auc": winner["val_auc"], "fixed": "2026-01-02T03:14:05+00:00"},
        "test": {"opened": "2026-01-02T03:14:06+00:00", "pairs": 500}, "verdict": {"sentence": sentence},
        "verdicts": [sentence], "warnings": [], "trials": {"done": trials}, "interrupted": "",
        "finished": "2026-01-02T03:14:09+00:00",
    }  # fmt: skip
