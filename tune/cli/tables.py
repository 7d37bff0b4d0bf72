"""The tables that a command ends with: leaderboard and verdict, baselines, presets, scores."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tune.config.closed import provider_of
from tune.embed.adapted import is_adapted
from tune.embed.closed.prices import usd
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard
from tune.train.kinds import kind_by_axes

_SHOWN_ROWS = 10


_FILE_WIDTH = 160


def make_console(stderr: bool = False) -> Console:
    """A console on stdout (or stderr); where that is no terminal, wide enough for the tables."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    return console


def short_name(base_model: str) -> str:
    """The last part of a hub name or path; a closed model's name as it is."""
    return base_model if provider_of(base_model) else base_model.rstrip("/").rsplit("/", 1)[-1]


def _as_it_is(base_model: str) -> str:
    return "closed" if provider_of(base_model) else "untouched"


def show_results(folder: ResultsFolder, console: Console | None = None) -> bool:
    """The leaderboard's head, the verdict, and where to look. False where no trial gave a model."""
    console = console or make_console()
    summary = json.loads(folder.summary.read_text())
    rows = read_leaderboard(folder.leaderboard)
    trials = [row for row in rows if row["status"] != "baseline" and row["val_auc"]]
    failed = [row for row in rows if row["status"] == "failed"]
    table = Table(title=f"{folder.name}: ranked by validation AUC", title_justify="left", box=None, pad_edge=False)
    headings = (
        "rank", "trial", "base model", "trains", "dims", "loss", "rate", "seen", "val AUC", "test AUC [95% interval]",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("rank", "dims", "seen") else "left", no_wrap=True)
    for row in [*trials[:_SHOWN_ROWS], *(row for row in rows if row["status"] == "baseline")]:
        table.add_row(
            row["rank"],
            row["trial"][:8] if row["rank"] else _as_it_is(row["base_model"]),
            short_name(row["base_model"]) + ("*" if row["note"] else ""),
            kind_by_axes(row["freeze"] == "true", row["train"]).label if row["rank"] else "",
            row["dims"],
            row["loss"],
            f"{float(row['learning_rate']):.2g}" if row["learning_rate"] else "",
            f"{float(row['budget']):.0%}" if row["budget"] else "",
            f"{float(row['val_auc']):.4f}" + ("" if _on_all_of_val(row, rows) else "~"),
            _interval(row),
        )
    console.print()
    console.print(table)
    if not all(_on_all_of_val(row, rows) for row in trials):
        console.print("~ on a part of validation (--eval-pairs); val_pairs in the leaderboard says how many")
    _show_notes(rows, console)
    if len(trials) > _SHOWN_ROWS:
        console.print(f"  ... and {len(trials) - _SHOWN_ROWS} more trials in the leaderboard")
    if failed:
        console.print(f"{len(failed)} trials failed, such as {failed[0]['trial']}: {failed[0]['error']}", markup=False)
    if summary.get("interrupted"):
        console.print(f"The search ended before its plan: {summary['interrupted']}.")
    console.print()
    if summary.get("verdict"):
        synthetic = " (synthetic data)" if summary["data"]["synthetic"] else ""
        sentence = summary["verdict"]["sentence"]
        console.print(f"Verdict{synthetic}: {sentence[0].upper()}{sentence[1:]}.", markup=False)
        for other in (summary.get("verdicts") or [])[1:]:
            console.print(f"{other[0].upper()}{other[1:]}.", markup=False)
        if summary.get("correction"):
            console.print(f"{summary['correction'][0].upper()}{summary['correction'][1:]}.", markup=False)
        console.print("The winner was fixed on validation; the test side was opened once, after that.")
        for entry in summary.get("comparisons") or []:
            if entry["kind"] == "frozen":
                console.print(f"Of what was trained: {entry['sentence']}.", markup=False)
    if not summary.get("winner"):
        console.print("No trial gave a model; the leaderboard says why. The test side was not opened.")
    console.print(f"leaderboard  {folder.leaderboard}", markup=False, soft_wrap=True)
    if folder.best.exists():
        loader = "AdaptedEmbedder.load" if is_adapted(folder.best) else "SentenceTransformer"
        console.print(
            f"best model   {folder.best}   {loader}({str(folder.best)!r})",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"TensorBoard  tensorboard --logdir {folder.experiment}", markup=False, soft_wrap=True)
    return bool(summary.get("winner"))


def _on_all_of_val(row: dict[str, str], rows: list[dict[str, str]]) -> bool:
    return not row["rank"] or int(row["val_pairs"]) == max(int(one["val_pairs"]) for one in rows if one["val_pairs"])


def _show_notes(rows: list[dict[str, str]], console: Console) -> None:
    for note in dict.fromkeys(f"* {short_name(row['base_model'])}: {row['note']}" for row in rows if row["note"]):
        console.print(note, markup=False)


def _interval(row: dict[str, str]) -> str:
    if not row["test_auc"]:
        return ""
    low, high = float(row["test_auc_low"]), float(row["test_auc_high"])
    return f"{float(row['test_auc']):.4f} [{low:.4f}, {high:.4f}]"


def show_baselines(folder: ResultsFolder, console: Console | None = None) -> None:
    """The table of base models as they are, and where it lies."""
    console = console or make_console()
    summary = json.loads(folder.summary.read_text())
    rows = read_leaderboard(folder.leaderboard)
    test, synthetic = summary["test"], " (synthetic data)" if summary["data"]["synthetic"] else ""
    title = f"{folder.name}{synthetic}: ordered by validation AUC"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    headings = (
        "base model", "dims", "test AUC [95% interval]", "accuracy", "precision", "recall", "hard AUC",
        "USD per M texts", "GB per M vectors",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "base model" or "[" in heading else "right")
    for row in rows:
        shares = (row[f"test_{name}"] for name in ("accuracy", "precision", "recall", "hard_auc_logistic"))
        table.add_row(
            short_name(row["base_model"]) + ("*" if row["note"] else ""),
            row["dims"],
            _interval(row),
            *(f"{float(share):.4f}" for share in shares),
            usd(float(row["usd_per_million_texts"])) if row["usd_per_million_texts"] else "",
            f"{float(row['bytes_per_million_vectors']) / 1e9:.3g}",
        )
    console.print()
    console.print(table)
    _show_notes(rows, console)
    console.print(
        f"On {test['pairs']} test pairs, with thresholds fitted on validation. hard AUC (hard_auc_logistic) is that of "
        "hard 0/1 predictions.",
        soft_wrap=True,
    )
    console.print(f"leaderboard  {folder.leaderboard}", markup=False, soft_wrap=True)


def show_presets(presets: Sequence[tuple[str, str, int, str]], console: Console | None = None) -> None:
    """Name, algorithm, number of trials and purpose of every preset."""
    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "search", "trials", "what for"):
        table.add_column(heading, justify="right" if heading == "trials" else "left")
    for name, algorithm, trials, purpose in presets:
        table.add_row(name, algorithm, str(trials), purpose)
    (console or make_console()).print(table)


def show_score(result: dict[str, Any], console: Console | None = None) -> None:
    """The figures of `score`, a line each."""
    console = console or make_console()
    for name, value in result.items():
        if value is not None:
            console.print(
                f"{name:<18} {value:.6f}" if isinstance(value, float) else f"{name:<18} {value}", markup=False
            )
    if "threshold" not in result:
        console.print("No threshold is known: give one with --threshold for accuracy, precision and recall.")
