"""The leaderboard's rows: what is known about every trial and untouched base model, by column name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tune.config.search import SearchConfig
from tune.config.space import point_of
from tune.embed.base_models import trained_on_quora
from tune.embed.prepare import PreparedBase
from tune.embed.tfidf import TFIDF
from tune.evaluate.tfidf import TFIDF_KEY
from tune.results.leaderboard import Row, ranked
from tune.train.kinds import kind_of
from tune.train.outcomes import TrialOutcome
from tune.train.trained import baseline_key, dims_of, model_key


@dataclass(frozen=True)
class TableFacts:
    """What the rows need beside trials and scores.

    notes: by base model. val_pairs: number of validation pairs; with folds, those of train and val. contenders: model
    key -> AUC on all of val, as trained, of trials that had reported on a sample of it. spearman: model key ->
    Spearman's correlation on all of val, of all contenders, if pairs have graded scores. guard: model key -> `before`
    and `after`, mean AUC on the guard sets. shares: trial -> the share of its training that is kept. usd: trial -> what
    training it has cost, of those where that is known.
    """

    notes: dict[str, str]
    val_pairs: int
    contenders: dict[str, float]
    spearman: dict[str, float] = field(default_factory=dict)
    guard: dict[str, dict[str, Any]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)


def leaderboard_rows(
    outcomes: list[TrialOutcome],
    bases: dict[str, PreparedBase],
    test: dict[str, Any],
    finalists: Sequence[str],
    facts: TableFacts,
) -> list[Row]:
    """Return the rows, ranked. test: as `open_test` returns it. finalists: trials, in the order that was fixed."""
    models: dict[str, dict[str, Any]] = test["models"]
    differences = _differences(test.get("comparisons") or [])
    rows: list[Row] = []
    for outcome in outcomes:
        base = bases[outcome.config.base_model]
        for dims in dims_of(outcome.config, base.dims):
            key = model_key(outcome.trial, dims, outcome.config)
            rows.append(
                {
                    **_trial_columns(outcome, dims, base.dims, models.get(key), facts.val_pairs),
                    **_contender_columns(facts.contenders.get(key), models.get(key), facts.val_pairs),
                    "val_spearman": facts.spearman.get(key),
                    **_test_columns(models.get(key)),
                    **_cost_columns(base, dims),
                    **differences.get(key, {}),
                    **_guard_columns(facts.guard.get(key)),
                    "merge": facts.shares.get(outcome.trial),
                    "usd": facts.usd.get(outcome.trial),
                    "note": "; ".join(filter(None, (facts.notes.get(outcome.config.base_model), outcome.note))),
                }
            )
    for name, base in bases.items():
        row = _baseline_columns(name, models[baseline_key(name)], facts)
        rows.append({**row, "dims": base.dims, "freeze": True, **_cost_columns(base, base.dims)})
    if TFIDF_KEY in models:  # not in results of earlier versions
        rows.append(_baseline_columns(TFIDF, models[TFIDF_KEY], facts))
    return ranked(rows, finalists)


def _baseline_columns(name: str, final: dict[str, Any], facts: TableFacts) -> Row:
    return {
        "trial": baseline_key(name),
        "status": "baseline",
        "base_model": name,
        "val_auc": final["val_auc"],
        "val_auc_std": final.get("val_auc_std"),
        "val_pairs": facts.val_pairs,
        "val_spearman": final.get("val_spearman"),
        "threshold": final["threshold"],
        "note": facts.notes.get(name, ""),
        **_test_columns(final),
        **_guard_columns(facts.guard.get(baseline_key(name))),
    }


def _guard_columns(found: dict[str, Any] | None) -> Row:
    return {} if found is None else {"guard_auc_before": found["before"], "guard_auc": found["after"]}


def _trial_columns(
    outcome: TrialOutcome, dims: int, base_dims: int, final: dict[str, Any] | None, val_pairs: int
) -> Row:
    config, best, last = outcome.config, outcome.best, outcome.last
    kind = kind_of(config)
    row: Row = {
        **point_of(config),
        "dims": dims,
        "matryoshka": ",".join(map(str, dims_of(config, base_dims))) if config.matryoshka else None,
        "folds": config.folds or None,
        "trial": outcome.trial,
        "status": "unfinished" if outcome.status == "halfway" else outcome.status,
        "budget": last.budget if last else None,
        "seconds": last.seconds if last else None,
        "error": outcome.error,
    }
    if best is None or outcome.status == "failed":
        return row
    ranked_by = dims == dims_of(config, base_dims)[0]
    row["reported_auc"] = best.auc
    row["val_auc"] = best.auc if ranked_by else best.auc_by_dims[str(dims)]
    if kind.has_folds:
        # Reports of versions up to 0.1.0 have the spread at the smallest dims alone.
        row["val_auc_std"] = best.auc_std if ranked_by else best.auc_std_by_dims.get(str(dims))
    row["val_pairs"] = best.val_pairs or val_pairs
    row["threshold"] = best.threshold if ranked_by else None
    if final is not None:
        row["threshold"] = final["threshold"]
        if kind.trains_base:
            # On a GPU its reports are in bf16; a finalist is scored in fp32.
            row |= {"val_auc": final["val_auc"], "val_pairs": val_pairs}
    return row


def _contender_columns(auc: float | None, final: dict[str, Any] | None, val_pairs: int) -> Row:
    """Return the columns of a trial that was scored on all of val after it had reported on a sample.

    auc: what ranks it. A finalist shows that of the model that was tested, which may have been merged since.
    """
    if auc is None:
        return {}
    return {"reported_auc": auc, "val_auc": auc if final is None else final["val_auc"], "val_pairs": val_pairs}


def _differences(comparisons: list[dict[str, Any]]) -> dict[str, Row]:
    """Return test AUC minus that of the untouched base, and minus the best frozen trial's, by the model's key."""
    columns: dict[str, Row] = {}
    for entry in comparisons:
        name = {"own": "over_base", "frozen": "over_frozen"}.get(entry["kind"])
        if name is not None:
            columns.setdefault(entry["a"], {}).update(
                {name: entry["delta"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
            )
    return columns


def _test_columns(final: dict[str, Any] | None) -> Row:
    if final is None or final["test"] is None:
        return {}
    test = final["test"]
    return {
        "test_auc": test["auc"],
        "test_auc_low": test["auc_low"],
        "test_auc_high": test["auc_high"],
        "test_accuracy": test["accuracy"],
        "test_precision": test["precision"],
        "test_recall": test["recall"],
        "test_hard_auc_logistic": test["hard_auc"],
        # Absent in results of earlier versions.
        "test_spearman": test.get("spearman"),
        "test_spearman_low": test.get("spearman_low"),
        "test_spearman_high": test.get("spearman_high"),
    }


def _cost_columns(base: PreparedBase, dims: int) -> Row:
    """Return what texts cost to embed (closed models only), and vectors (float32) to store."""
    return {"usd_per_million_texts": base.usd_per_million_texts, "bytes_per_million_vectors": dims * 4 * 1_000_000}


def base_notes(
    config: SearchConfig, facts: dict[str, Any], bases: dict[str, PreparedBase], tfidf: str | None = None
) -> dict[str, str]:
    """Return a note per base model: that it was trained on the data, that the data are synthetic, and its own note.

    tfidf: how TF-IDF was made, if it is in the table; it then has a note as well.
    """
    columns = {str(name).casefold() for name in facts["columns"].values()}
    quora = "quora" in str(config.data.data).casefold() or columns >= {
        "question1",
        "question2",
        "is_duplicate",
    }
    notes = {}
    for name in config.base_models:
        parts = ["synthetic data"] if facts["synthetic"] else []
        if quora and trained_on_quora(name):
            parts.append("base model was trained on Quora pairs")
        if bases[name].note:
            parts.append(bases[name].note)
        notes[name] = "; ".join(parts)
    if tfidf:
        notes[TFIDF] = f"synthetic data; {tfidf}" if facts["synthetic"] else tfidf
    return notes
