"""Scores of made-up pairs beside a made-up search: val and test, or folds, by the winner and untouched models."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.data.pairs import read_pairs
from tune.data.split import row_hashes
from tune.metrics.score import fit_thresholds, roc_auc
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import write_leaderboard
from tune.results.scores import Scores, read_scores, write_scores

GAINS = {"wordllama": 1.2, "minilm": 1.4, "tf-idf": 0.8, "text-embedding-3-small": 1.6}
"""By how many standard deviations the positives' cosines lie above the negatives'."""
_WINNER = 1.9


def with_scores(
    folder: Path, pairs: int = 500, *, share: float = 0.4, others: tuple[str, ...] = (), folds: bool = False
) -> Path:
    """Write scores.parquet and split.parquet for so many pairs of test and as many of val, or for folds alone.

    share: of positives. others: untouched models beside wordllama, of GAINS. The leaderboard gets these models and the
    AUCs and thresholds of the scores.
    """
    generator = np.random.default_rng(pairs)
    sides = ["folds"] if folds else ["val", "test"]
    n = pairs * len(sides)
    label = (np.arange(n) % 100 < round(100 * share)).astype(np.int8)
    side = np.repeat(sides, pairs)
    row = np.arange(n) + 10
    winner = json.loads((folder / "summary.json").read_text()).get("winner", {}).get("trial")
    hard = generator.normal(size=n)
    models = {
        f"baseline:{name}": _cosines(generator, hard, label, GAINS.get(name, 1.0)) for name in ("wordllama", *others)
    }
    if winner:
        models[winner] = _cosines(generator, hard, label, _WINNER)
    results = ResultsFolder(folder)
    write_scores(results, Scores(row, side, label, models))
    facts = {"row": row, "row_hash": [f"{i:032x}" for i in range(n)], "component": np.arange(n) // 2, "side": side}
    pq.write_table(pa.table({name: list(values) for name, values in facts.items()}), results.split)
    _rewrite(results, others, models, label, side)
    return folder


def _cosines(
    generator: np.random.Generator, hard: NDArray[np.float64], label: NDArray[np.int8], gain: float
) -> NDArray[np.float32]:
    noise = 0.7 * hard + 0.7 * generator.normal(size=len(hard))
    return np.tanh(0.5 + 0.3 * (noise + gain * label) - 0.1 * gain).astype(np.float32)


def _rewrite(
    folder: ResultsFolder,
    others: tuple[str, ...],
    models: dict[str, NDArray[np.float32]],
    label: NDArray[np.int8],
    side: NDArray[np.str_],
) -> None:
    with open(folder.leaderboard, newline="") as handle:
        rows = list(csv.DictReader(handle))
    base = next(row for row in rows if row["status"] == "baseline")
    rows += [{**base, "base_model": name} for name in others]
    fitted, scored = side == side[0], side == side[-1]
    for row in rows:
        key = f"baseline:{row['base_model']}" if row["status"] == "baseline" else row["trial"]
        if key in models:
            auc = roc_auc(models[key][scored], label[scored])
            row["threshold"] = repr(fit_thresholds(models[key][fitted], label[fitted]).accuracy)
            if "test" in side:
                row |= {"test_auc": repr(auc), "test_auc_low": repr(auc - 0.02), "test_auc_high": repr(auc + 0.02)}
    write_leaderboard(folder.leaderboard, rows)


def with_data(folder: Path, texts: dict[int, tuple[str, str]], where: Path) -> Path:
    """Write the pairs behind the scores as a csv file, which search.toml then names; return it.

    texts: by row; all others are made up.
    """
    results = ResultsFolder(folder)
    scores = read_scores(results)
    assert scores is not None
    label = dict(zip(scores.row.tolist(), scores.label.tolist(), strict=True))
    with open(where, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text_a", "text_b", "label"])
        for row in range(max(label) + 1):
            writer.writerow([*texts.get(row, (f"first of {row}", f"second of {row}")), label.get(row, row % 2)])
    results.config.write_text(f"[data]\ndata = {json.dumps(str(where))}\n")
    table = pq.read_table(results.split)
    hashes = row_hashes(read_pairs(DataConfig(data=str(where))))
    hashes = [hashes[row] for row in table["row"].to_pylist()]
    pq.write_table(table.set_column(table.schema.get_field_index("row_hash"), "row_hash", [hashes]), results.split)
    return where
