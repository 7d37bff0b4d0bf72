"""The leaderboard's rows: what is known of every trial and untouched base model, under the columns' names."""

from typing import Any

from tune.config.search import SearchConfig
from tune.embed.prepare import PreparedBase
from tune.embed.sources import knows_quora
from tune.finals import baseline_key
from tune.results.leaderboard import Row, ranked
from tune.search.outcomes import TrialOutcome


def leaderboard_rows(
    outcomes: list[TrialOutcome],
    bases: dict[str, PreparedBase],
    models: dict[str, dict[str, Any]],
    notes: dict[str, str],
) -> list[Row]:
    """The rows, ranked. models: the finals, by trial and by baseline_key. notes: by base model."""
    rows: list[Row] = []
    for outcome in outcomes:
        best, last = outcome.best, outcome.last
        config = outcome.config.model_dump(exclude={"seed"})
        rows.append(
            {
                **config,
                "trial": outcome.trial,
                "status": "stopped" if outcome.status == "halfway" else outcome.status,
                "budget": last.budget if last else None,
                "val_auc": best.auc if best and outcome.status != "failed" else None,
                "threshold": best.threshold if best else None,
                "seconds": last.seconds if last else None,
                "error": outcome.error,
                "note": notes.get(config["base_model"], ""),
                **_test_columns(models.get(outcome.trial)),
            }
        )
    for name, base in bases.items():
        final = models[baseline_key(name)]
        rows.append(
            {
                "trial": baseline_key(name),
                "status": "baseline",
                "base_model": name,
                "dims": base.dims,
                "freeze": True,
                "val_auc": final["val_auc"],
                "threshold": final["threshold"],
                "note": notes.get(name, ""),
                **_test_columns(final),
            }
        )
    return ranked(rows)


def _test_columns(final: dict[str, Any] | None) -> Row:
    if final is None or final["test"] is None:
        return {}
    test = final["test"]
    return {
        "test_auc": test["auc"],
        "test_auc_low": test["auc_low"],
        "test_auc_high": test["auc_high"],
        "test_accuracy": test["accuracy"],
        "test_hard_auc_logistic": test["hard_auc"],
    }


def base_notes(config: SearchConfig, facts: dict[str, Any]) -> dict[str, str]:
    """A note per base model: that it has seen the data, that the data are synthetic."""
    columns = {str(name).casefold() for name in facts["columns"].values()}
    quora = "quora" in str(config.data.data).casefold() or columns >= {
        "question1",
        "question2",
        "is_duplicate",
    }
    notes = {}
    for name in config.base_models:
        parts = ["synthetic data"] if facts["synthetic"] else []
        if quora and knows_quora(name):
            parts.append("base model was trained on Quora pairs")
        notes[name] = "; ".join(parts)
    return notes
