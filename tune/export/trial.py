"""A trial as a directory that scores what was reported, with a card and embedtune.json.

On an open base model a SentenceTransformer (the base's modules, Dense, Normalize) that loads without this project; on a
closed one an AdaptedEmbedder.
"""

import json
from pathlib import Path
from typing import Any

from tune.config.search import search_config
from tune.config.toml import read_toml
from tune.embed.adapted import ABOUT, write_adapted, write_exported
from tune.embed.prepare import PreparedBase
from tune.embed.view import View
from tune.errors import ModelError, ResultsError
from tune.export.card import ExportFacts, model_card
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
    model = Models({base.name: base}, cache, config.data.max_length)(outcome)
    finals = {dims: tested.get(model.key(dims)) for dims in model.dims}
    if None in finals.values():
        if all((base.view(cache) / name).exists() for name in View.files_for(outcome.config)):
            finals = {dims: final.to_json() for dims, final in model.val().items()}
        elif outcome.config.folds:
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
    return write_model(model.weights(), facts, config.data.max_length, to)


def _reported(best: Report, dims: int, first: bool) -> dict[str, Any]:
    """What is known of a trial whose cache is gone: its best report. The logistic threshold is not."""
    return {
        "val_auc": best.auc if first else best.auc_by_dims[str(dims)],
        "threshold": best.threshold if first else None,
        "logistic_threshold": None,
        "test": None,
    }


def write_model(weights: Path, facts: ExportFacts, max_length: int | None, to: Path) -> Path:
    """Writes the model of a trial's best weights into the new directory `to`, whole or not at all.

    ResultsError where `to` exists; ModelError where the base model is not the one that was searched with.
    """
    if facts.base.closed is not None:
        return _write_on_closed(weights, facts, facts.base.closed, max_length, to)
    return _write_on_open(weights, facts, max_length, to)


def _write_on_closed(
    weights: Path, facts: ExportFacts, options: dict[str, Any], max_length: int | None, to: Path
) -> Path:
    from tune.embed.closed import ClosedOptions, parse_closed
    from tune.train.frozen.dense import load_dense

    name = parse_closed(facts.base.name)
    assert name is not None  # else it would have no options of a closed model
    return write_adapted(
        to,
        load_dense(facts.config, weights, facts.base.dims).state_dict(),
        name,
        ClosedOptions.from_json(options),
        activation=facts.config.activation,
        prompts=(facts.base.prompt_a, facts.base.prompt_b),
        max_length=max_length,
        about=about(facts),
        files={"README.md": model_card(facts)},
    )


def _write_on_open(weights: Path, facts: ExportFacts, max_length: int | None, to: Path) -> Path:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    from tune.embed.sources import load_open
    from tune.train.frozen.dense import load_dense
    from tune.train.whole.model import load_finetuned

    if to.exists():
        raise ResultsError(f"{to} exists; choose another directory")
    source = load_open(facts.base.name, "fp32", max_length)
    if facts.base.weights != source.weights:
        raise ModelError(f"base model {facts.base.name} has other weights now than when the search ran")
    if facts.config.freeze:
        dense = load_dense(facts.config, weights, facts.base.dims).to(torch.float32)
        modules = [*source.model.children(), dense]
    else:
        modules = list(load_finetuned(facts.config, weights, facts.base.name, max_length).children())
    prompts, default = _prompts(facts.base)
    model = SentenceTransformer(
        modules=[*(module.to("cpu") for module in modules), Normalize()],
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name="cosine",
        device="cpu",
    )
    write_exported(
        to,
        lambda part: model.save(str(part), create_model_card=False),
        about(facts),
        {"README.md": model_card(facts)},
    )
    return to


def _prompts(base: PreparedBase) -> tuple[dict[str, str], str | None]:
    if base.prompt_a == base.prompt_b:
        return ({"text": base.prompt_a}, "text") if base.prompt_a else ({}, None)
    return {"query": base.prompt_a, "document": base.prompt_b}, None


def about(facts: ExportFacts) -> dict[str, Any]:
    """The content of embedtune.json."""
    return {
        "trial": facts.trial,
        "threshold": facts.final["threshold"],
        "logistic_threshold": facts.final["logistic_threshold"],
        "prompt_a": facts.base.prompt_a,
        "prompt_b": facts.base.prompt_b,
        "config": facts.config.model_dump(),
        "base_model": facts.base.name,
        "base_weights": facts.base.weights,
        "val_auc": facts.final["val_auc"],
        "test": facts.final["test"],
        "by_dims": facts.finals if len(facts.finals) > 1 else None,
        "search": facts.search,
    }


def read_about(model: Path) -> dict[str, Any]:
    """embedtune.json of an exported model; empty where it has none. ModelError where it cannot be read."""
    path = model / ABOUT
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is no JSON ({error}); export the model again") from None
    numbers = ("threshold", "logistic_threshold")
    texts = ("prompt_a", "prompt_b")
    if not isinstance(content, dict) or not (
        all(isinstance(content.get(name), int | float | None) for name in numbers)
        and all(isinstance(content.get(name, ""), str) for name in texts)
    ):
        raise ModelError(f"{path} is not what an export writes; export the model again")
    return content
