"""Story: everything in a report on one search, read from its results folder and from nothing else.

A folder may be of a finished search, one that still runs or was interrupted (then there is no leaderboard yet, and
trials are read from their directories), or of an earlier version (then some facts are missing).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tune.config.closed import provider_of
from tune.config.space import point_of
from tune.data.split import SplitRows, read_split_rows
from tune.embed.tfidf import TFIDF
from tune.errors import ResultsError
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard
from tune.results.naming import short_name
from tune.results.scores import Scores, read_scores
from tune.train.kinds import kind_by_axes
from tune.train.outcomes import TrialOutcome, trial_outcomes

_TEXT_COLUMNS = frozenset(
    ("trial", "status", "base_model", "train", "side", "matryoshka", "loss", "scheduler", "activation", "error", "note")
)
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True)
class Line:
    """A row of the leaderboard with typed values; `values` lacks what the row leaves empty."""

    values: Mapping[str, Any]
    base_model: str = ""
    """The base model's name, as short as it is unique in these results."""

    def get(self, column: str) -> Any:
        """Return a column's value, None if it is empty."""
        return self.values.get(column)

    @property
    def trial(self) -> str:
        """The trial's name; "" for an untouched base model."""
        return str(self.values.get("trial") or "")

    @property
    def name(self) -> str:
        """Base model and what is trained, as figures and tables show it: "minilm (layer)", "minilm (untouched)"."""
        return f"{self.base_model} ({self.trains})"

    @property
    def is_baseline(self) -> bool:
        """Whether this is an untouched base model."""
        return self.values.get("status") == "baseline"

    @property
    def trains(self) -> str:
        """What is trained, in a word or two: layer, query layer, whole or LoRA.

        For a baseline: closed, untouched or words (TF-IDF).
        """
        if self.is_baseline:
            if self.values.get("base_model") == TFIDF:
                return "words"
            return "closed" if provider_of(str(self.values.get("base_model"))) else "untouched"
        axes = (self.values.get(axis) for axis in ("train", "side"))
        return kind_by_axes(self.values.get("freeze") is not False, *axes).label

    def interval(self, column: str) -> tuple[float, float, float] | None:
        """Return (value, low, high) of a column with an interval; None if a part is missing."""
        value, low, high = (self.values.get(name) for name in (column, f"{column}_low", f"{column}_high"))
        return None if value is None or low is None or high is None else (value, low, high)


@dataclass(frozen=True)
class Gain:
    """A trial's test AUC minus that of its untouched base model, with its paired 95% interval.

    clear: whether the two differ for sure, after any correction for the number of comparisons.
    """

    delta: float
    low: float
    high: float
    clear: bool

    @property
    def side(self) -> int:
        """1 if the trial is better for sure, -1 if it is worse for sure, else 0."""
        return 0 if not self.clear else 1 if self.delta > 0 else -1


@dataclass(frozen=True)
class Story:
    """A results folder. lines: the leaderboard, in its order. trials: with their reports, as they began; empty if the
    folder has lost its trials (as reference runs have).
    """

    folder: ResultsFolder
    summary: Mapping[str, Any]
    lines: list[Line]
    trials: list[TrialOutcome]

    @property
    def name(self) -> str:
        """The search's name."""
        return str(self.summary.get("name") or self.folder.root.resolve().name)

    @property
    def finished(self) -> bool:
        """Whether the search has ended with a leaderboard."""
        return bool(self.summary.get("finished")) or self.summary.get("test") is not None

    @property
    def state(self) -> str:
        """One sentence on a search that has not ended as planned; "" for one that has."""
        if not self.finished:
            return "This search has not ended: it is running, or was interrupted. Test has not been opened."
        interrupted = self.summary.get("interrupted")
        return f"The search stopped early: {interrupted}." if interrupted else ""

    @property
    def data(self) -> Mapping[str, Any]:
        """Facts about the pairs."""
        return self.summary.get("data") or {}

    def pairs_on(self, side: str) -> int | None:
        """Return the number of pairs on a side, None if unknown."""
        rows = (self.data.get("split") or {}).get("rows") or {}
        return rows.get(side)

    @cached_property
    def scores(self) -> Scores | None:
        """The cosines of the pairs of val and test; None if test has not been opened, or by an earlier version."""
        # Between scores.parquet and test.json, test is not opened yet.
        return read_scores(self.folder) if self.finished else None

    @cached_property
    def split(self) -> SplitRows | None:
        """The rows of split.parquet; None if it is missing or damaged."""
        return read_split_rows(self.folder.split)

    @cached_property
    def baselines(self) -> list[Line]:
        """The untouched base models."""
        return [line for line in self.lines if line.is_baseline]

    @cached_property
    def trained(self) -> list[Line]:
        """The trials, best by validation first."""
        return [line for line in self.lines if not line.is_baseline]

    @property
    def winner(self) -> Line | None:
        """The winner's row (at its smallest dims), None if there is none."""
        name = (self.summary.get("winner") or {}).get("trial")
        return next((line for line in self.trained if line.trial == name), None)

    def train_size(self, line: Line) -> int | None:
        """Return how many labelled pairs a trial trained on; 0 in the leaderboard means all.

        With folds, all but one of them.
        """
        size, folds, train = line.get("train_size"), line.get("folds"), self.pairs_on("train")
        if size:
            return int(size)
        if folds and train is not None:
            return int((train + (self.pairs_on("val") or 0)) * (folds - 1) // folds)
        return train

    def low_over(self, line: Line, baseline: Line) -> float | None:
        """Return the low end of the paired 95% interval of a trial's gain in test AUC over a baseline; None if unknown.

        Earlier versions kept only the gain over the trial's own base model.
        """
        name = baseline.get("base_model")
        entry = self._comparison(line, name)
        own = line.get("over_base_low") if line.get("base_model") == name else None
        low = own if entry is None else entry.get("low")
        return None if low is None else float(low)

    def gain(self, line: Line) -> Gain | None:
        """Return a trial's gain over its own untouched base model; None if unknown.

        It is as clear as the verdict on it, so that no figure claims what the verdict does not.
        """
        found = line.interval("over_base")
        if found is None:
            return None
        judged = self._comparison(line, line.get("base_model")) or {}
        if not judged and line is self.winner:  # earlier versions
            judged = self.summary.get("verdict") or {}
        delta, low, high = found
        return Gain(delta, low, high, clear=not low <= 0 <= high and judged.get("outcome") != "level")

    def _comparison(self, line: Line, base_model: str | None) -> Mapping[str, Any] | None:
        key = f"{line.trial}@{line.get('dims')}" if line.get("matryoshka") else line.trial
        entries = self.summary.get("comparisons") or []
        found = (one for one in entries if one.get("a") == key and one.get("b") == f"baseline:{base_model}")
        return next(found, None)

    @property
    def test_pairs(self) -> int | None:
        """The number of pairs that test was scored on."""
        scored = (self.summary.get("test") or {}).get("pairs")
        return self.pairs_on("test") if scored is None else int(scored)

    @property
    def inverted(self) -> str:
        """Evidence that the labels run the other way, as a sentence without a full stop, or ""."""
        return str((self.summary.get("inverted") or {}).get("sentence") or "")

    @property
    def praised(self) -> bool:
        """Whether differences from untouched models mean anything: not while labels look inverted."""
        found = self.summary.get("inverted")
        return not found or bool(found.get("confirmed"))


def read_story(folder: ResultsFolder) -> Story:
    """Read a results folder. Raises ResultsError if it has neither a summary nor a leaderboard, or they are damaged."""
    try:
        summary = json.loads(folder.summary.read_text()) if folder.summary.is_file() else {}
        rows = read_leaderboard(folder.leaderboard) if folder.leaderboard.is_file() else None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{folder.root}: cannot be read ({error}); restore a copy of it") from None
    trials = trial_outcomes(folder.trials, folder.asha) if folder.trials.is_dir() else []
    if not isinstance(summary, dict) or (not summary and rows is None):
        raise ResultsError(f"{folder.root} is not a results folder: it has no summary.json")
    found = [_values(row) for row in rows] if rows is not None else _unranked(trials)
    short = _short_names([str(values.get("base_model") or "") for values in found])
    lines = [Line(values, short[str(values.get("base_model") or "")]) for values in found]
    return Story(folder, summary, lines, trials)


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Return the short name of each base model, the whole name where that is not unique."""
    last = {name: short_name(name) for name in names}
    taken = Counter(last.values())
    return {name: short if taken[short] == 1 else name for name, short in last.items()}


def _values(row: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, text in row.items() if (value := _typed(name, text)) is not None}


def _typed(column: str, text: str | None) -> Any:
    if not text:
        return None
    if column in _TEXT_COLUMNS:
        return text
    if text in _FLAGS:
        return _FLAGS[text]
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text and "e" not in text.lower() else number


def _unranked(trials: list[TrialOutcome]) -> list[dict[str, Any]]:
    """Return a row per trial of a search that has no leaderboard yet, the best first."""
    begun = sorted(trials, key=lambda trial: -(trial.best.auc if trial.best else 0.0))
    return [
        {
            "trial": trial.trial,
            "status": trial.status,
            **{name: value for name, value in point_of(trial.config).items() if value is not None},
            **({"val_auc": trial.best.auc, "budget": trial.last.budget} if trial.best and trial.last else {}),
            **({"error": trial.error} if trial.error else {}),
        }
        for trial in begun
    ]
