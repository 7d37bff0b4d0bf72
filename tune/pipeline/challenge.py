"""A new base model against the winner of a finished search: the same split, and the same test pairs to compare on.

Nothing of the incumbent is trained, embedded or scored again: its cosines of the test pairs are in scores.parquet. Only
where an earlier version wrote none does its exported model score these pairs once more.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tune.config.search import OPTIONS, RESUMABLE, SearchConfig, search_config
from tune.config.toml import read_resolved
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.adapted import ABOUT, is_adapted
from tune.embed.model_files import local_folder
from tune.embed.prepare import PreparedBase
from tune.errors import ModelError, ResultsError, UserError
from tune.evaluate.challenge import Contender, caution, compare, unknown
from tune.events import Emit, Message
from tune.pipeline.backend import Backend
from tune.pipeline.challenge_scores import ByHash, common_scores, cosines_of_best, kept_cosines, read_kept
from tune.pipeline.labels import in_place_of_praise
from tune.pipeline.run import Run
from tune.pipeline.search import SearchJob, run_search
from tune.results.layout import ResultsFolder, existing_folder
from tune.results.looks import Look, looks_at, looks_sentence
from tune.results.naming import short_name
from tune.results.provenance import now
from tune.results.summary import Summary
from tune.train.trained import dims_of, model_key

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Incumbent:
    """A finished search that has a winner and a test side; see `read_incumbent`."""

    folder: ResultsFolder
    summary: Summary

    @property
    def name(self) -> str:
        """The search's name."""
        return self.folder.root.resolve().name

    @property
    def split_hash(self) -> str:
        """The hash of its split."""
        return str(self.summary["data"]["split_hash"])


@dataclass(frozen=True)
class ChallengeJob:
    """What to do. config: of the search of the new base models, with a name; it has passed `check_search`.

    resume: whether that search has begun (see `has_begun`). command: for the summaries.
    """

    incumbent: Incumbent
    config: SearchConfig
    command: str
    resume: bool


def read_incumbent(path: Path) -> Incumbent:
    """Return the search in a results folder. Raises ResultsError if it cannot be challenged."""
    folder = existing_folder(path if path.name else path.resolve())
    summary = Summary(folder.summary)
    if not (summary.get("finished") or summary.get("test")):
        raise ResultsError(
            f"{path}: this search is not finished; finish it with: python -m tune search --resume {folder.name} "
            f"--results {folder.root.parent}"
        )
    if not summary.get("winner"):
        raise ResultsError(f"{path}: no trial produced a model, so there is no winner to challenge; start a new search")
    if summary.get("out_of_fold"):
        raise ResultsError(
            f"{path}: this search has no test side, and winners judged out of fold cannot be compared afterwards; "
            "search the old and the new base model together: --base-model OLD,NEW"
        )
    if folder.scores.is_file():
        read_kept(folder, _winner(summary)[2])
    else:
        _check_best(folder)
    return Incumbent(folder, summary)


def _check_best(folder: ResultsFolder) -> None:
    """Raise ResultsError if the winner cannot be scored again, where an earlier version kept no scores."""
    missing = f"{folder.root}: there is no scores.parquet, which earlier versions did not write"
    if not (folder.best / ABOUT).is_file():
        raise ResultsError(
            f"{missing}, and no model in {folder.best}, so its winner cannot be scored; export it first: python -m tune"
            f" export {folder.root} --to {folder.best}"
        )
    if is_adapted(folder.best):
        raise ResultsError(
            f"{missing}, and its winner is a layer on a closed model: scoring it would buy the texts of test again; "
            "search both base models together: --base-model OLD,NEW (what the cache has is not bought again)"
        )


def check_new(incumbent: Incumbent, names: Sequence[str]) -> None:
    """Raise ModelError if the incumbent's search has tried one of these base models."""
    known = {_identity(name): name for name in incumbent.summary.get("bases") or {}}
    for name in names:
        if before := known.get(_identity(name)):
            raise ModelError(
                f"base model {name} is already among those of {incumbent.folder.root} ({', '.join(known.values())}); "
                f"its results are in {incumbent.folder.leaderboard}"
                + ("" if before == name else f", under the name {before}")
            )


def _identity(name: str) -> str:
    folder = local_folder(name)
    return name if folder is None else str(folder.resolve())


def default_name(incumbent: Incumbent, names: Sequence[str]) -> str:
    """Return the name of the new results folder: NAME-vs-MODEL."""
    models = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(map(short_name, names)))
    return f"{incumbent.name}-vs-{models}"[:_LONGEST_NAME]


def has_begun(incumbent: Incumbent, config: SearchConfig) -> bool:
    """Return whether the folder of the new search holds an earlier run of this challenge, to be continued.

    Raises ResultsError if it holds another search.
    """
    folder = ResultsFolder(config.search.results / str(config.search.name))
    if not folder.config.is_file():
        return False
    try:
        same = _decisive(search_config(**read_resolved(folder.config))) == _decisive(config)
    except UserError:
        same = False
    earlier = Summary(folder.summary).get("challenge")
    if not same or (earlier and earlier["incumbent"]["trial"] != incumbent.summary["winner"]["trial"]):
        raise ResultsError(
            f"{folder.root} holds another search, or this one with other options; choose another --name, or give the "
            "options that it began with to continue it"
        )
    return True


def _decisive(config: SearchConfig) -> dict[str, Any]:
    """Return the options that decide a search's numbers. Where the pairs are does not: their split has a hash."""
    free = {*RESUMABLE, "name", "data"}
    left_out: dict[str, Any] = {"search": set(), "data": set(), "closed": set()}
    for name in free:
        left_out[OPTIONS[name][0]].add(name)
    if not config.closed_models:
        left_out["closed"] = True  # not written without closed models
    # pydantic warns that a range is no tuple, which its type allows.
    return config.model_dump(exclude=left_out, warnings=False)


def run_challenge(job: ChallengeJob, backend: Backend, emit: Emit) -> ResultsFolder:
    """Search the new base models, or what is left to do, and compare; return the new results folder, complete.

    A finished challenge is left as it is: no search, no look at test. Raises as `run_search` does.
    """
    options = job.config.search
    folder = ResultsFolder(options.results / str(options.name))
    ended = job.resume and Summary(folder.summary).get("challenge") is not None
    if ended and (folder.report.exists() or not options.report):
        emit(Message(f"{folder.root}: this challenge has ended; nothing is searched or scored again"))
        _record(job.incumbent, Summary(folder.summary), folder, lambda text: emit(Message(text)))
        return folder
    search = SearchJob(
        job.config,
        job.command,
        str(options.name) if job.resume else None,
        split_hash=job.incumbent.split_hash,
        then=partial(_judge, job),
    )
    return run_search(search, backend, emit)


def _judge(job: ChallengeJob, run: Run) -> None:
    """Compare the two winners, and write the outcome into both summaries; nothing if the new search has no winner."""
    if not run.summary.get("winner"):
        return
    if run.summary.get("challenge") is None:
        run.summary.update(challenge=_compared(job, run))
    _record(job.incumbent, run.summary, run.folder, run.say)


def _compared(job: ChallengeJob, run: Run) -> dict[str, Any]:
    """Return the comparison of the two winners on the test pairs that both have scored, as the summary keeps it."""
    old, new = _winner(job.incumbent.summary), _winner(run.summary)
    bases = {name: PreparedBase.from_json(values) for name, values in run.summary["bases"].items()}
    pairs = run.sides(bases)["test"]
    found = common_scores(
        kept_cosines(run.folder, new[2], run.split), _cosines_of(job.incumbent, pairs, run), run.split, pairs
    )
    if found.left_out:
        run.say(f"{found.left_out} test pairs are left out of the comparison: one of the two models has no vector")
    parents = {job.incumbent.folder.root.absolute().parent, run.folder.root.absolute().parent}
    recorded = [*_recorded(job.incumbent.summary), _own_look(run.folder, run.summary)]
    looks = looks_at(job.incumbent.split_hash, parents, recorded)
    challenger, incumbent = (
        Contender(config, dims, scores) for (config, dims, _), scores in zip((new, old), found.scores, strict=True)
    )
    seed = run.config.search.seed
    result = compare(challenger, incumbent, found.pairs, seed, len(looks))
    if instead := in_place_of_praise(run):
        result = unknown(result, instead)
    return {
        **result,
        "better": {"beats": "challenger", "behind": "incumbent"}.get(result["outcome"]),
        "challenger": _about(run.folder, run.summary, challenger, new[2]),
        "incumbent": _about(job.incumbent.folder, job.incumbent.summary, incumbent, old[2]),
        "looks": {
            "count": len(looks),
            "by": [look.to_json() for look in looks],
            "sentence": looks_sentence(looks),
            "caution": caution(result, len(looks)),
        },
        "commands": {"incumbent": job.incumbent.summary.get("command"), "challenge": job.command},
        "compared": now(),
    }


def _cosines_of(incumbent: Incumbent, pairs: LabelledPairs, run: Run) -> ByHash:
    """Return the incumbent's cosines of test pairs: kept ones, or without any those of its exported model."""
    _, dims, key = _winner(incumbent.summary)
    if incumbent.folder.scores.is_file():
        return kept_cosines(incumbent.folder, key, run.split)
    run.say(f"{incumbent.folder.root} has no scores.parquet: its best/ embeds the texts of {len(pairs)} test pairs")
    return cosines_of_best(incumbent.folder, key, dims, pairs, run.emit, trusted=run.config.search.trust_remote_code)


def _winner(summary: Summary) -> tuple[TrialConfig, int, str]:
    """Return a winner's configuration, the dims that rank it, and its key in scores.parquet."""
    winner = summary["winner"]
    config = TrialConfig(**winner["config"])
    dims = dims_of(config, int(summary["bases"][config.base_model]["dims"]))[0]
    return config, dims, model_key(winner["trial"], dims, config)


def _about(folder: ResultsFolder, summary: Summary, winner: Contender, key: str) -> dict[str, Any]:
    return {
        "name": folder.root.resolve().name,
        "results": folder.label,
        "best": str(folder.best),
        "trial": summary["winner"]["trial"],
        "key": key,
        "base_model": winner.config.base_model,
        "described": winner.described,
        "dims": winner.dims,
    }


def _recorded(summary: Summary) -> list[dict[str, Any]]:
    """Return the looks that a search's summary has written down: its own challenge's, and those of its challengers."""
    own = ((summary.get("challenge") or {}).get("looks") or {}).get("by") or []
    return [*own, *(one["look"] for one in summary.get("challenged_by") or [])]


def _own_look(folder: ResultsFolder, summary: Summary) -> dict[str, str]:
    return Look(summary["test"]["opened"], folder.root.resolve().name, "challenge").to_json()


def _record(incumbent: Incumbent, summary: Summary, folder: ResultsFolder, say: Callable[[str], None]) -> None:
    """Write the outcome into the incumbent's summary as well, once; a folder that cannot be written stays as it is."""
    outcome = summary["challenge"]
    entry = {
        "name": outcome["challenger"]["name"],
        "look": _own_look(folder, summary),
        **{name: outcome["challenger"][name] for name in ("results", "base_model", "trial", "key")},
        **{name: outcome[name] for name in ("delta", "low", "high", "outcome", "sentence", "compared")},
        "command": outcome["commands"]["challenge"],
    }
    try:
        with incumbent.folder.locked():
            kept = Summary(incumbent.folder.summary)
            before = kept.get("challenged_by") or []
            if entry not in before:
                kept.update(challenged_by=[*(one for one in before if one["look"] != entry["look"]), entry])
    except (OSError, ResultsError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        say(f"Warning: {incumbent.folder.summary} does not name this challenge yet ({reason}); run the command again")
