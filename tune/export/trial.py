"""A trial as a directory that scores what was reported, with a card and embedtune.json.

On an open base model a SentenceTransformer (the base's modules, Dense, Normalize) that loads without this project; on a
closed one an AdaptedEmbedder.
"""

from pathlib import Path
from typing import Any

from tune.config.search import search_config
from tune.config.toml import read_toml
from tune.embed.prepare import PreparedBase
from tune.errors import ResultsError
from tune.export.card import ExportFacts
from tune.export.write import write_model
from tune.results.layout import ResultsFolder, read_test
from tune.results.provenance import version_of
from tune.results.summary import Summary
from tune.train.outcomes import trial_outcomes
from tune.train.stream import Report


def export(folder: ResultsFolder, trial: str | None, to: Path) -> Path:
    """A trial of a finished search (the winner where `trial` is None) as a SentenceTransformer directory."""
    from tune.train.trained import Models

    summary = Summary(folder.summary)
    outcomes = {outcome.trial: outcome for outcome in trial_outcomes(folder.trials, folder.asha)}
    winner = summary.get("winner")
    if trial is None:
        if winner is None:
            raise ResultsError(f"{folder.root} has no winner yet; go on with it by --resume {folder.name}")
        trial = str(winner["trial"])
    found = [outcome for name, outcome in outcomes.items() if name.startswith(trial)]
    best = found[0].best if len(found) == 1 and found[0].status != "failed" else None
    if best is None:
        scored = sorted(name for name, outcome in outcomes.items() if outcome.best and outcome.status != "failed")
        raise ResultsError(f"{folder.root}: no one trial {trial} with weights; there are {', '.join(scored[:8])}")
    outcome = found[0]
    base = PreparedBase.from_json(summary["bases"][outcome.config.base_model])
    tested = read_test(folder)["models"] if folder.test.exists() else {}
    config = search_config(**read_toml(folder.config))
    cache = config.search.cache.expanduser()
    model = Models({base.name: base}, cache, config.data.max_length).of(outcome)
    finals = {dims: tested.get(model.key(dims)) for dims in model.dims}
    if None in finals.values():
        if all((base.view(cache) / name).exists() for name in model.kind.view_files(outcome.config)):
            finals = {dims: final.to_json() for dims, final in model.val().items()}
        elif model.kind.has_folds:
            raise ResultsError(f"the embedded texts of {base.name} are gone from {cache}; search again")
        else:
            finals = {dims: _reported(best, dims, first=dims == model.dims[0]) for dims in model.dims}
    facts = ExportFacts(
        trial=outcome.trial,
        config=outcome.config,
        base=base,
        finals={dims: final for dims, final in finals.items() if final is not None},
        search={
            "name": folder.name,
            "data": summary["data"]["source"],
            "synthetic": summary["data"]["synthetic"],
            "split_hash": summary["data"]["split_hash"],
            "winner": winner is not None and winner["trial"] == outcome.trial,
            "embedtune": version_of("embedtune"),
        },
    )
    return write_model(model, facts, to)


def _reported(best: Report, dims: int, first: bool) -> dict[str, Any]:
    """What is known of a trial whose cache is gone: its best report. The logistic threshold is not."""
    return {
        "val_auc": best.auc if first else best.auc_by_dims[str(dims)],
        "threshold": best.threshold if first else None,
        "logistic_threshold": None,
        "test": None,
    }
