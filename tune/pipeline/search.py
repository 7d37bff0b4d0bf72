"""One search from pairs to results: calls the rooms in order and holds no logic of theirs.

Every phase can be repeated: what an earlier run of the same search has finished is found on disk and kept. So
`--resume` is this pipeline on an existing folder.
"""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tune.config.search import SearchConfig
from tune.embed.orders import embed_bases
from tune.embed.prepare import PreparedBase
from tune.errors import DataError, ResultsError, pausing
from tune.evaluate.finalists import Choice, choose
from tune.evaluate.training_warnings import training_warnings
from tune.events import Emit, Message
from tune.export.about import damage
from tune.pipeline.backend import Backend, TrialsJob
from tune.pipeline.export import export_model
from tune.pipeline.extend import finished_search, take_trials
from tune.pipeline.guard import keep_the_rest, record_guards
from tune.pipeline.latency import measure_latency
from tune.pipeline.pairs import guards_of, read_split, with_train_sizes
from tune.pipeline.phases import (
    bought_usd,
    check_same_bases,
    embed_all,
    open_test_once,
    record_bought,
    record_start,
    write_table,
)
from tune.pipeline.rates import report_rates
from tune.pipeline.report import report_on
from tune.pipeline.run import Run
from tune.pipeline.tensorboard import write_pr_curves
from tune.pipeline.timing import Clock
from tune.pipeline.val_sample import choose_sample, untouched_aucs
from tune.report.pictures import drawing_ahead
from tune.results.contents import contents
from tune.results.layout import ResultsFolder, existing_folder, new_folder
from tune.results.naming import name_stem
from tune.results.provenance import now
from tune.results.summary import Summary
from tune.search.points import planned_trials, small_space
from tune.train.outcomes import TrialOutcome, outcomes_of, settle_trials
from tune.train.trained import Models, TrialModel

_BEFORE_TEST = "highest validation AUC, before the test side was opened"
_OUT_OF_FOLD = "highest mean AUC over the folds; there is no test side"


@dataclass(frozen=True)
class SearchJob:
    """What to search. config: has passed `check_search`. command: for the summary.

    resume: name of an existing folder; `config` is then that folder's. extends: name of a finished search, with whose
    trials this one begins; `config` is then that search's, with more trials. data: where the pairs are on this machine,
    if not where the configuration says; guards: the same of each guard set. split_hash: that the split must have, if it
    is compared with an earlier one. then: called once everything but the report is written, with the folder still
    locked.
    """

    config: SearchConfig
    command: str
    resume: str | None = None
    data: str | None = None
    guards: Sequence[str | None] = ()
    split_hash: str | None = None
    then: Callable[[Run], None] = lambda run: None
    extends: str | None = None


def run_search(job: SearchJob, backend: Backend, emit: Emit) -> ResultsFolder:
    """Run a whole search, or what is left of it. Returns the results folder, complete.

    Raises UserError for anything a user can fix, before anything costly. With everything kept, raises KeyboardInterrupt
    after Ctrl-C, Terminated after SIGTERM, and SearchPaused if a full disk or the like stops the search.
    """
    config, clock = job.config, Clock()
    with clock.phase("data"):
        split, facts = read_split(config, emit, job.data, begun=job.resume is not None)
        guards = guards_of(config, job.guards)
    if job.split_hash not in (None, split.digest):
        raise DataError(
            f"{split.pairs.source}: the pairs, or how they are split, have changed since the search to compare with; "
            "bring back its pairs (--data says where they are), or search both base models anew"
        )
    config = with_train_sizes(config, split, emit)
    finished = None if job.extends is None else finished_search(config, job.extends, split)
    if config.search.search == "grid":
        emit(Message(f"grid: {planned_trials(config)} trials"))
    if note := small_space(config):
        emit(Message(note))
    report_rates(config, emit)
    begun = None if job.resume is None else existing_folder(config.search.results / job.resume)
    if not (begun and begun.test.exists()):
        backend.agree(config, split, emit)
    folder = begun or new_folder(config.search.results, config.search.name, name_stem(config))
    with folder.locked(), pausing():
        folder.sweep()
        run = Run(config, folder, split, facts, Summary(folder.summary), clock, emit, backend, guards)
        if finished is not None:
            take_trials(run, finished)
        record_start(run, job.command)
        backend.commit()
        models, finalists = _search(run) if run.summary.get("winner") is None else _searched(run)
        with drawing_ahead() if config.search.report else contextlib.nullcontext():
            _finish(run, job, models, finalists)
    return folder


def _finish(run: Run, job: SearchJob, models: Models, finalists: list[TrialModel]) -> None:
    """Score test, and write everything that is left to write. finalists: in the order that was fixed."""
    folder, search, clock = run.folder, run.config.search, run.clock
    outcomes = _outcomes(folder, models.bases)
    finalists = keep_the_rest(run, models, finalists)
    with clock.phase("test"):
        test = _judged(run, models, outcomes, finalists)
    write_table(run, models, outcomes, finalists, test)
    run.backend.commit()
    with clock.phase("export"):
        if folder.best.exists() and (damaged := damage(folder.best)):
            run.say(f"{folder.best.name}: {damaged}; exported again")
            shutil.rmtree(folder.best)
        if finalists and not folder.best.exists():
            trust, pictured = search.trust_remote_code, search.report
            export_model(folder, None, folder.best, trust_remote_code=trust, pictured=pictured)
    run.backend.commit()
    if search.report:
        with clock.phase("latency"):
            measure_latency(run, models)
    files = contents(folder, run.summary.get("files"))
    run.summary.update(files=files, seconds={**clock.seconds, **(run.summary.get("seconds") or {})}, finished=now())
    job.then(run)
    report_on(run)
    run.backend.commit()


def _search(run: Run) -> tuple[Models, list[TrialModel]]:
    """Embed, search, and write the winner down; return the finalists, the winner first."""
    options = run.config.search
    for sentence in settle_trials(run.folder.trials, run.folder.asha):
        run.say(sentence)
    with contextlib.nullcontext() if _all_ended(run) else run.backend.ahead(run.config, run.emit):
        models = embed_all(run)
        sample = choose_sample(run, models)
        run.summary.update(val_sample=sample)
        with run.clock.phase("search"):
            pairs = int((run.split.side == "train").sum())
            shared = options.trial_options() | {"val_sample": sample}
            job = TrialsJob(run.config, run.folder, models.bases, shared, pairs, bought_usd(run.summary))
            interrupted = run.backend.search(job, run.emit)
    outcomes = _outcomes(run.folder, models.bases)
    choice = choose(outcomes, models, options.finalists, options.search == "grid", run.say)
    run.summary.update(warnings=training_warnings(outcomes, untouched_aucs(run.config, models, sample)))
    # Before the winner is fixed: after that, a resumed search chooses no more.
    write_pr_curves(run, choice.finalists)
    chosen_by = _OUT_OF_FOLD if run.split.out_of_fold else _BEFORE_TEST
    _fix_winner(run.summary, outcomes, choice, interrupted, chosen_by)
    run.summary.update(**run.backend.facts())
    run.backend.commit()
    return models, choice.finalists


def _all_ended(run: Run) -> bool:
    """Return whether no trial is left to run, so that nothing needs to start for them.

    So it is if an earlier run was killed after its last trial and before the winner was fixed.
    """
    bases = {name: PreparedBase.from_json(values) for name, values in (run.summary.get("bases") or {}).items()}
    ended = [outcome for outcome in _outcomes(run.folder, bases) if outcome.status != "halfway"]
    return len(ended) >= planned_trials(run.config)


def _searched(run: Run) -> tuple[Models, list[TrialModel]]:
    """The finalists of a search whose winner is fixed: to search on would be to choose again after test was opened."""
    run.say("the winner is already fixed: rebuilding only what is missing")
    bases = {name: PreparedBase.from_json(values) for name, values in run.summary["bases"].items()}
    if not run.folder.test.exists():
        record_guards(run)
        # Killed before test was scored: its vectors may have left the cache since.
        guards = [guard.pairs for guard in run.guards]
        bases, _ = embed_bases(run.config, run.split, run.cache, run.emit, run.backend.embed, guards)
        record_bought(run.summary, bases)
        check_same_bases(run.summary, bases)
    models = run.models(bases)
    return models, _fixed_finalists(run.folder, run.summary, models)


def _judged(run: Run, models: Models, outcomes: list[TrialOutcome], finalists: Sequence[TrialModel]) -> dict[str, Any]:
    """Open test, or judge the winner out of fold if there is no test side."""
    if run.split.out_of_fold:
        from tune.pipeline.out_of_fold import judge_folds  # it imports torch, which is not needed before Ray starts

        return judge_folds(run, models, outcomes, finalists)
    return open_test_once(run, models, finalists)


def _outcomes(folder: ResultsFolder, bases: dict[str, PreparedBase]) -> list[TrialOutcome]:
    return outcomes_of(folder.trials, folder.asha, {name: base.digest for name, base in bases.items()})


def _fixed_finalists(folder: ResultsFolder, summary: Summary, models: Models) -> list[TrialModel]:
    """The finalists as they were fixed, the winner first."""
    by_name = {outcome.trial: outcome for outcome in _outcomes(folder, models.bases)}
    fixed: list[str] = summary.get("finalists") or []
    if gone := [name for name in fixed if name not in by_name or by_name[name].best is None]:
        raise ResultsError(f"{folder.root}: the directory of trial {gone[0]}, a finalist, is missing or damaged")
    return [models.of(by_name[name]) for name in fixed]


def _fix_winner(
    summary: Summary, outcomes: list[TrialOutcome], choice: Choice, interrupted: str, chosen_by: str
) -> None:
    """Write the winner down, by validation alone, before test is opened. Then the search is over."""
    statuses = [outcome.status for outcome in outcomes]
    summary.update(
        trials={status: statuses.count(status) for status in ("done", "stopped", "failed", "halfway")},
        interrupted=interrupted,
    )
    if choice.finalists:
        winner, spearman = choice.finalists[0], _val_spearman(choice)
        of_winner = spearman.get(winner.key(winner.dims[0]))
        summary.update(
            winner={
                "trial": winner.outcome.trial,
                "val_auc": winner.val_auc(),
                **({} if of_winner is None else {"val_spearman": of_winner}),
                "config": winner.config.model_dump(),
                "fixed": now(),
                "chosen_by": chosen_by,
            },
            finalists=[model.outcome.trial for model in choice.finalists],
            contenders={
                model.key(dims): final.val_auc
                for model in choice.contenders
                if model.sampled
                for dims, final in model.val().items()
            },
            **({"val_spearman": spearman} if spearman else {}),
        )


def _val_spearman(choice: Choice) -> dict[str, float]:
    """Return how well the contenders' cosines agree with graded scores on all of val, by model key; {} without any."""
    return {
        model.key(dims): final.val_spearman
        for model in choice.contenders
        for dims, final in model.val().items()
        if final.val_spearman is not None
    }
