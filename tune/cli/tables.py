"""The tables that a command ends with: leaderboard, baselines, presets, scores; the verdict is in verdict.py."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tune.cli.presentation import Presentation
from tune.cli.verdict import baselines_outcome, outcome, read_verdict, show_verdict
from tune.config.closed import provider_of
from tune.embed.adapted import is_adapted
from tune.embed.closed.prices import usd
from tune.embed.tfidf import TFIDF
from tune.metrics.verdict import as_sentence, in_brackets
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard
from tune.results.naming import short_name
from tune.train.kinds import kind_by_axes

_SHOWN_ROWS = 10
_FILE_WIDTH = 160
_NARROW = 100
"""Columns below which the leaderboard leaves out what fits least."""
_INTERVAL_WIDTH = len("0.0000 [0.0000, 0.0000]")


def make_console(stderr: bool = False) -> Console:
    """Return a console on stdout (or stderr); if that is not a terminal, wide enough for the tables."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    return console


def present_results(folder: ResultsFolder, presentation: Presentation) -> bool:
    """Print how a search ended, as asked for. Returns False if no trial produced a model."""
    found = show_results(folder, presentation.console(), quiet=presentation.quiet)
    presentation.finish(outcome(folder, json.loads(folder.summary.read_text()), read_leaderboard(folder.leaderboard)))
    return found


def show_results(folder: ResultsFolder, console: Console | None = None, *, quiet: bool = False) -> bool:
    """Print the head of the leaderboard, the verdict, and where to look. Returns False if no trial produced a model.

    quiet: leave out the leaderboard.
    """
    console = console or make_console()
    summary = json.loads(folder.summary.read_text())
    rows = read_leaderboard(folder.leaderboard)
    if not quiet:
        console.print()
        _show_leaderboard(folder.name, rows, console)
        _show_intervals(summary, rows, console)
        _show_judgement(summary.get("out_of_fold"), console)
    if summary.get("interrupted"):
        console.print(f"The search stopped early: {summary['interrupted']}.")
    if not quiet:
        console.print()
    if summary.get("verdict"):
        show_verdict(read_verdict(summary, rows), console)
    if not summary.get("winner"):
        console.print("No trial produced a model; see the leaderboard for the reasons. The test side was not opened.")
    for warning in summary.get("warnings") or []:
        console.print(f"Warning: {warning}.", markup=False, soft_wrap=True)
    _show_places(folder, console)
    return bool(summary.get("winner"))


def _show_leaderboard(name: str, rows: list[dict[str, str]], console: Console) -> None:
    trials = [row for row in rows if row["status"] != "baseline" and row["val_auc"]]
    table = Table(title=f"{name}: ranked by validation AUC", title_justify="left", box=None, pad_edge=False)
    headings = (
        "rank", "trial", "base model", "trains", "dims", "loss", "rate", "seen", "val AUC", "test AUC [95% interval]",
    )  # fmt: skip
    graded = _spearman_heading(rows)
    most = max((int(row["val_pairs"]) for row in rows if row["val_pairs"]), default=0)
    shown = [*headings, *graded]
    if console.width < _NARROW:
        shown = [heading for heading in shown if heading not in ("trains", "rate", "seen")]
    for heading in shown:
        right, bends = heading in ("rank", "dims", "seen"), heading in ("base model", "loss")
        table.add_column(
            heading,
            justify="right" if right else "left",
            no_wrap=True,
            min_width=None if bends else min(len(heading), _INTERVAL_WIDTH),
        )
    for row in [*trials[:_SHOWN_ROWS], *(row for row in rows if row["status"] == "baseline")]:
        cells = (
            row["rank"],
            row["trial"][:8] if row["rank"] else _untouched(row["base_model"]),
            short_name(row["base_model"]) + ("*" if row["note"] else ""),
            kind_by_axes(row["freeze"] == "true", row["train"], row.get("side")).label if row["rank"] else "",
            row["dims"],
            row["loss"],
            f"{float(row['learning_rate']):.2g}" if row["learning_rate"] else "",
            f"{float(row['budget']):.0%}" if row["budget"] else "",
            f"{float(row['val_auc']):.4f}" + ("" if _on_all_of_val(row, most) else "~"),
            _interval(row),
            *(_interval(row, "test_spearman") for _ in graded),
        )
        by_heading = dict(zip((*headings, *graded), cells, strict=True))
        table.add_row(*(by_heading[heading] for heading in shown))
    console.print(table)
    if not all(_on_all_of_val(row, most) for row in trials):
        console.print("~ on a part of validation (--eval-pairs); see val_pairs in the leaderboard")
    _show_notes(rows, console)
    if len(trials) > _SHOWN_ROWS:
        console.print(f"  ... and {len(trials) - _SHOWN_ROWS} more trials in the leaderboard")
    if failed := sum(row["status"] == "failed" for row in rows):
        console.print(
            f"{failed} trial{'s' if failed > 1 else ''} failed; the leaderboard has the reasons (column error)"
        )


def _untouched(base_model: str) -> str:
    if base_model == TFIDF:
        return "words"
    return "closed" if provider_of(base_model) else "untouched"


def _show_intervals(summary: dict[str, Any], rows: list[dict[str, str]], console: Console) -> None:
    made = (summary.get("test") or {}).get("intervals")
    if made is None:
        return
    console.print(as_sentence(made["sentence"]), markup=False, soft_wrap=True)
    if not made["reason"] and any(row["test_auc"] and not row["test_auc_low"] for row in rows):
        console.print("No interval where the draws do not show the spread, as for an AUC of 1; see test.json.")


def _show_judgement(judged: dict[str, Any] | None, console: Console) -> None:
    """Print what the winner and the untouched base models score on pairs without a test side."""
    if judged is None:
        return
    for line in (judged["sentence"], judged["reason"] and f"no intervals can be given: {judged['reason']}"):
        if line:
            console.print(as_sentence(line), markup=False, soft_wrap=True)
    bases = ((name if name == TFIDF else f"untouched {short_name(name)}", one) for name, one in judged["bases"].items())
    shown = [
        f"{name} {one['auc']:.4f}{in_brackets(one['low'], one['high'])}" for name, one in (("winner", judged), *bases)
    ]
    console.print(f"AUC out of fold [95% interval]: {', '.join(shown)}", markup=False, soft_wrap=True)


def _show_places(folder: ResultsFolder, console: Console) -> None:
    lines = [f"leaderboard  {folder.leaderboard}"]
    if folder.best.exists():
        loader = "AdaptedEmbedder.load" if is_adapted(folder.best) else "SentenceTransformer"
        lines.append(f"best model   {folder.best}   {loader}({str(folder.best)!r})")
    if folder.report.exists():
        lines.append(f"report       {folder.report}")
    lines.append(f"TensorBoard  tensorboard --logdir {folder.root}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _on_all_of_val(row: dict[str, str], most: int) -> bool:
    return not row["rank"] or int(row["val_pairs"]) == most


def _show_notes(rows: list[dict[str, str]], console: Console) -> None:
    for note in dict.fromkeys(f"* {short_name(row['base_model'])}: {row['note']}" for row in rows if row["note"]):
        console.print(note, markup=False)


def _spearman_heading(rows: list[dict[str, str]]) -> list[str]:
    """Return the heading of a last column for Spearman's correlation, if the pairs have graded scores."""
    return ["test Spearman [95% interval]"] if any(row.get("test_spearman") for row in rows) else []


def _interval(row: dict[str, str], column: str = "test_auc") -> str:
    # Leaderboards of earlier versions lack some columns.
    if not row.get(column):
        return ""
    low, high = (float(row[f"{column}_{end}"]) if row[f"{column}_{end}"] else None for end in ("low", "high"))
    return f"{float(row[column]):.4f}{in_brackets(low, high)}"


def present_baselines(folder: ResultsFolder, presentation: Presentation) -> None:
    """Print the table of untouched base models, as asked for."""
    show_baselines(folder, presentation.console())
    presentation.finish(baselines_outcome(folder, read_leaderboard(folder.leaderboard)))


def show_baselines(folder: ResultsFolder, console: Console | None = None) -> None:
    """Print the table of untouched base models, and where it is."""
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
    graded = _spearman_heading(rows)
    for heading in (*headings, *graded):
        table.add_column(heading, justify="left" if heading == "base model" or "[" in heading else "right")
    for row in rows:
        shares = (row[f"test_{name}"] for name in ("accuracy", "precision", "recall", "hard_auc_logistic"))
        table.add_row(
            short_name(row["base_model"]) + ("*" if row["note"] else ""),
            row["dims"],
            _interval(row),
            *(f"{float(share):.4f}" for share in shares),
            usd(float(row["usd_per_million_texts"])) if row["usd_per_million_texts"] else "",
            f"{float(row['bytes_per_million_vectors']) / 1e9:.3g}" if row["bytes_per_million_vectors"] else "",
            *(_interval(row, "test_spearman") for _ in graded),
        )
    console.print()
    console.print(table)
    _show_notes(rows, console)
    _show_intervals(summary, rows, console)
    if summary.get("inverted"):
        console.print(f"Warning: {as_sentence(summary['inverted']['sentence'])}", markup=False, soft_wrap=True)
    console.print(
        f"On {test['pairs']} test pairs, with thresholds fitted on validation. hard AUC (hard_auc_logistic) is the AUC "
        "of hard 0/1 predictions.",
        soft_wrap=True,
    )
    console.print(f"leaderboard  {folder.leaderboard}", markup=False, soft_wrap=True)


def show_presets(presets: Sequence[tuple[str, str, str, str]], console: Console | None = None) -> None:
    """Print name, algorithm, number of trials and purpose of every preset."""
    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "search", "trials", "purpose"):
        table.add_column(heading, justify="right" if heading == "trials" else "left")
    for name, algorithm, trials, purpose in presets:
        table.add_row(name, algorithm, trials, purpose)
    (console or make_console()).print(table)


def show_score(result: dict[str, Any], console: Console | None = None) -> None:
    """Print the figures of `score`, a line each."""
    console = console or make_console()
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{count} {reason}" for reason, count in value.items() if count)
        if value is not None and name != "inverted":
            console.print(
                f"{name:<18} {value:.6f}" if isinstance(value, float) else f"{name:<18} {value}",
                markup=False, soft_wrap=True,
            )  # fmt: skip
    if "inverted" in result:
        console.print(f"Warning: {as_sentence(result['inverted'])}", markup=False, soft_wrap=True)
    if "threshold" not in result:
        console.print("No threshold is known; add --threshold for accuracy, precision and recall.")
