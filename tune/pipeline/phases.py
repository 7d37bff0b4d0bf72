"""The phases that every command over pairs goes through, search or not: begin, embed, open test, write the table.

Each can be repeated: what an earlier run has finished is found on disk and kept.
"""

import json
import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from tune.config.search import SearchConfig
from tune.config.toml import write_toml
from tune.data.sides import labelled_sides
from tune.data.split import Split, write_split
from tune.embed.leaks import NEAR_COSINE
from tune.embed.orders import embed_bases
from tune.embed.prepare import PreparedBase
from tune.errors import ResultsError
from tune.evaluate.final_test import open_test
from tune.evaluate.rows import base_notes, leaderboard_rows
from tune.events import Emit, Message
from tune.files import write_atomic
from tune.pipeline.backend import Backend
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder, read_test
from tune.results.leaderboard import write_leaderboard
from tune.results.provenance import PACKAGES, now, version_of
from tune.results.summary import Summary
from tune.train.outcomes import TrialOutcome
from tune.train.trained import Models, TrialModel, base_val, baseline_key


def begin(
    config: SearchConfig,
    folder: ResultsFolder,
    summary: Summary,
    split: Split,
    facts: dict[str, Any],
    command: str,
    search: str = "",
) -> None:
    """search.toml, split.parquet and the first facts; on resume a check that the data are the same.

    search: what it is where it is no search; such a thing is not gone on with, so it has no search.toml.
    """
    if summary.get("data") is not None:
        if summary["data"]["split_hash"] != split.digest:
            raise ResultsError(f"{folder.root}: the data have changed since this search began; start a new one")
        return
    # First: a folder with search.toml is one that --resume can go on with, however little else is in it.
    if not search:
        write_atomic(folder.config, write_toml(config))
    write_split(split, folder.split)
    summary.update(
        name=folder.name,
        data=facts,
        seed=config.search.seed,
        search=search or config.search.search,
        command=command,
        started=now(),
        versions={name: version_of(name) for name in PACKAGES} | {"python": platform.python_version()},
        cores=os.cpu_count(),
    )


def embed_all(
    config: SearchConfig,
    backend: Backend,
    split: Split,
    facts: dict[str, Any],
    summary: Summary,
    clock: Clock,
    emit: Emit,
) -> Models:
    """Every base model's texts embedded, and said how many of val and test are nearly in train."""
    with clock.phase("embedding"):
        cache = config.search.cache.expanduser()
        bases, near = embed_bases(config, split, cache, emit, backend.embed)
    same_bases(summary, bases)
    emit(Message(_leaks_line(facts["leaks"]["texts_seen_in_train"], near)))
    facts["leaks"]["near_copies_in_train"] = near
    summary.update(data=facts, bases={name: base.to_json() for name, base in bases.items()})
    backend.kept()
    return models_of(config, bases)


def _leaks_line(seen: dict[str, int], near: dict[str, Any]) -> str:
    counted = ", ".join(f"{side} {near[side]['near']} of {near[side]['of']}" for side in ("val", "test"))
    return (
        f"leaks: texts that train holds too: val {seen['val']}, test {seen['test']}; "
        f"nearly so (cosine >= {NEAR_COSINE}, {near['base_model']}): {counted}"
    )


def same_bases(summary: Summary, bases: dict[str, PreparedBase]) -> dict[str, PreparedBase]:
    """The bases; ResultsError where one is not what the search began with: its trials would be other trials."""
    for name, before in (summary.get("bases") or {}).items():
        if bases[name].digest != before["digest"]:
            raise ResultsError(f"base model {name} has changed since this search began; start a new one")
    return bases


def models_of(config: SearchConfig, bases: dict[str, PreparedBase]) -> Models:
    """The models of trials on these base models."""
    return Models(bases, config.search.cache.expanduser(), config.data.max_length)


def score_once(
    folder: ResultsFolder,
    config: SearchConfig,
    split: Split,
    models: Models,
    finalists: list[TrialModel],
    emit: Emit,
    *,
    searched: bool = True,
) -> dict[str, Any]:
    """The scores on test, as `finals.open_test` gives them: opened now, or read where that was done before.

    searched: this is a search, which has nothing to open test for without finalists.
    """
    if folder.test.exists():
        return read_test(folder)
    if searched and not finalists:
        # Nothing to choose, so nothing to open test for.
        untouched = {baseline_key(name): base_val(base, models.cache).to_json() for name, base in models.bases.items()}
        return {"opened": None, "models": untouched, "verdict": None}
    with_finalists = f"{len(finalists)} finalists and " if finalists else ""
    emit(Message(f"opening test: {with_finalists}{len(models.bases)} untouched base models, once"))
    sides = labelled_sides(split, config.search.seed)
    component = split.component[split.side == "test"]
    test = {"opened": now(), **open_test(finalists, models, sides["test"], component, config.search.seed)}
    write_atomic(folder.test, json.dumps(test, indent=1) + "\n")
    return test


def write_table(
    folder: ResultsFolder,
    config: SearchConfig,
    split: Split,
    models: Models,
    outcomes: list[TrialOutcome],
    finalists: Sequence[str],
    test: dict[str, Any],
    summary: Summary,
) -> None:
    """The leaderboard, and in the summary what test has shown. finalists: trials, in the order that was fixed."""
    rows = leaderboard_rows(
        outcomes,
        models.bases,
        test,
        finalists,
        base_notes(config, summary["data"]),
        _pairs_on(split, ("train", "val") if config.search.folds else ("val",)),
        _pairs_on(split, ("val",)),
    )
    write_leaderboard(folder.leaderboard, rows)
    apart = ("models", "comparisons", "verdicts", "correction")
    summary.update(
        test={name: value for name, value in test.items() if name not in apart},
        verdict=test["verdict"],
        verdicts=test.get("verdicts"),
        correction=test.get("correction"),
        comparisons=test.get("comparisons"),
    )


def _pairs_on(split: Split, sides: Sequence[str]) -> int:
    return int(np.isin(split.side, sides).sum())
