"""A card's scores: sentences on this model, a table with the untouched models beside it, and the search's verdicts."""

from collections.abc import Sequence
from typing import Any

from tune.embed.tfidf import TFIDF
from tune.export.facts import Baseline, ExportFacts
from tune.export.markdown import plain, table
from tune.metrics.verdict import as_sentence, in_brackets

_UNKNOWN = "-"


def sentences(facts: ExportFacts) -> list[str]:
    """Return a paragraph for each of the model's dims."""
    graded_by = (facts.search.get("scores") or {}).get("column")
    return [_scores(facts, dims) + _spearman(final, graded_by) for dims, final in facts.finals.items()]


def score_table(facts: ExportFacts) -> list[str]:
    """Return the table of untouched models and this one, and the notes on them; [] without untouched models.

    The model's own base comes first, the others in the leaderboard's order, by validation. Never ordered by test.
    """
    baselines = sorted(facts.findings.baselines, key=lambda one: one.base_model != facts.base.name)
    if not baselines:
        return []
    tested = any("test_auc" in one.scores for one in baselines)
    headings = ["model", "dims", "validation ROC AUC"]
    headings += ["test ROC AUC [95% interval]", "test accuracy"] if tested else []
    rows = [_row(_name(one), one.dims, one.scores) for one in baselines]
    rows += [_row("**this model**", str(dims), _own(final)) for dims, final in facts.finals.items()]
    shown = [row if tested else row[:3] for row in rows]
    noted = {
        one.name: [part for part in one.note.split("; ") if part not in ("", "synthetic data")] for one in baselines
    }
    notes = [f"{name}: {'; '.join(parts)}." for name, parts in noted.items() if parts]
    return [table(headings, shown, right=range(1, len(headings))), *map(plain, notes)]


def verdicts(facts: ExportFacts) -> list[str]:
    """Return the search's verdicts, which are on its winner: none for another trial, or if the sentences have them."""
    if not facts.search.get("winner") or facts.search.get("out_of_fold"):
        return []
    # Inverted labels, whose warning stands in for a verdict, are at the top of the scores.
    said = facts.search.get("inverted")
    return [plain(as_sentence(verdict)) for verdict in facts.findings.verdicts if verdict != said]


def kept(facts: ExportFacts) -> list[str]:
    """Return what is left of the base model's knowledge on guard sets, and how the model was merged with it."""
    found = []
    for name, one in (facts.guard or {}).get("sets", {}).items():
        apart = in_brackets(one["low"], one["high"])
        found.append(
            f"On guard set {plain(name)}, on which it was not trained, its ROC AUC is {one['after']:.4f}; that of the"
            f" untouched base model is {one['before']:.4f} (difference {one['delta']:+.4f}{apart})."
        )
    if facts.merge is not None:
        found.append(as_sentence(facts.merge["sentence"]))
    return found


def _name(baseline: Baseline) -> str:
    return "TF-IDF (words alone)" if baseline.base_model == TFIDF else f"{baseline.name}, untouched"


def _row(name: str, dims: str, scores: Any) -> list[str]:
    low, high = scores.get("test_auc_low"), scores.get("test_auc_high")
    auc = scores.get("test_auc")
    tested = _UNKNOWN if auc is None else f"{auc:.4f}{in_brackets(low, high)}"
    return [name, dims or _UNKNOWN, _number(scores.get("val_auc")), tested, _number(scores.get("test_accuracy"))]


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.4f}"


def _own(final: dict[str, Any]) -> dict[str, float | None]:
    """Return this model's numbers under the leaderboard's names."""
    test = final["test"] or {}
    names = {"test_auc": "auc", "test_auc_low": "auc_low", "test_auc_high": "auc_high", "test_accuracy": "accuracy"}
    return {"val_auc": final["val_auc"], **{column: test.get(name) for column, name in names.items()}}


def _scores(facts: ExportFacts, dims: int) -> str:
    final, judged = facts.finals[dims], facts.search.get("out_of_fold")
    head = f"At {dims} dims: validation" if len(facts.finals) > 1 else "Validation"
    threshold = ""
    if final["threshold"] is not None:
        threshold = f" The threshold {final['threshold']:.6f} maximises accuracy on validation{_beyond(final)}."
    test = final["test"]
    if judged is not None:
        of_winner = facts.search["winner"] and dims == min(facts.finals)
        result = _judgement(judged) if of_winner else "There was no test side."
    elif test is None:
        result = "This trial was not a finalist, so it was not scored on the test side."
    else:
        result = f"Test, scored once: ROC AUC {_interval(test)}, accuracy {test['accuracy']:.4f} on {test['n']} pairs."
    return f"{head}: ROC AUC {final['val_auc']:.4f}. {result}{threshold}"


def _beyond(final: dict[str, Any]) -> str:
    """Return what a threshold that no cosine can cross means; "" for any other."""
    if abs(final["threshold"]) <= 1:
        return ""
    return f": {'no' if final['threshold'] > 0 else 'every'} pair is called positive"


def _judgement(judged: dict[str, Any]) -> str:
    """Return sentences on the winner of a search without a test side."""
    ends = "no interval" if judged["low"] is None else f"95% interval [{judged['low']:.4f}, {judged['high']:.4f}]"
    found: Sequence[str] = [judged["sentence"], f"ROC AUC {judged['auc']:.4f}, {ends}", *judged["verdicts"]]
    return f"There was no test side. {' '.join(map(as_sentence, found))}"


def _spearman(final: dict[str, Any], column: str | None) -> str:
    """Return a sentence on the correlation with graded scores, "" without them (or in results of earlier versions)."""
    val, test = final.get("val_spearman"), final["test"] or {}
    parts = [] if val is None else [f"{val:.4f} on validation"]
    if (rho := test.get("spearman")) is not None:
        parts.append(f"{rho:.4f}{in_brackets(test['spearman_low'], test['spearman_high'])} on test")
    of = f" (column `{column}`)" if column else ""
    return f" Spearman correlation with the graded scores{of}: {', '.join(parts)}." if parts else ""


def _interval(test: dict[str, Any]) -> str:
    if test["auc_low"] is None:
        return f"{test['auc']:.4f} (no interval: {test['interval']})"
    # Versions up to 0.1.0 drew components alone, and did not write so.
    how = test.get("interval") or "bootstrap over components"
    return f"{test['auc']:.4f}{in_brackets(test['auc_low'], test['auc_high'])} (95% interval, {how})"
