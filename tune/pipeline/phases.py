"""The phases that every command over pairs goes through, search or not: record, embed, open test, write the table.

Each can be repeated: what an earlier run has finished is found on disk and kept.
"""

import json
import platform
from collections.abc import Sequence
from typing import Any

from tune.config.toml import write_toml
from tune.data.split import is_split_of, write_split
from tune.embed.near import NEAR_COSINE, counted_text
from tune.embed.orders import embed_bases
from tune.embed.prepare import PreparedBase
from tune.errors import ResultsError
from tune.evaluate.final_test import Opening, open_test
from tune.evaluate.rows import TableFacts, base_notes, leaderboard_rows
from tune.evaluate.tfidf import TFIDF_KEY, TfidfBaseline, tfidf_on_val
from tune.events import Bought, SearchNamed
from tune.files import write_atomic
from tune.machine import cpu_name, usable_cores
from tune.metrics.verdict import counted
from tune.pipeline.guard import record_guards
from tune.pipeline.keep_scores import keep_opened
from tune.pipeline.labels import check_labels, in_place_of_praise
from tune.pipeline.run import Run
from tune.results.layout import read_test
from tune.results.leaderboard import write_leaderboard
from tune.results.provenance import PACKAGES, now, version_of
from tune.results.summary import Summary
from tune.train.outcomes import TrialOutcome
from tune.train.trained import Models, TrialModel, base_val, baseline_key


def record_start(run: Run, command: str, kind: str | None = None) -> None:
    """Write search.toml, split.parquet and the first facts; on resume, check that the data are the same.

    kind: what the command is if not a search; it cannot be resumed, so it has no search.toml.
    """
    config, folder, summary = run.config, run.folder, run.summary
    if summary.get("data") is None:
        # First: a folder with search.toml can be resumed, however little else is in it.
        if kind is None:
            write_atomic(folder.config, write_toml(config))
        write_split(run.split, folder.split)
        summary.update(
            name=folder.name,
            data=run.facts,
            seed=config.search.seed,
            search=kind or config.search.search,
            command=command,
            started=now(),
            versions={name: version_of(name) for name in PACKAGES} | {"python": platform.python_version()},
            cores=usable_cores(),
            cpu=cpu_name(),
        )
    elif summary["data"]["split_hash"] != run.split.digest:
        raise ResultsError(f"{folder.root}: the data have changed since this search began; start a new one")
    elif config.whole and summary.get("bases") and not summary.get("winner") and summary.get("val_sample") is None:
        raise ResultsError(
            f"{folder.root}: an earlier version compared these trials on different pairs; start a new search"
        )
    elif not is_split_of(folder.split, run.split):
        _restore_split(run)
    run.emit(SearchNamed(folder.name, str(folder.root)))


def _restore_split(run: Run) -> None:
    """Write a missing or damaged split.parquet again, if nothing depends on the order that its rows had."""
    path = run.folder.split
    if run.folder.scores.exists():
        run.say(
            f"Warning: {path} is missing or damaged; restore a copy of it: it says which pairs the rows of "
            f"{run.folder.scores.name} are"
        )
        return
    run.say(f"{path.name} is missing or damaged; written again")
    write_split(run.split, path)


def embed_all(run: Run) -> Models:
    """Embed every base model's texts; report texts of val and test that are nearly in train, and inverted labels."""
    record_guards(run)
    with run.clock.phase("embedding"):
        guards = [guard.pairs for guard in run.guards]
        if earlier := bought_usd(run.summary):
            run.emit(Bought("", earlier))
        bases, near = embed_bases(run.config, run.split, run.cache, run.emit, run.backend.embed, guards)
    record_bought(run.summary, bases)
    check_same_bases(run.summary, bases)
    run.say(_leaks_line(run.facts["leaks"]["texts_seen_in_train"], near))
    run.facts["leaks"]["near_copies_in_train"] = near
    if left_out := run.left_out(bases):
        run.facts["left_out"] = left_out
    run.summary.update(data=run.facts, bases={name: base.to_json() for name, base in bases.items()})
    models = run.models(bases)
    check_labels(run, models)
    run.backend.commit()
    return models


def bought_usd(summary: Summary) -> float:
    """Return what all runs of the search have bought of closed models' vectors, in USD."""
    return float((summary.get("usd") or {}).get("vectors", 0.0))


def record_bought(summary: Summary, bases: dict[str, PreparedBase]) -> None:
    """Add to the summary what this run has bought."""
    if now := sum(base.bought_usd for base in bases.values()):
        summary.update(usd={"vectors": bought_usd(summary) + now})


def record_spent(summary: Summary) -> None:
    """Add to the summary what all runs of the search have cost: vectors bought and, on Modal, trials' containers.

    Nothing is added if that is nothing, or if the price of a GPU is unknown.
    """
    trials = (summary.get("modal") or {"usd": 0.0}).get("usd")
    if trials is not None and (total := bought_usd(summary) + trials):
        summary.update(usd={"vectors": bought_usd(summary), "total": total})


def _leaks_line(seen: dict[str, int], near: dict[str, Any]) -> str:
    if folds := near.get("folds"):
        return (
            f"leaks: no text is in two folds; nearly so (cosine >= {NEAR_COSINE}, {near['base_model']}):"
            f" {counted_text(folds)}"
        )
    counted = ", ".join(f"{side} {counted_text(near[side])}" for side in ("val", "test"))
    return (
        f"leaks: texts also in train: val {seen['val']}, test {seen['test']}; "
        f"nearly so (cosine >= {NEAR_COSINE}, {near['base_model']}): {counted}"
    )


def check_same_bases(summary: Summary, bases: dict[str, PreparedBase]) -> None:
    """Raise ResultsError if a base model is not the one the search began with: its trials would be other trials."""
    for name, before in (summary.get("bases") or {}).items():
        if bases[name].digest != before["digest"]:
            raise ResultsError(f"base model {name} has changed since this search began; start a new one")


def open_test_once(
    run: Run, models: Models, finalists: Sequence[TrialModel], *, searched: bool = True
) -> dict[str, Any]:
    """Return the scores on test, as `open_test` gives them: opened now, or read if an earlier run opened it.

    searched: whether this is a search, which does not open test without finalists.
    """
    if run.folder.test.exists():
        return read_test(run.folder)
    sides, seed = run.sides(models.bases), run.config.search.seed
    tfidf = tfidf_on_val(sides, models, seed)
    if searched and not finalists:
        untouched = {baseline_key(name): base_val(base, models.cache).to_json() for name, base in models.bases.items()}
        return unopened({**untouched, TFIDF_KEY: tfidf.final.to_json()}, tfidf)
    scored = [counted(len(finalists), "finalist")] if finalists else []
    run.say(f"opening test: {' and '.join([*scored, counted(len(models.bases), 'untouched base model')])}, once")
    began = now()
    opening = Opening(tfidf, run.config.search.search == "grid", run.emit)
    opened = open_test(finalists, models, sides["test"], seed, opening)
    # First: with test.json, test counts as opened, and these scores could not be made again.
    keep_opened(run, sides, opened)
    test = {"opened": began, **opened.result}
    write_atomic(run.folder.test, json.dumps(test, indent=1) + "\n")
    return test


def unopened(finals: dict[str, dict[str, Any]], tfidf: TfidfBaseline) -> dict[str, Any]:
    """Return what stands in for the scores on test if it stays closed. finals: results on val, by key."""
    return {"opened": None, "models": finals, "verdict": None, "tf_idf": tfidf.to_json()}


def write_table(
    run: Run, models: Models, outcomes: list[TrialOutcome], finalists: Sequence[TrialModel], test: dict[str, Any]
) -> None:
    """Write the leaderboard, and into the summary what test has shown. finalists: in the order that was fixed."""
    sides = run.sides(models.bases)
    facts = TableFacts(
        notes=base_notes(run.config, run.summary["data"], models.bases, (test.get("tf_idf") or {}).get("note")),
        val_pairs=sum(len(sides[side]) for side in (("train", "val") if run.config.search.folds else ("val",))),
        contenders=run.summary.get("contenders") or {},
        spearman=run.summary.get("val_spearman") or {},
        guard=(run.summary.get("guard") or {}).get("models") or {},
        shares={trial: one["share"] for trial, one in (run.summary.get("merge") or {}).items()},
        usd=(run.summary.get("modal") or {}).get("usd_by_trial") or {},
    )
    fixed = [model.outcome.trial for model in finalists]
    write_leaderboard(run.folder.leaderboard, leaderboard_rows(outcomes, models.bases, test, fixed, facts))
    if test.get("quantised_note"):
        run.say(test["quantised_note"])
    apart = ("models", "comparisons", "verdicts", "correction", "quantised")
    verdict, verdicts, correction = test["verdict"], test.get("verdicts"), test.get("correction")
    if verdict and (instead := in_place_of_praise(run)):
        verdict, verdicts, correction = {**verdict, "outcome": "unknown", "sentence": instead}, [instead], ""
    record_spent(run.summary)
    run.summary.update(
        test={name: value for name, value in test.items() if name not in apart},
        verdict=verdict,
        verdicts=verdicts,
        correction=correction,
        comparisons=test.get("comparisons"),
        **({"quantised": test["quantised"]} if test.get("quantised") else {}),
    )
