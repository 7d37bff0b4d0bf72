"""One search from pairs to results: calls the rooms in order and holds no logic of theirs.

Every phase can be repeated: what an earlier run of the same search has finished is found on disk and kept. So
`--resume` is this pipeline on an existing folder.
"""

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tune.config.search import SearchConfig
from tune.config.toml import write_toml
from tune.data.clean import clean_pairs
from tune.data.pairs import Pairs, read_pairs
from tune.data.split import Split, split_pairs, text_overlaps, train_order, write_split
from tune.embed.prepare import LabelledPairs, PreparedBase, near_copies, prepare_base
from tune.embed.sources import knows_quora, load_source
from tune.embed.view import View
from tune.errors import ConfigError, ResultsError
from tune.events import Embedding, Emit, Message
from tune.export import ExportFacts, export_trial
from tune.files import write_atomic
from tune.finals import baseline_key, choose_finalists, open_test
from tune.results.layout import ResultsFolder, existing_folder, new_folder
from tune.results.leaderboard import Row, ranked, write_leaderboard
from tune.results.summary import Summary
from tune.search.outcomes import TrialOutcome, trial_outcomes

logger = logging.getLogger(__name__)

SIDES = ("train", "val", "test")
PACKAGES = ("embedtune", "ray", "optuna", "sentence-transformers", "transformers", "torch", "modal", "numpy")


@dataclass(frozen=True)
class Backend:
    """Where a search runs. The local one is `tune.local`; the cloud brings its own.

    jobs: trials at the same time where the configuration does not say. search: (config, folder, bases, jobs, emit) ->
    why it was interrupted, or "". device: kind of device that trials train on, for the summary.
    """

    jobs: int
    search: Callable[[SearchConfig, ResultsFolder, dict[str, PreparedBase], int, Emit], str]


@dataclass
class _Clock:
    """Seconds per phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Times the block as phase `name`; repeated ones add up."""
        return self._timed(name)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def read_split(config: SearchConfig, emit: Emit) -> tuple[Split, dict[str, Any]]:
    """Pairs read, cleaned and split, and what the summary says of them. UserError where they cannot be searched on."""
    raw = read_pairs(config.data)
    if raw.synthetic:
        emit(Message("No --data given: searching the embedded demo pairs (synthetic support questions)."))
    pairs, cleaned = clean_pairs(raw)
    split = split_pairs(pairs, config.search.seed, config.data.split)
    sides = {side: int((split.side == side).sum()) for side in SIDES}
    for size in config.space.train_size:
        if size > sides["train"]:
            raise ConfigError(
                [f"[space] train_size: {size} asked for, but the train side has {sides['train']} pairs; ask for less"]
            )
    dropped = {name: n for name, n in cleaned.items() if n and name not in ("read", "kept", "identical_kept")}
    emit(
        Message(
            f"{raw.source}: {cleaned['read']} pairs read, {cleaned['kept']} kept"
            + (f" ({', '.join(f'{n} {name}' for name, n in dropped.items())})" if dropped else "")
        )
    )
    emit(Message("split: " + ", ".join(_side_line(split, side) for side in SIDES)))
    facts = {
        "source": raw.source,
        "synthetic": raw.synthetic,
        "columns": raw.columns.__dict__,
        "counts": cleaned,
        "split": split.counts,
        "split_hash": split.digest,
        "leaks": {"texts_seen_in_train": text_overlaps(split)},
    }
    return split, facts


def _side_line(split: Split, side: str) -> str:
    chosen = split.side == side
    positive = float(split.pairs.label[chosen].mean())
    return f"{side} {int(chosen.sum())} pairs ({positive:.0%} positive)"


def labelled_sides(split: Split, seed: int) -> dict[str, LabelledPairs]:
    """The pairs of each side; train in its seeded order."""
    index = {side: np.flatnonzero(split.side == side) for side in ("val", "test")}
    index["train"] = train_order(split, seed)
    return {side: _labelled(split.pairs, index[side]) for side in SIDES}


def _labelled(pairs: Pairs, index: Any) -> LabelledPairs:
    taken = pairs.take(index)
    return LabelledPairs(taken.text_a, taken.text_b, taken.label)


def embed_bases(
    config: SearchConfig, split: Split, cache: Path, emit: Emit
) -> tuple[dict[str, PreparedBase], dict[str, Any]]:
    """Every base model's snapshot and view, and the counter of near copies (by the first base model)."""
    sides = labelled_sides(split, config.search.seed)
    bases: dict[str, PreparedBase] = {}
    leaks: dict[str, Any] = {}
    for name in config.space.base_model:
        emit(Message(f"{name}: loading"))
        source = load_source(name, config.search.precision, config.data.max_length)
        own = source.prompts(split.pairs.columns.query_document)
        prompts = (
            own[0] if config.data.prompt_a is None else config.data.prompt_a,
            own[1] if config.data.prompt_b is None else config.data.prompt_b,
        )

        def told(model: str, done: int, total: int, per_second: float) -> None:
            emit(Embedding(model, done, total, per_second))

        bases[name] = prepare_base(source, sides, cache, prompts, told)
        base = bases[name]
        rate = f", {base.embedded} embedded now ({base.embedded / base.seconds:.0f} texts/s)"
        emit(Message(f"{name}: {base.texts} texts{rate if base.embedded else ', all embedded before'}"))
        if config.search.precision == "bf16":
            # Test is reported as the exported model gives it, and that has fp32 weights.
            exact = load_source(name, "fp32", config.data.max_length)
            prepare_base(exact, {**sides, "train": sides["test"], "val": sides["test"]}, cache, prompts, told)
        if not leaks:
            leaks = _near_copies(base, sides, cache, config.search.seed)
    return bases, leaks


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
) -> ResultsFolder:
    """A whole search, or what is left of it. Returns the results folder, complete.

    `config` has passed tune.checks.check_search. resume: name of an existing folder; `config` is then the one of that
    folder. UserError before anything costly where something is wrong. KeyboardInterrupt after Ctrl-C, with everything
    kept.
    """
    clock = _Clock()
    with clock.phase("data"):
        split, facts = read_split(config, emit)
    folder = (
        existing_folder(config.search.results / resume)
        if resume is not None
        else new_folder(config.search.results, config.search.name, _stem(config))
    )
    with folder.locked():
        summary = Summary(folder.summary)
        _begin(config, folder, summary, split, facts, command)
        emit(Message(f"results: {folder.root}"))
        cache = config.search.cache.expanduser()
        with clock.phase("embedding"):
            bases, near = embed_bases(config, split, cache, emit)
        facts["leaks"]["near_copies_in_train"] = near
        summary.update(data=facts, bases={name: base.to_json() for name, base in bases.items()})
        with clock.phase("search"):
            interrupted = backend.search(config, folder, bases, config.search.jobs or backend.jobs, emit)
        outcomes = trial_outcomes(folder.trials, folder.asha)
        finalists = choose_finalists(outcomes, config.search.finalists, config.search.search == "grid")
        _fix_winner(summary, outcomes, finalists, interrupted)
        with clock.phase("test"):
            test = _score_once(folder, config, split, bases, finalists, emit)
        rows = leaderboard_rows(outcomes, bases, test, _notes(config, facts))
        write_leaderboard(folder.leaderboard, rows)
        seconds = {**(summary.get("seconds") or {}), **clock.seconds}
        summary.update(test={k: v for k, v in test.items() if k != "models"}, verdict=test["verdict"], seconds=seconds)
        with clock.phase("export"):
            if finalists and not folder.best.exists():
                export(folder, None, folder.best)
        summary.update(seconds={**seconds, **clock.seconds}, finished=_now())
    return folder


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
    write_split(split, folder.split)
    summary.update(
        name=folder.name,
        data=facts,
        seed=config.search.seed,
        search=config.search.search,
        command=command,
        started=_now(),
        versions={name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        cores=os.cpu_count(),
    )
    # Last: a folder with search.toml is one that --resume can go on with.
    write_atomic(folder.config, write_toml(config))


def _fix_winner(
    summary: Summary, outcomes: list[TrialOutcome], finalists: list[TrialOutcome], interrupted: str
) -> None:
    """Writes the winner down, by validation alone, before test is opened. Once written it stays."""
    statuses = [outcome.status for outcome in outcomes]
    summary.update(
        trials={status: statuses.count(status) for status in ("done", "stopped", "failed", "halfway")},
        interrupted=interrupted,
    )
    if summary.get("winner") is None:
        winner = finalists[0] if finalists else None
        summary.update(
            winner=None
            if winner is None
            else {
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
    import json

    if folder.test.exists():
        return dict(json.loads(folder.test.read_text()))
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


def leaderboard_rows(
    outcomes: list[TrialOutcome],
    bases: dict[str, PreparedBase],
    test: dict[str, Any],
    notes: dict[str, str],
) -> list[Row]:
    """The rows of the leaderboard, ranked."""
    models = test["models"]
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


def _notes(config: SearchConfig, facts: dict[str, Any]) -> dict[str, str]:
    """A note per base model: that it has seen the data, that the data are synthetic."""
    columns = {str(name).casefold() for name in facts["columns"].values()}
    quora = "quora" in str(config.data.data).casefold() or columns >= {
        "question1",
        "question2",
        "is_duplicate",
    }
    notes = {}
    for name in config.space.base_model:
        parts = ["synthetic data"] if facts["synthetic"] else []
        if quora and knows_quora(name):
            parts.append("base model was trained on Quora pairs")
        notes[name] = "; ".join(parts)
    return notes


def export(folder: ResultsFolder, trial: str | None, to: Path) -> Path:
    """A trial of a finished search (the winner where `trial` is None) as a SentenceTransformer directory."""
    import json

    from tune.config.search import search_config
    from tune.config.toml import read_toml
    from tune.finals import trial_val

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
    tested = json.loads(folder.test.read_text())["models"] if folder.test.exists() else {}
    config = search_config(**read_toml(folder.config))
    val = tested.get(outcome.trial)
    cache = config.search.cache.expanduser()
    if val is None and base.view(cache).exists():
        val = trial_val(outcome, base, cache).to_json()
    if val is None:
        # The cache is gone: the report has the threshold, and the logistic one is not known.
        val = {"threshold": best.threshold, "logistic_threshold": None, "val_auc": best.auc}
    facts = ExportFacts(
        trial=outcome.trial,
        config=outcome.config,
        base=base,
        threshold=val["threshold"],
        logistic_threshold=val["logistic_threshold"],
        val_auc=val["val_auc"],
        test=val.get("test"),
        search={
            "name": folder.name,
            "data": summary["data"]["source"],
            "synthetic": summary["data"]["synthetic"],
            "split_hash": summary["data"]["split_hash"],
            "winner": winner is not None and winner["trial"] == outcome.trial,
            "embedtune": _version("embedtune"),
        },
    )
    return export_trial(outcome.directory / "best.safetensors", facts, config.data.max_length, to)


def _stem(config: SearchConfig) -> str:
    data = "demo" if config.data.data is None else Path(config.data.data.split(":")[0]).name.split(".")[0]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in data)[:40]
    return f"{config.search.search}-{kept}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
