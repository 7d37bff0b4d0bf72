"""Enough pairs: from how many training pairs on a model beats each baseline, and what twice the pairs would bring.

Only sizes that were measured count. Nothing here is chosen by test: models and baselines come in order of validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tune.metrics.power_law import fit_power_law, per_doubling
from tune.report.story import Line, Story
from tune.report.tables import Cell, Row, Table, number

PAIRED, APART = "paired difference", "intervals apart"
_NOTE = (
    "At this number of pairs and every larger one measured, the 95% interval of the paired difference in test AUC is"
    " above 0. Sizes are judged from the largest down to the first that fails, a fixed sequence that needs no"
    " correction. The number of models and baselines is not corrected for."
)
_NOTE_APART = (
    f"{APART.capitalize()}: no paired difference was computed; the interval of the model's AUC lies above that of the"
    " baseline, a stricter test."
)


@dataclass(frozen=True)
class Sized:
    """A trial scored on test, the best of its size by validation. mark: tells several searches apart, or ""."""

    story: Story
    mark: str
    line: Line

    @property
    def pairs(self) -> int:
        """How many labelled pairs it trained on."""
        return self.story.train_size(self.line) or 0

    @property
    def series(self) -> str:
        """Its line in the figure."""
        return f"{self.model}{self.mark}"

    @property
    def model(self) -> str:
        """Base model and what is trained, without the search."""
        return self.line.name


@dataclass(frozen=True)
class Baseline:
    """A model to beat, with its AUC on test. stories: the searches that hold it; label: its name in the figure."""

    label: str
    lines: list[tuple[Story, Line]]

    @property
    def auc(self) -> float:
        """Its AUC on test, the same in all of these searches."""
        return float(self.lines[0][1].get("test_auc"))


@dataclass(frozen=True)
class Crossing:
    """From how many pairs on (a size that was measured) a model beats a baseline; None if not for sure at `largest`.

    evidence: PAIRED or APART; "" where there are no intervals, so nothing is known.
    """

    model: str
    baseline: Baseline
    pairs: int | None
    evidence: str
    largest: int

    def sentence(self) -> str:
        """Return the finding, without a full stop."""
        if not self.evidence:
            return f"Whether {self.model} beats {self.baseline.label} is unknown, without an interval"
        if self.pairs is None:
            return f"{self.largest:,} pairs are not clearly enough for {self.model} to beat {self.baseline.label}"
        return f"{self.pairs:,} pairs are enough for {self.model} to beat {self.baseline.label}"


def sized(stories: Sequence[Story]) -> list[Sized]:
    """Return the best trials of every size, of all searches, the best model by validation first."""
    marks = _marks(stories)
    found = [
        Sized(story, mark, line)
        for story, mark in zip(stories, marks, strict=True)
        for line in best_of_size(story)
        if story.train_size(line)
    ]
    best: dict[str, float] = {}
    for one in found:
        best[one.series] = max(best.get(one.series, 0.0), one.line.get("val_auc") or 0.0)
    return sorted(found, key=lambda one: (-best[one.series], one.series, one.pairs))


def best_of_size(story: Story) -> list[Line]:
    """Return the trials scored on test that are best by validation: one per base model, kind and train size."""
    best: dict[tuple[str, str, int | None], Line] = {}
    for line in story.trained:
        if line.get("test_auc") is not None:
            # The leaderboard is in order of validation.
            best.setdefault((line.base_model, line.trains, story.train_size(line)), line)
    return list(best.values())


def baselines(stories: Sequence[Story]) -> list[Baseline]:
    """Return the baselines of all searches, the best by validation first; one for all if its AUC is the same."""
    lines = [
        (story, mark, line)
        for story, mark in zip(stories, _marks(stories), strict=True)
        for line in story.baselines
        if line.get("test_auc") is not None
    ]
    lines.sort(key=lambda one: -(one[2].get("val_auc") or 0.0))
    found: dict[str, Baseline] = {}
    for story, mark, line in lines:
        name = line.name
        same = {other.get("test_auc") for _, _, other in lines if other.name == name}
        label = name if one_split(stories) and len(same) == 1 else f"{name}{mark}"
        found.setdefault(label, Baseline(label, [])).lines.append((story, line))
    return list(found.values())


def one_split(stories: Sequence[Story]) -> bool:
    """Return whether all searches judge on the same pairs, so that their trials can be taken together."""
    hashes = {story.data.get("split_hash") for story in stories}
    return len(stories) == 1 or (len(hashes) == 1 and None not in hashes)


def groups(found: Sequence[Sized], stories: Sequence[Story]) -> dict[str, list[Sized]]:
    """Return the trials by model: those of several searches on one split (other seeds) together."""
    together = one_split(stories)
    by_model: dict[str, list[Sized]] = {}
    for one in found:
        by_model.setdefault(one.model if together else one.series, []).append(one)
    return by_model


def crossing(model: str, trials: Sequence[Sized], baseline: Baseline) -> Crossing | None:
    """Return from which size on all of these trials beat the baseline; None if no search has both."""
    judged = [(one.pairs, found) for one in trials if (found := _above(one, baseline)) is not None]
    if not judged:
        return None
    sure = None
    for size in sorted({pairs for pairs, _ in judged}, reverse=True):
        if not all(above for pairs, (above, _) in judged if pairs == size):
            break
        sure = size
    evidence = {how for _, (_, how) in judged}
    return Crossing(
        model, baseline, sure, APART if APART in evidence else max(evidence), max(pairs for pairs, _ in judged)
    )


def all_crossings(stories: Sequence[Story]) -> list[Crossing]:
    """Return the crossings of every model and baseline, both in order of validation; [] unless sizes differ."""
    found = sized(stories)
    if len({one.pairs for one in found}) < 2:
        return []
    made = (
        crossing(model, trials, baseline)
        for model, trials in groups(found, stories).items()
        for baseline in baselines(stories)
    )
    return [one for one in made if one is not None]


def outlook(trials: Sequence[Sized]) -> str:
    """Return what twice the pairs would bring to a model, by a power law, or why that cannot be said."""
    return _outlook(tuple(float(one.pairs) for one in trials), tuple(1 - one.line.get("test_auc") for one in trials))


@lru_cache
def _outlook(sizes: tuple[float, ...], errors: tuple[float, ...]) -> str:
    """Return the same; kept, since a fit takes a second, and the figure and the table both ask."""
    law = fit_power_law(sizes, errors)
    if isinstance(law, str):
        so_far = per_doubling(sizes, errors)
        known = "" if so_far is None else f". Over the sizes measured, each doubling brought {_points(*so_far)}"
        return f"What twice the pairs would bring cannot be estimated: {law}{known}"
    return (
        f"By a power law through the points, twice the pairs ({2 * round(max(sizes)):,}) would bring"
        f" {_points(law.gain, law.low, law.high)}: extrapolated, with a 95% interval from how the points scatter"
    )


def _points(gain: float, low: float, high: float) -> str:
    digits = 1 if abs(gain) >= 0.001 else 2
    gain, low, high = (100 * one for one in (gain, low, high))
    return f"{gain:z.{digits}f} points of AUC [{low:z.{digits}f}, {high:z.{digits}f}]"


def crossings_table(stories: Sequence[Story]) -> Table:
    """Return how many pairs each model needs to beat each baseline, and as notes what twice the pairs would bring."""
    columns = ["model", "baseline", "its test AUC", "pairs to beat it", "judged by"]
    made = all_crossings(stories) if all(story.praised for story in stories) else []
    if not made:
        return Table(columns, [])
    rows = [
        Row([Cell(one.model), Cell(one.baseline.label), number(one.baseline.auc), _pairs(one), Cell(one.evidence)])
        for one in made
    ]
    notes = [_NOTE, *([_NOTE_APART] if any(one.evidence == APART for one in made) else [])]
    by_model = groups(sized(stories), stories)
    if len(by_model) > 1:
        notes += [f"{model}: {_lower(outlook(trials))}." for model, trials in by_model.items()]
    return Table(columns, rows, frozenset({2, 3}), notes)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _pairs(one: Crossing) -> Cell:
    if one.pairs is None:
        return Cell(f"not clear at {one.largest:,}" if one.evidence else "unknown")
    return Cell(f"{one.pairs:,}", one.pairs)


def _above(one: Sized, baseline: Baseline) -> tuple[bool, str] | None:
    """Return whether a trial is above the baseline for sure, and by what; None if its search lacks the baseline.

    A paired interval is far narrower than the two AUCs' own, which may overlap where the difference is certain.
    """
    other = next((line for story, line in baseline.lines if story is one.story), None)
    if other is None:
        return None
    low = one.story.low_over(one.line, other)
    if low is not None:
        return low > 0, PAIRED
    here, there = one.line.interval("test_auc"), other.interval("test_auc")
    return (False, "") if here is None or there is None else (here[1] > there[2], APART)


def _marks(stories: Sequence[Story]) -> list[str]:
    """Return what tells the series of several searches apart: the search's name, or its path if names repeat."""
    if len(stories) == 1:
        return [""]
    names = [story.name for story in stories]
    places = [str(story.folder.root) for story in stories]
    return [f" [{name if names.count(name) == 1 else place}]" for name, place in zip(names, places, strict=True)]
