"""leaderboard.csv: one row per trial and per untouched base model, ranked by validation, never by test."""

import csv
import io
from collections.abc import Iterable, Sequence
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
    "loss",
    "learning_rate",
    "batch_size",
    "epochs",
    "warmup",
    "scheduler",
    "dropout",
    "weight_decay",
    "activation",
    "train_size",
    "budget",
    "val_auc",
    "test_auc",
    "test_auc_low",
    "test_auc_high",
    "test_accuracy",
    "test_hard_auc_logistic",
    "threshold",
    "seconds",
    "error",
    "note",
)

Row = dict[str, Any]
"""Column -> value; a missing column is an empty field."""


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of the table, trials with `rank` set.

    Trials by val_auc (equal ones by name, so that the order never depends on chance), then baselines by val_auc,
    then what has no val_auc.
    """

    def order(row: Row) -> tuple[int, float, str]:
        auc = row.get("val_auc")
        group = 2 if auc is None else 1 if row["status"] == "baseline" else 0
        return group, -(auc or 0.0), str(row["trial"])

    table = [dict(row) for row in sorted(rows, key=order)]
    for rank, row in enumerate((row for row in table if order(row)[0] == 0), start=1):
        row["rank"] = rank
    return table


def write_leaderboard(path: Path, rows: Sequence[Row]) -> None:
    """The table as CSV; numbers with all their digits."""
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
    """The table's rows as text."""
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
