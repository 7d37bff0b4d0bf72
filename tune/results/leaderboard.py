"""leaderboard.csv: a row per trial (one per dims with Matryoshka) and per untouched base model.

Ranked by validation, never by test.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tune.files import write_atomic

COLUMNS = (
    "rank",
    "trial",
    "status",
    "base_model",
    "dims",
    "freeze",
    "train",
    "lora_rank",
    "lora_alpha",
    "side",
    "matryoshka",
    "loss",
    "hard_negatives",
    "learning_rate",
    "batch_size",
    "epochs",
    "warmup",
    "scheduler",
    "dropout",
    "weight_decay",
    "activation",
    "bias",
    "train_size",
    "folds",
    "budget",
    "val_auc",
    "val_auc_std",
    "val_pairs",
    "val_spearman",
    "test_auc",
    "test_auc_low",
    "test_auc_high",
    "test_accuracy",
    "test_precision",
    "test_recall",
    "test_hard_auc_logistic",
    "test_spearman",
    "test_spearman_low",
    "test_spearman_high",
    "usd_per_million_texts",
    "bytes_per_million_vectors",
    "over_base",
    "over_base_low",
    "over_base_high",
    "over_frozen",
    "over_frozen_low",
    "over_frozen_high",
    "guard_auc_before",
    "guard_auc",
    "merge",
    "threshold",
    "seconds",
    "usd",
    "error",
    "note",
)

Row = dict[str, Any]
"""Column -> value; a missing column is an empty field."""


def ranked(rows: Sequence[Row], finalists: Sequence[str] = ()) -> list[Row]:
    """Return the rows in table order, with `rank` set on trials; a trial's rows (one per dims) share its rank.

    Trials scored on all of val by `reported_auc` (ties by name, so the order never depends on chance), then trials
    scored on a sample of it, then baselines, then rows without an AUC: what is compared was scored on the same pairs.
    finalists: trials in the order that was fixed; they keep it within the places they hold.
    """
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(str(row["trial"]), row)

    most = max((row["val_pairs"] for row in rows if row.get("val_pairs")), default=0)

    def order(name: str) -> tuple[int, float, str]:
        row = first[name]
        auc = row.get("reported_auc", row.get("val_auc"))
        if auc is None:
            return 3, 0.0, name
        if row["status"] == "baseline":
            return 2, -auc, name
        return int(row.get("val_pairs", most) < most), -auc, name

    names = sorted(first, key=order)
    fixed = iter(name for name in finalists if name in first)
    names = [next(fixed) if name in finalists else name for name in names]
    place = {name: number for number, name in enumerate(names, start=1)}
    table = [dict(row) for row in sorted(rows, key=lambda row: place[str(row["trial"])])]
    for row in table:
        row.pop("reported_auc", None)
        if order(str(row["trial"]))[0] < 2:
            row["rank"] = place[str(row["trial"])]
    return table


def write_leaderboard(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as CSV, numbers with all their digits."""
    unknown = {name for row in rows for name in row} - set(COLUMNS)
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _field(row.get(name)) for name in COLUMNS})
    write_atomic(path, out.getvalue())


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def read_leaderboard(path: Path) -> list[dict[str, str]]:
    """Read the table's rows as text."""
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
