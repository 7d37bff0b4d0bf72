"""What an export records besides its weights: the trial, its numbers, and what its search found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune.config.paths import without_paths, without_these
from tune.config.search import SearchConfig
from tune.config.space import AXES, Range, point_of
from tune.config.trial import TrialConfig
from tune.embed.base_card import public_name
from tune.embed.prepare import PreparedBase
from tune.embed.routes import side_routes
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard
from tune.results.summary import Summary

_SCORES = ("val_auc", "test_auc", "test_auc_low", "test_auc_high", "test_accuracy")


@dataclass(frozen=True)
class Baseline:
    """An untouched model that the search scored. scores: the leaderboard's numbers, without those it lacks."""

    name: str
    base_model: str
    dims: str
    scores: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True)
class Findings:
    """What a search found besides this trial, for the card; all empty where the results folder does not say.

    baselines: as the leaderboard has them. verdicts: sentences about the winner. data: the summary's facts about the
    pairs. space: axis -> what was searched, for the axes with several values. provenance: name -> value.
    """

    baselines: Sequence[Baseline] = ()
    verdicts: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportFacts:
    """What an export records besides its weights.

    finals: by dims, ascending; the model outputs the last. Each has val_auc, threshold (cosine from which a pair counts
    as positive: best accuracy on val), logistic_threshold (the one behind the hard AUC) and test (scores, if the trial
    was a finalist); val_spearman if the pairs have graded scores. search: provenance of the search. merge, guard: how
    the model was merged with its base, and its AUC on guard sets, as the summary has them; None where it does not.
    """

    trial: str
    config: TrialConfig
    base: PreparedBase
    finals: dict[int, dict[str, Any]]
    search: dict[str, Any]
    findings: Findings = Findings()
    merge: Mapping[str, Any] | None = None
    guard: Mapping[str, Any] | None = None

    @property
    def final(self) -> dict[str, Any]:
        """The numbers of the model at its full dims."""
        return self.finals[self.dims]

    @property
    def dims(self) -> int:
        """Dimensions of the model's vectors."""
        return max(self.finals)

    @property
    def prompts(self) -> tuple[str, str]:
        """Prompts of first and second texts, as the exported model takes them: with the routes that it adds."""
        own = (self.base.prompt_a, self.base.prompt_b)
        routed = self.config.side == "query" and self.base.closed is None
        return side_routes(own, self.base.routed) if routed else own

    @property
    def settings(self) -> dict[str, Any]:
        """The trial's configuration, with a base model's folder by its name alone."""
        return {**self.config.model_dump(), "base_model": public_name(self.base.name)}

    @property
    def chosen(self) -> dict[str, str]:
        """The configuration for people: the axes that apply, the seed, and what else is not at its default."""
        axes, fields = point_of(self.config), type(self.config).model_fields
        return {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else _value(name, value)
            for name, value in self.settings.items()
            if name in axes or name == "seed" or value != fields[name].default
        }


def findings_of(folder: ResultsFolder, summary: Summary, config: SearchConfig) -> Findings:
    """Return what a finished search found."""
    rows = read_leaderboard(folder.leaderboard) if folder.leaderboard.exists() else []
    verdicts = summary.get("verdicts") or [(summary.get("verdict") or {}).get("sentence") or ""]
    return Findings(
        baselines=[_baseline(row) for row in rows if row["status"] == "baseline"],
        verdicts=[public(verdict, config) for verdict in verdicts if verdict],
        data=summary.get("data") or {},
        space=searched(config),
        provenance=_provenance(summary),
    )


def public(found: Any, config: SearchConfig) -> Any:
    """Return sentences, also inside lists and dicts, with the names of base models but not the paths of folders."""
    if isinstance(found, dict):
        return {name: public(value, config) for name, value in found.items()}
    if isinstance(found, list):
        return [public(value, config) for value in found]
    if not isinstance(found, str):
        return found
    return without_these(found, {name: public_name(name) for name in config.base_models})


def searched(config: SearchConfig) -> dict[str, str]:
    """Return the axes that a search varied, each with its values; those of several tables side by side."""
    found = {}
    for axis in AXES:
        given = dict.fromkeys(getattr(space, axis) for space in config.spaces)
        several = len(given) > 1 or any(not isinstance(values, tuple) or len(values) > 1 for values in given)
        if several:
            found[axis] = " or ".join(dict.fromkeys(_values(axis, values) for values in given))
    return found


def _values(axis: str, values: Any) -> str:
    if isinstance(values, Range):
        return f"{values.low:g} to {values.high:g}" + (", logarithmic" if values.log else "")
    if not isinstance(values, tuple):
        return str(values)
    return ", ".join(_value(axis, value) for value in values)


def _value(axis: str, value: Any) -> str:
    if axis == "base_model":
        return public_name(str(value))
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return "all" if axis == "train_size" and value == 0 else str(value)


def _baseline(row: Mapping[str, str]) -> Baseline:
    scores = {name: float(row[name]) for name in _SCORES if row.get(name)}
    name = public_name(row["base_model"])
    return Baseline(name, row["base_model"], row["dims"], scores, row.get("note") or "")


def _provenance(summary: Summary) -> dict[str, str]:
    trials = ", ".join(f"{count} {status}" for status, count in (summary.get("trials") or {}).items() if count)
    versions = ", ".join(f"{name} {found}" for name, found in (summary.get("versions") or {}).items() if found)
    data = summary.get("data") or {}
    facts = {
        "command": without_paths(summary.get("command") or ""),
        "search": summary.get("search"),
        "trials": trials,
        "seed": summary.get("seed"),
        "split hash": data.get("split_hash"),
        "started": summary.get("started"),
        "extends": (summary.get("extends") or {}).get("name"),
        "test first opened": (summary.get("extends") or {}).get("test_opened"),
        "test opened": (summary.get("test") or {}).get("opened"),
        "versions": versions,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}
