"""The verdict of a search, as a panel that a person can take a picture of, or as plain lines; and as plain values.

It says whether fine-tuning pays, how sure that is, which model won, on which pairs, and at what cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tune.cli.progress import configuration, duration
from tune.embed.closed.prices import usd
from tune.metrics.verdict import as_sentence, in_brackets
from tune.results.layout import ResultsFolder

_WIDEST = 100
"""Columns of the panel, where the terminal has as many; longer lines are hard to read."""
_MEASURES = ("accuracy", "precision", "recall", "spearman")


@dataclass(frozen=True)
class Verdict:
    """sentences: the first is the answer. facts: name and text of a line each. note: how the winner was judged."""

    name: str
    synthetic: bool
    sentences: list[str]
    facts: list[tuple[str, str]]
    note: str


def read_verdict(summary: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> Verdict:
    """Return the verdict of a search with a winner. rows: of its leaderboard."""
    first, *others = summary.get("verdicts") or [summary["verdict"]["sentence"]]
    sentences = [as_sentence(first), *map(as_sentence, others)]
    for entry in summary.get("comparisons") or []:
        if entry["kind"] == "frozen":
            exploratory = " (exploratory)" if entry.get("family") == "exploratory" else ""
            sentences.append(f"Among the trained models, {entry['sentence']}{exploratory}.")
    sentences += map(as_sentence, (summary.get("guard") or {}).get("sentences") or [])
    if summary.get("correction"):
        sentences.append(as_sentence(summary["correction"]))
    extends = summary.get("extends") or {}
    if summary.get("out_of_fold"):
        note = "There is no test side: the winner was chosen and judged out of fold, on all pairs."
    elif extends.get("test_opened"):
        note = (
            "The winner was fixed on validation. The test side was opened after that, but not for the first time: "
            f"search {extends['name']}, which this one extends, had opened it, so figures on test may be a little "
            "optimistic."
        )
    else:
        note = "The winner was fixed on validation; the test side was opened once, after that."
    scores = winner_scores(summary, rows)
    winner = summary["winner"]
    facts = [
        ("winner", f"{configuration(_axes(winner['config']))} ({winner['trial']})"),
        ("side", _side_line(rows, winner["trial"])),
        ("AUC", _auc_line(scores)),
        ("guard", _guard_line(summary, winner["trial"])),
        ("merge", (summary.get("merge") or {}).get(winner["trial"], {}).get("sentence", "")),
        ("data", _data_line(summary["data"])),
        ("cost", _cost_line(summary, rows)),
    ]
    return Verdict(
        str(summary.get("name") or ""),
        bool(summary["data"]["synthetic"]),
        sentences,
        [(name, text) for name, text in facts if text],
        note,
    )


def show_verdict(verdict: Verdict, console: Console) -> None:
    """Print the verdict: a panel on a terminal, else plain lines."""
    synthetic = " (synthetic data)" if verdict.synthetic else ""
    first, *others = verdict.sentences
    if not console.is_terminal:
        for line in (f"Verdict{synthetic}: {first}", *others, *(f"{name:<8} {text}" for name, text in verdict.facts)):
            console.print(line, markup=False, soft_wrap=True)
        console.print(verdict.note, markup=False, soft_wrap=True)
        return
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for name, text in verdict.facts:
        facts.add_row(name, Text(text))
    parts: list[Any] = [
        Text(first, style="bold"),
        *map(Text, others),
        Text(),
        facts,
        Text(),
        Text(verdict.note, style="dim"),
    ]
    title = Text(f"{verdict.name}: verdict{synthetic}" if verdict.name else f"Verdict{synthetic}")
    width = min(console.width, _WIDEST)
    console.print(Panel(Group(*parts), title=title, title_align="left", box=box.ROUNDED, padding=(1, 2), width=width))


def winner_scores(summary: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any] | None]:
    """Return the winner's scores on val, test and out of fold, at its first dims; None where it has none.

    An interval's ends, low and high, are None where the draws do not show the spread.
    """
    winner = summary["winner"]
    own = [row for row in rows if row["trial"] == winner["trial"]]
    row = min(own, key=lambda row: int(row["dims"] or 0), default=None)
    test = None if row is None else _test_scores(row)
    judged = summary.get("out_of_fold")
    folds = None if judged is None else {name: judged[name] for name in ("auc", "low", "high")}
    return {"val": {"auc": winner["val_auc"]}, "test": test, "out_of_fold": folds}


def outcome(folder: ResultsFolder, summary: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return how a search ended as JSON-ready values: winner, scores, verdict, and where its files are."""
    winner = summary.get("winner")
    scores = winner_scores(summary, rows) if winner else {"val": None, "test": None, "out_of_fold": None}
    verdict = summary.get("verdict")
    return {
        "name": folder.name,
        "winner": {"trial": winner["trial"], "config": winner["config"]} if winner else None,
        **scores,
        "verdict": as_sentence((summary.get("verdicts") or [verdict["sentence"]])[0]) if verdict else None,
        "outcome": verdict["outcome"] if verdict else None,
        "guard": [as_sentence(one) for one in (summary.get("guard") or {}).get("sentences") or []],
        "synthetic": bool((summary.get("data") or {}).get("synthetic")),
        "interrupted": summary.get("interrupted") or "",
        "warnings": list(summary.get("warnings") or []),
        "paths": paths(folder),
    }


def interrupted_outcome(root: str, reason: str) -> dict[str, Any]:
    """Return the same of a search that ended early. root: its results folder, "" if there is none yet."""
    folder = ResultsFolder(Path(root)) if root else None
    return {
        "name": folder.name if folder else None,
        **dict.fromkeys(("winner", "val", "test", "out_of_fold", "verdict", "outcome")),
        "interrupted": reason,
        "paths": paths(folder),
    }


def baselines_outcome(folder: ResultsFolder, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the scores of untouched base models as JSON-ready values, in the order of the leaderboard."""
    models = [
        {"base_model": row["base_model"], "val": {"auc": float(row["val_auc"])}, "test": _test_scores(row)}
        for row in rows
    ]
    return {"name": folder.name, "models": models, "paths": paths(folder)}


def interrupted_baselines(root: str, reason: str) -> dict[str, Any]:
    """Return the same if the command ended early. root: its results folder, "" if there is none yet."""
    folder = ResultsFolder(Path(root)) if root else None
    return {"name": folder.name if folder else None, "models": [], "interrupted": reason, "paths": paths(folder)}


def paths(folder: ResultsFolder | None) -> dict[str, str | None]:
    """Return the paths of what a search leaves; None for what is not there."""
    names = ("leaderboard", "best", "report")
    found = {name: getattr(folder, name) for name in names} if folder else dict.fromkeys(names)
    root = str(folder.root) if folder else None
    return {"results": root, **{name: str(path) if path and path.exists() else None for name, path in found.items()}}


def _axes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "matryoshka": tuple(config.get("matryoshka") or ())}


def _test_scores(row: Mapping[str, str]) -> dict[str, Any] | None:
    if not row.get("test_auc"):
        return None
    ends = {end: float(row[f"test_auc_{end}"]) if row.get(f"test_auc_{end}") else None for end in ("low", "high")}
    measured = {name: float(row[f"test_{name}"]) for name in _MEASURES if row.get(f"test_{name}")}
    return {"auc": float(row["test_auc"]), **ends, **measured}


def _auc_line(scores: Mapping[str, dict[str, Any] | None]) -> str:
    val, judged = scores["val"], [("test", scores["test"]), ("all pairs out of fold", scores["out_of_fold"])]
    parts = []
    for where, one in judged:
        if one is not None:
            parts.append(f"{one['auc']:.4f}{in_brackets(one['low'], one['high'])} on {where}")
    return ", ".join([*parts, *([f"{val['auc']:.4f} on validation"] if val and not scores["out_of_fold"] else [])])


def _guard_line(summary: Mapping[str, Any], winner: str) -> str:
    """Return the winner's mean AUC on the guard sets, before and after training; "" without any."""
    guard = summary.get("guard") or {}
    # With Matryoshka, a key ends with the dims.
    found = next((one for key, one in (guard.get("models") or {}).items() if key.split("@")[0] == winner), None)
    if found is None:
        return ""
    sets = ", ".join(found["sets"])
    return f"{found['after']:.4f} on {sets}, {found['before']:.4f} before training"


def _side_line(rows: Sequence[Mapping[str, str]], winner: str) -> str:
    """Return which side the winner's layer maps, if some trials trained the query side only; else ""."""
    query = [row for row in rows if row.get("side") == "query" and row["val_auc"]]
    if not query:
        return ""
    if any(row["trial"] == winner for row in query):
        return "queries alone go through its layer; stored vectors of documents stay valid"
    best = max(float(row["val_auc"]) for row in query)
    return f"both sides of a pair change; the best layer for queries alone has {best:.4f} on validation"


def _data_line(data: Mapping[str, Any]) -> str:
    sides = (data.get("split") or {}).get("rows") or {}
    pairs = [f"{sides[side]:,} {name}" for side, name in _SIDES.items() if sides.get(side)]
    source = "demo pairs" if data.get("source") == "demo" else str(data.get("source") or "")
    counted = f"{', '.join(pairs)} pairs" if pairs else ""
    return ": ".join(part for part in (source, counted) if part)


_SIDES = {"train": "train", "val": "validation", "test": "test"}


def _cost_line(summary: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    counts = summary.get("trials") or {}
    names = {"done": "done", "stopped": "stopped early", "failed": "failed", "halfway": "unfinished"}
    states = ", ".join(f"{counts[state]} {name}" for state, name in names.items() if counts.get(state))
    total = sum(counts.values())
    parts = [f"{total} trial{'s' * (total != 1)}" + (f" ({states})" if states else "")]
    # A Matryoshka trial has a row per dims.
    seconds = {row["trial"]: float(row["seconds"]) for row in rows if row["rank"] and row.get("seconds")}
    if seconds:
        parts.append(f"{duration(sum(seconds.values()))} of training")
    if modal := summary.get("modal"):
        price = "" if modal.get("usd") is None else f" (about {usd(modal['usd'])} USD)"
        parts.append(f"{modal['container_seconds']:,.0f} container seconds on Modal{price}")
    if bought := _bought(summary):
        parts.append(f"about {usd(bought)} USD of vectors bought")
    return ", ".join(parts)


def _bought(summary: Mapping[str, Any]) -> float:
    """Return the USD of the vectors that all runs of the search bought; by earlier versions, of the last run."""
    if summary.get("usd"):
        return float(summary["usd"]["vectors"])
    bases = (summary.get("bases") or {}).values()
    known = [one for one in bases if one.get("closed") and one.get("usd_per_million_texts")]
    return sum(float(one.get("embedded", 0) * one["usd_per_million_texts"]) / 1e6 for one in known)


__all__ = [
    "Verdict",
    "baselines_outcome",
    "interrupted_baselines",
    "interrupted_outcome",
    "outcome",
    "paths",
    "read_verdict",
    "show_verdict",
    "winner_scores",
]
