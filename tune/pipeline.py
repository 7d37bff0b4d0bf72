"""One search from pairs to results: calls the rooms in order and holds no logic of theirs.

Every phase can be repeated: what an earlier run of the same search has finished is found on disk and kept. So
`--resume` is this pipeline on an existing folder.
"""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tune.begin import name_stem, read_split
from tune.clock import Clock
from tune.config.search import SearchConfig
from tune.config.toml import write_toml
from tune.data.split import Split, write_split
from tune.embed.prepare import NEAR_COSINE, PreparedBase
from tune.embedding import EmbedOrder, embed_bases, labelled_sides
from tune.errors import ResultsError
from tune.events import Emit, Message
from tune.export import export, read_test, version_of
from tune.files import write_atomic
from tune.finals import open_test, sound_finalists
from tune.models import Models, TrialModel, base_val, baseline_key
from tune.results.layout import ResultsFolder, existing_folder, new_folder
from tune.results.leaderboard import write_leaderboard
from tune.results.summary import Summary
from tune.rows import base_notes, leaderboard_rows
from tune.search.outcomes import TrialOutcome, trial_outcomes
from tune.search.points import planned_trials

PACKAGES = ("embedtune", "ray", "optuna", "sentence-transformers", "transformers", "torch", "modal", "numpy")


@dataclass(frozen=True)
class Backend:
    """Where a search runs. The local one is `tune.local`; the cloud brings its own.

    jobs: trials at the same time where the configuration does not say. search: (config, folder, bases, jobs, emit) ->
    why it was interrupted, or "". embed: (orders, cache, emit) -> the base models, in the same order; None: here, in
    turn. kept: called whenever a phase has ended. facts: what the place has to add to the summary.
    """

    jobs: int
    search: Callable[[SearchConfig, ResultsFolder, dict[str, PreparedBase], int, Emit], str]
    embed: Callable[[Sequence[EmbedOrder], Path, Emit], list[PreparedBase]] | None = None
    kept: Callable[[], None] = lambda: None
    facts: Callable[[], dict[str, Any]] = dict


def run(
    config: SearchConfig,
    backend: Backend,
    *,
    command: str,
    emit: Emit,
    resume: str | None = None,
    data: str | None = None,
) -> ResultsFolder:
    """A whole search, or what is left of it. Returns the results folder, complete.

    `config` has passed tune.checks.check_search. resume: name of an existing folder; `config` is then the one of that
    folder. data: where the pairs lie on this machine, if not where the configuration says. UserError before anything
    costly where something is wrong. KeyboardInterrupt after Ctrl-C, with everything kept.
    """
    clock = Clock()
    with clock.phase("data"):
        split, facts = read_split(config, emit, data)
    if config.search.search == "grid":
        emit(Message(f"grid: {planned_trials(config)} trials"))
    folder = (
        existing_folder(config.search.results / resume)
        if resume is not None
        else new_folder(config.search.results, config.search.name, name_stem(config))
    )
    with folder.locked():
        summary = Summary(folder.summary)
        _begin(config, folder, summary, split, facts, command)
        emit(Message(f"results: {folder.root}"))
        backend.kept()
        if summary.get("winner") is None:
            models, finalists = _search(config, backend, split, facts, folder, summary, clock, emit)
        else:
            # To go on searching now would be to choose again after test was opened.
            emit(Message("the winner is fixed: only what is missing is made again"))
            bases = {name: PreparedBase.from_json(values) for name, values in summary["bases"].items()}
            if not folder.test.exists():
                # Killed before test was scored: its vectors may have left the cache since.
                bases = _same_bases(
                    summary, embed_bases(config, split, config.search.cache.expanduser(), emit, backend.embed)[0]
                )
            models = _models(config, bases)
            finalists = _fixed_finalists(folder, summary, models)
        with clock.phase("test"):
            test = _score_once(folder, config, split, models, finalists, emit)
        rows = leaderboard_rows(
            _outcomes(folder, models.bases),
            models.bases,
            test,
            [model.outcome.trial for model in finalists],
            base_notes(config, summary["data"]),
            _pairs_on(split, ("train", "val") if config.search.folds else ("val",)),
            _pairs_on(split, ("val",)),
        )
        write_leaderboard(folder.leaderboard, rows)
        summary.update(
            test={name: value for name, value in test.items() if name not in ("models", "comparisons")},
            verdict=test["verdict"],
            comparisons=test.get("comparisons"),
        )
        backend.kept()
        with clock.phase("export"):
            if finalists and not folder.best.exists():
                export(folder, None, folder.best)
        summary.update(seconds={**clock.seconds, **(summary.get("seconds") or {})}, finished=_now())
        backend.kept()
    return folder


def _search(
    config: SearchConfig,
    backend: Backend,
    split: Split,
    facts: dict[str, Any],
    folder: ResultsFolder,
    summary: Summary,
    clock: Clock,
    emit: Emit,
) -> tuple[Models, list[TrialModel]]:
    """Embeds, searches, and writes the winner down; the finalists, the winner first."""
    with clock.phase("embedding"):
        cache = config.search.cache.expanduser()
        bases, near = embed_bases(config, split, cache, emit, backend.embed)
    _same_bases(summary, bases)
    emit(Message(_leaks_line(facts["leaks"]["texts_seen_in_train"], near)))
    facts["leaks"]["near_copies_in_train"] = near
    summary.update(data=facts, bases={name: base.to_json() for name, base in bases.items()})
    backend.kept()
    with clock.phase("search"):
        interrupted = backend.search(config, folder, bases, config.search.jobs or backend.jobs, emit)
    outcomes = _outcomes(folder, bases)
    models = _models(config, bases)
    finalists = sound_finalists(
        outcomes,
        models,
        config.search.finalists,
        config.search.search == "grid",
        lambda text: emit(Message(text)),
    )
    _fix_winner(summary, outcomes, finalists, interrupted)
    summary.update(**backend.facts())
    backend.kept()
    return models, finalists


def _models(config: SearchConfig, bases: dict[str, PreparedBase]) -> Models:
    return Models(bases, config.search.cache.expanduser(), config.data.max_length)


def _pairs_on(split: Split, sides: Sequence[str]) -> int:
    return int(np.isin(split.side, sides).sum())


def _same_bases(summary: Summary, bases: dict[str, PreparedBase]) -> dict[str, PreparedBase]:
    """The bases; ResultsError where one is not what the search began with: its trials would be other trials."""
    for name, before in (summary.get("bases") or {}).items():
        if bases[name].digest != before["digest"]:
            raise ResultsError(f"base model {name} has changed since this search began; start a new one")
    return bases


def _outcomes(folder: ResultsFolder, bases: dict[str, PreparedBase]) -> list[TrialOutcome]:
    """The trials of these bases and their data; a directory of anything else is left alone."""
    return [
        outcome
        for outcome in trial_outcomes(folder.trials, folder.asha)
        if outcome.config.base_model in bases
        and outcome.trial == outcome.config.digest(bases[outcome.config.base_model].digest)
    ]


def _fixed_finalists(folder: ResultsFolder, summary: Summary, models: Models) -> list[TrialModel]:
    """The finalists as they were fixed, the winner first."""
    by_name = {outcome.trial: outcome for outcome in _outcomes(folder, models.bases)}
    fixed: list[str] = summary.get("finalists") or []
    if gone := [name for name in fixed if name not in by_name or by_name[name].best is None]:
        raise ResultsError(f"{folder.root}: the directory of trial {gone[0]}, a finalist, is gone or damaged")
    return [models(by_name[name]) for name in fixed]


def _leaks_line(seen: dict[str, int], near: dict[str, Any]) -> str:
    counted = ", ".join(f"{side} {near[side]['near']} of {near[side]['of']}" for side in ("val", "test"))
    return (
        f"leaks: texts that train holds too: val {seen['val']}, test {seen['test']}; "
        f"nearly so (cosine >= {NEAR_COSINE}, {near['base_model']}): {counted}"
    )


def _begin(
    config: SearchConfig,
    folder: ResultsFolder,
    summary: Summary,
    split: Split,
    facts: dict[str, Any],
    command: str,
) -> None:
    """search.toml, split.parquet and the first facts; on resume a check that the data are the same."""
    if summary.get("data") is not None:
        if summary["data"]["split_hash"] != split.digest:
            raise ResultsError(f"{folder.root}: the data have changed since this search began; start a new one")
        return
    # First: a folder with search.toml is one that --resume can go on with, however little else is in it.
    write_atomic(folder.config, write_toml(config))
    write_split(split, folder.split)
    summary.update(
        name=folder.name,
        data=facts,
        seed=config.search.seed,
        search=config.search.search,
        command=command,
        started=_now(),
        versions={name: version_of(name) for name in PACKAGES} | {"python": platform.python_version()},
        cores=os.cpu_count(),
    )


def _fix_winner(summary: Summary, outcomes: list[TrialOutcome], finalists: list[TrialModel], interrupted: str) -> None:
    """Writes the winner down, by validation alone, before test is opened. Then the search is over."""
    statuses = [outcome.status for outcome in outcomes]
    summary.update(
        trials={status: statuses.count(status) for status in ("done", "stopped", "failed", "halfway")},
        interrupted=interrupted,
    )
    if finalists:
        winner = finalists[0]
        summary.update(
            winner={
                "trial": winner.outcome.trial,
                "val_auc": winner.val_auc(),
                "config": winner.config.model_dump(),
                "fixed": _now(),
                "chosen_by": "highest validation AUC, before the test side was opened",
            },
            finalists=[model.outcome.trial for model in finalists],
        )


def _score_once(
    folder: ResultsFolder,
    config: SearchConfig,
    split: Split,
    models: Models,
    finalists: list[TrialModel],
    emit: Emit,
) -> dict[str, Any]:
    if folder.test.exists():
        return read_test(folder)
    if not finalists:
        # Nothing to choose, so nothing to open test for.
        untouched = {baseline_key(name): base_val(base, models.cache).to_json() for name, base in models.bases.items()}
        return {"opened": None, "models": untouched, "verdict": None}
    emit(Message(f"opening test: {len(finalists)} finalists and {len(models.bases)} untouched base models, once"))
    sides = labelled_sides(split, config.search.seed)
    component = split.component[split.side == "test"]
    test = {"opened": _now(), **open_test(finalists, models, sides["test"], component, config.search.seed)}
    write_atomic(folder.test, json.dumps(test, indent=1) + "\n")
    return test


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
