"""One search from pairs to results: calls the rooms in order and holds no logic of theirs.

Every phase can be repeated: what an earlier run of the same search has finished is found on disk and kept. So
`--resume` is this pipeline on an existing folder.
"""

from typing import Any

from tune.config.search import SearchConfig
from tune.data.split import Split
from tune.embed.orders import embed_bases
from tune.embed.prepare import PreparedBase
from tune.errors import ResultsError
from tune.evaluate.finalists import sound_finalists
from tune.events import Emit, Message
from tune.export.trial import export
from tune.pipeline.backend import Backend
from tune.pipeline.pairs import read_split
from tune.pipeline.phases import begin, embed_all, models_of, same_bases, score_once, write_table
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder, existing_folder, new_folder
from tune.results.naming import name_stem
from tune.results.provenance import now
from tune.results.summary import Summary
from tune.search.points import planned_trials
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.trained import Models, TrialModel


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

    `config` has passed `check_search`. resume: name of an existing folder; `config` is then the one of that
    folder. data: where the pairs lie on this machine, if not where the configuration says. UserError before anything
    costly where something is wrong. KeyboardInterrupt after Ctrl-C, with everything kept.
    """
    clock = Clock()
    with clock.phase("data"):
        split, facts = read_split(config, emit, data, begun=resume is not None)
    if config.search.search == "grid":
        emit(Message(f"grid: {planned_trials(config)} trials"))
    begun = None if resume is None else existing_folder(config.search.results / resume)
    if backend.agree is not None and not (begun and begun.test.exists()):
        backend.agree(config, split, emit)
    folder = begun or new_folder(config.search.results, config.search.name, name_stem(config))
    with folder.locked():
        summary = Summary(folder.summary)
        begin(config, folder, summary, split, facts, command)
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
                bases = same_bases(
                    summary, embed_bases(config, split, config.search.cache.expanduser(), emit, backend.embed)[0]
                )
            models = models_of(config, bases)
            finalists = _fixed_finalists(folder, summary, models)
        with clock.phase("test"):
            test = score_once(folder, config, split, models, finalists, emit)
        finalist_names = [model.outcome.trial for model in finalists]
        outcomes = _outcomes(folder, models.bases)
        write_table(folder, config, split, models, outcomes, finalist_names, test, summary)
        backend.kept()
        with clock.phase("export"):
            if finalists and not folder.best.exists():
                export(folder, None, folder.best)
        summary.update(seconds={**clock.seconds, **(summary.get("seconds") or {})}, finished=now())
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
    models = embed_all(config, backend, split, facts, summary, clock, emit)
    with clock.phase("search"):
        interrupted = backend.search(config, folder, models.bases, config.search.jobs or backend.jobs, emit)
    outcomes = _outcomes(folder, models.bases)
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
                "fixed": now(),
                "chosen_by": "highest validation AUC, before the test side was opened",
            },
            finalists=[model.outcome.trial for model in finalists],
        )
