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
from numpy.typing import NDArray

from tune.begin import SIDES, name_stem, read_split
from tune.clock import Clock
from tune.config.data import DataConfig
from tune.config.search import SearchConfig
from tune.config.toml import write_toml
from tune.data.split import Split, train_order, write_split
from tune.embed.prepare import NEAR_COSINE, LabelledPairs, PreparedBase, near_copies, prepare_base, with_exact_test
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.errors import ResultsError
from tune.events import Embedding, Emit, Message
from tune.export import export, read_test, version_of
from tune.files import write_atomic
from tune.finals import base_val, baseline_key, open_test, sound_finalists
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
    embed: Callable[[Sequence["EmbedOrder"], Path, Emit], list[PreparedBase]] | None = None
    kept: Callable[[], None] = lambda: None
    facts: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True)
class EmbedOrder:
    """A base model and the texts that it has to embed. Plain data: it can be carried out elsewhere.

    sides: train (in its seeded order), val and test. query_document: whether the columns are such. texts: whether
    some trial trains the base model itself, and reads texts.
    """

    base_model: str
    precision: str
    data: DataConfig
    sides: dict[str, LabelledPairs]
    query_document: bool
    texts: bool = False


def labelled_sides(split: Split, seed: int) -> dict[str, LabelledPairs]:
    """The pairs of each side; train in its seeded order."""
    index = {side: np.flatnonzero(split.side == side) for side in ("val", "test")}
    index["train"] = train_order(split, seed)
    return {side: _labelled(split, index[side]) for side in SIDES}


def _labelled(split: Split, index: NDArray[np.int64]) -> LabelledPairs:
    taken = split.pairs.take(index)
    return LabelledPairs(taken.text_a, taken.text_b, taken.label, split.component[index])


def embed_bases(
    config: SearchConfig, split: Split, cache: Path, emit: Emit, backend: Backend | None = None
) -> tuple[dict[str, PreparedBase], dict[str, Any]]:
    """Every base model's snapshot and view, and the counter of near copies (by the first base model)."""
    sides = labelled_sides(split, config.search.seed)
    query_document = split.pairs.columns.query_document
    orders = [
        EmbedOrder(name, config.search.precision, config.data, sides, query_document, config.trained(name))
        for name in config.base_models
    ]
    embed = backend.embed if backend is not None and backend.embed is not None else embed_in_turn
    bases = {base.name: base for base in embed(orders, cache, emit)}
    return bases, _near_copies(bases[config.base_models[0]], sides, cache, config.search.seed)


def embed_in_turn(orders: Sequence[EmbedOrder], cache: Path, emit: Emit) -> list[PreparedBase]:
    """The base models in this process, one after the other."""
    return [embed_base(order, cache, emit) for order in orders]


def embed_base(order: EmbedOrder, cache: Path, emit: Emit) -> PreparedBase:
    """Embeds what the snapshot lacks of one base model's texts, and writes its view."""
    name, data, sides = order.base_model, order.data, order.sides
    emit(Message(f"{name}: loading"))
    source = load_source(name, order.precision, data.max_length)
    own = source.prompts(order.query_document)
    prompts = (
        own[0] if data.prompt_a is None else data.prompt_a,
        own[1] if data.prompt_b is None else data.prompt_b,
    )

    def told(model: str, done: int, total: int, per_second: float) -> None:
        emit(Embedding(model, done, total, per_second))

    base = prepare_base(source, sides, cache, prompts, told, texts=order.texts, max_length=data.max_length)
    rate = f", {base.embedded} embedded now ({base.embedded / base.seconds:.0f} texts/s)"
    emit(Message(f"{name}: {base.texts} texts{rate if base.embedded else ', all embedded before'}"))
    if order.precision == "bf16":
        # Test is reported as the exported model gives it, and that has fp32 weights.
        base = with_exact_test(base, load_source(name, "fp32", data.max_length), sides["test"], cache, told)
    return base


def _near_copies(base: PreparedBase, sides: dict[str, LabelledPairs], cache: Path, seed: int) -> dict[str, Any]:
    counted: dict[str, Any] = {"base_model": base.name}
    view = View.open(base.view(cache))
    train = np.unique(np.concatenate([view.train.a, view.train.b]))
    corpus = view.vectors[train]
    for side in ("val", "test"):
        vectors, _ = base.rows(cache, sides[side])
        near, looked = near_copies(corpus, vectors, seed)
        counted[side] = {"near": near, "of": looked}
    return counted


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
            bases = _search(config, backend, split, facts, folder, summary, clock, emit)
        else:
            # To go on searching now would be to choose again after test was opened.
            emit(Message("the winner is fixed: only what is missing is made again"))
            bases = {name: PreparedBase.from_json(values) for name, values in summary["bases"].items()}
            if not folder.test.exists():
                # Killed before test was scored: its vectors may have left the cache since.
                bases = _same_bases(
                    summary, embed_bases(config, split, config.search.cache.expanduser(), emit, backend)[0]
                )
        outcomes = _outcomes(folder, bases)
        finalists = _fixed_finalists(folder, summary, outcomes)
        with clock.phase("test"):
            test = _score_once(folder, config, split, bases, finalists, emit)
        notes = base_notes(config, summary["data"])
        write_leaderboard(folder.leaderboard, leaderboard_rows(outcomes, bases, test["models"], notes))
        summary.update(test={k: v for k, v in test.items() if k != "models"}, verdict=test["verdict"])
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
) -> dict[str, PreparedBase]:
    """Embeds, searches, and writes the winner down."""
    with clock.phase("embedding"):
        cache = config.search.cache.expanduser()
        bases, near = embed_bases(config, split, cache, emit, backend)
    _same_bases(summary, bases)
    emit(Message(_leaks_line(facts["leaks"]["texts_seen_in_train"], near)))
    facts["leaks"]["near_copies_in_train"] = near
    summary.update(data=facts, bases={name: base.to_json() for name, base in bases.items()})
    backend.kept()
    with clock.phase("search"):
        interrupted = backend.search(config, folder, bases, config.search.jobs or backend.jobs, emit)
    outcomes = _outcomes(folder, bases)
    finalists = sound_finalists(
        outcomes,
        bases,
        cache,
        config.search.finalists,
        config.search.search == "grid",
        lambda text: emit(Message(text)),
    )
    _fix_winner(summary, outcomes, finalists, interrupted)
    summary.update(**backend.facts())
    backend.kept()
    return bases


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


def _fixed_finalists(folder: ResultsFolder, summary: Summary, outcomes: list[TrialOutcome]) -> list[TrialOutcome]:
    """The finalists as they were fixed, the winner first."""
    by_name = {outcome.trial: outcome for outcome in outcomes}
    fixed: list[str] = summary.get("finalists") or []
    if gone := [name for name in fixed if name not in by_name or by_name[name].best is None]:
        raise ResultsError(f"{folder.root}: the directory of trial {gone[0]}, a finalist, is gone or damaged")
    return [by_name[name] for name in fixed]


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


def _fix_winner(
    summary: Summary, outcomes: list[TrialOutcome], finalists: list[TrialOutcome], interrupted: str
) -> None:
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
                "trial": winner.trial,
                "val_auc": winner.best.auc if winner.best else None,
                "config": winner.config.model_dump(),
                "fixed": _now(),
                "chosen_by": "highest validation AUC, before the test side was opened",
            },
            finalists=[outcome.trial for outcome in finalists],
        )


def _score_once(
    folder: ResultsFolder,
    config: SearchConfig,
    split: Split,
    bases: dict[str, PreparedBase],
    finalists: list[TrialOutcome],
    emit: Emit,
) -> dict[str, Any]:
    if folder.test.exists():
        return read_test(folder)
    if not finalists:
        # Nothing to choose, so nothing to open test for.
        cache = config.search.cache.expanduser()
        models = {baseline_key(name): base_val(base, cache).to_json() for name, base in bases.items()}
        return {"opened": None, "models": models, "verdict": None}
    emit(Message(f"opening test: {len(finalists)} finalists and {len(bases)} untouched base models, once"))
    sides = labelled_sides(split, config.search.seed)
    component = split.component[split.side == "test"]
    cache = config.search.cache.expanduser()
    test = {
        "opened": _now(),
        **open_test(finalists, bases, cache, sides["test"], component, config.search.seed),
    }
    write_atomic(folder.test, json.dumps(test, indent=1) + "\n")
    return test


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
