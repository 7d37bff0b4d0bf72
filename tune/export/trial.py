"""Exports a trial as a directory that scores what was reported, with a card and embedtune.json.

On an open base model it is a SentenceTransformer (the base's modules, Dense, Normalize) that loads without this
project; on a closed one an AdaptedEmbedder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tune.config.search import search_config
from tune.config.toml import read_resolved
from tune.embed.prepare import PreparedBase
from tune.errors import ResultsError
from tune.export.card import Picture
from tune.export.facts import ExportFacts, findings_of, public
from tune.export.write import write_model
from tune.results.layout import ResultsFolder, read_test
from tune.results.provenance import version_of
from tune.results.summary import Summary
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.stream import Report
from tune.train.trained import Models, TrialModel


def export(
    folder: ResultsFolder,
    trial: str | None,
    to: Path,
    *,
    trust_remote_code: bool = False,
    picture: Callable[[str], Picture | None] | None = None,
) -> Path:
    """Write a trial of a search (the winner if `trial` is None) into the new directory `to`; return it.

    trial: its name in the leaderboard, or the beginning of it. trust_remote_code: whether the base model may run its
    own code, whatever the folder says. picture: draws one for the card, given the trial. Raises ResultsError if there
    is no such trial or `to` exists, ModelError if the base model has changed or may not run its code.
    """
    model, facts = chosen_model(folder, trial, trust_remote_code=trust_remote_code)
    return write_model(model, facts, to, picture and picture(facts.trial))


def chosen_model(
    folder: ResultsFolder, trial: str | None, *, trust_remote_code: bool = False
) -> tuple[TrialModel, ExportFacts]:
    """Return the model of a trial and what its export records. The arguments and errors are those of `export`."""
    summary = Summary(folder.summary)
    winner: str | None = (summary.get("winner") or {}).get("trial")
    outcome, best = _chosen(folder, _winner(folder, summary) if trial is None else trial)
    base = PreparedBase.from_json(summary["bases"][outcome.config.base_model])
    config = search_config(**read_resolved(folder.config))
    cache, max_length = config.search.cache.expanduser(), config.data.max_length
    merged = (summary.get("merge") or {}).get(outcome.trial)
    shares = {} if merged is None else {outcome.trial: merged["share"]}
    model = Models({base.name: base}, cache, max_length, trust_remote_code, shares).of(outcome)
    facts = ExportFacts(
        trial=outcome.trial,
        config=outcome.config,
        base=base,
        finals=_finals(folder, model, best),
        search={
            "name": folder.name,
            "data": summary["data"]["source"],
            "synthetic": summary["data"]["synthetic"],
            "split_hash": summary["data"]["split_hash"],
            "winner": outcome.trial == winner,
            "embedtune": version_of("embedtune"),
            **({"out_of_fold": public(_judgement(summary), config)} if summary.get("out_of_fold") else {}),
            **({"inverted": public(found["sentence"], config)} if (found := summary.get("inverted")) else {}),
            **({"scores": scores} if (scores := summary["data"].get("scores")) else {}),
        },
        findings=findings_of(folder, summary, config),
        merge=merged,
        guard=((summary.get("guard") or {}).get("models") or {}).get(model.key(model.dims[0])),
    )
    return model, facts


def _winner(folder: ResultsFolder, summary: Summary) -> str:
    name = (summary.get("winner") or {}).get("trial")
    if name is None:
        raise ResultsError(f"{folder.root} has no winner yet; resume the search with --resume {folder.name}")
    return str(name)


def _judgement(summary: Summary) -> dict[str, Any]:
    """Return how the winner was judged without a test side, and the verdicts as they were reported."""
    judged = summary["out_of_fold"]
    return {name: judged[name] for name in ("auc", "low", "high", "reason", "sentence")} | {
        "verdicts": summary.get("verdicts") or []
    }


def _chosen(folder: ResultsFolder, trial: str) -> tuple[TrialOutcome, Report]:
    """Return the one trial whose name begins so, and its best report."""
    outcomes = trial_outcomes(folder.trials, folder.asha)
    found = [outcome for outcome in outcomes if outcome.trial.startswith(trial)]
    best = found[0].best if len(found) == 1 and found[0].status != "failed" else None
    if best is None:
        scored = sorted(outcome.trial for outcome in outcomes if _has_weights(outcome))
        raise ResultsError(
            f"{folder.root}: {trial} does not name one trial with weights; there are "
            f"{', '.join(scored[:8]) or 'none here'}"
        )
    if found[0].weights_deleted:
        raise ResultsError(
            f"{folder.root}: the weights of trial {found[0].trial} were deleted to save disk, as it could not be a "
            "finalist; a new search with --keep-weights all keeps those of all trials"
        )
    return found[0], best


def _has_weights(outcome: TrialOutcome) -> bool:
    return outcome.best is not None and outcome.status != "failed" and not outcome.weights_deleted


def _finals(folder: ResultsFolder, model: TrialModel, best: Report) -> dict[int, dict[str, Any]]:
    """Return the model's numbers by dims: from test.json, else scored on val, else as its best report has them."""
    tested = read_test(folder)["models"] if folder.test.exists() else {}
    finals = {dims: tested[model.key(dims)] for dims in model.dims if model.key(dims) in tested}
    if len(finals) == len(model.dims):
        return finals
    view = model.base.view(model.cache)
    if all((view / name).exists() for name in model.kind.view_files(model.config)):
        return {dims: final.to_json() for dims, final in model.val().items()}
    if model.kind.has_folds:
        raise ResultsError(f"{model.cache} no longer has the embedded texts of {model.base.name}; search again")
    return {dims: _reported(best, dims, first=dims == model.dims[0]) for dims in model.dims}


def _reported(best: Report, dims: int, first: bool) -> dict[str, Any]:
    """Return what is known about a trial without its cache: its best report. The logistic threshold is unknown."""
    return {
        "val_auc": best.auc if first else best.auc_by_dims[str(dims)],
        "threshold": best.threshold if first else None,
        "logistic_threshold": None,
        "test": None,
    }
