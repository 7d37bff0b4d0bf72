"""Vectors as they may be stored: dims and precision of every model scored on test, and the front that nothing beats.

The front and what is recommended from it are chosen on validation; test stands beside and chooses nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tune.metrics.verdict import share_of
from tune.report.story import Line, Story

PRECISIONS = ("float32", "float16", "int8", "binary")
WITHIN = 0.005
"""Validation AUC that smaller vectors may lose and still be recommended, and within which a point is near the front."""

_DECIMALS = 4
"""Of an AUC, as the tables show it."""
_MANY = 2.0
"""Points of test AUC from which on a loss is called one, though it was small on validation."""


@dataclass(frozen=True)
class Stored:
    """A model's vectors at some dims and precision. bytes: per vector. val, auc: AUC on validation and on test, with
    the ends of the test interval, None if unknown. trains: what is trained ("layer"; "untouched", "closed"). lost: test
    AUC of the best float32 vectors by validation minus this one's, with its paired interval; None if unknown.
    """

    trial: str
    base_model: str
    trains: str
    trained: bool
    dims: int
    precision: str
    bytes: float
    val: float
    auc: float
    low: float | None
    high: float | None
    lost: tuple[float, float, float] | None = None

    @property
    def name(self) -> str:
        """Base model and what is trained, as `Line.name` has it."""
        return f"{self.base_model} ({self.trains})"

    @property
    def points_lost(self) -> tuple[float, float, float] | None:
        """`lost` in points, AUC x 100."""
        if self.lost is None:
            return None
        lost, low, high = self.lost
        return 100 * lost, 100 * low, 100 * high

    @property
    def label(self) -> str:
        """Dims and precision: "128 int8"."""
        return f"{self.dims} {self.precision}"


def fair(story: Story) -> bool:
    """Return whether the search says what dims cost: it is a grid, or has Matryoshka trials. Others differ in more."""
    return _grid(story) or any(line.get("matryoshka") and line.get("test_auc") is not None for line in story.trained)


def stored(story: Story) -> list[Stored]:
    """Return the best by validation of each base model, kind, dims and precision, in that order of finding.

    Of a search that did not score quantised vectors, those in float32. Unless it is a grid, of trained models those of
    Matryoshka trials.
    """
    best: dict[tuple[str, str, int, str], Stored] = {}
    for one in _all(story):
        key = (one.base_model, one.trains, one.dims, one.precision)
        if key not in best or one.val > best[key].val:
            best[key] = one
    return list(best.values())


def of_winner(story: Story) -> list[Stored]:
    """Return the winner's vectors at all its dims and precisions, the smallest first."""
    winner = story.winner
    found = [one for one in _quantised(story) if winner is not None and one.trial == winner.trial]
    return sorted(found, key=lambda one: (one.bytes, -one.val))


def front_of(points: Sequence[Stored]) -> list[Stored]:
    """Return the trained points whose validation AUC exceeds that of all that take no more bytes, smallest first.

    By as many decimals as are shown: float32 is no better than float16 by the fifth.
    """
    front: list[Stored] = []
    for one in sorted((one for one in points if one.trained), key=lambda one: (one.bytes, -one.val)):
        if not front or round(one.val, _DECIMALS) > round(front[-1].val, _DECIMALS):
            front.append(one)
    return front


def near_front(one: Stored, front: Sequence[Stored]) -> bool:
    """Return whether a point is hardly worse on validation than the front at its size."""
    beside = [point.val for point in front if point.bytes <= one.bytes]
    return not beside or one.val >= beside[-1] - WITHIN


@dataclass(frozen=True)
class Advice:
    """The finding: `chosen` of the front against `full`, the best trained model's vectors in float32 by validation.

    close: whether chosen is within WITHIN of full on validation; else it is the next smaller, to show what that costs.
    """

    full: Stored
    chosen: Stored
    close: bool

    def sentence(self) -> str:
        """Return the finding, without a full stop. Points are of test AUC."""
        what, lost = _phrase(self.chosen, self.full), (self.full.auc - self.chosen.auc) * 100
        if self.chosen.bytes >= self.full.bytes:
            return f"The smallest, {what}, is also the best on validation"
        at = f"at {share_of(Fraction(self.chosen.bytes) / Fraction(self.full.bytes))} of the bytes"
        several = what.endswith("dims") and not what.startswith(self.chosen.precision)
        if round(lost, 1) <= 0:
            return f"{what} {'score' if several else 'scores'} no lower than {_phrase(self.full, self.chosen)} {at}"
        if self.close and lost < _MANY:
            return f"{what} {'keep' if several else 'keeps'} all but {lost:.1f} points of AUC {at}"
        return f"{what} {'lose' if several else 'loses'} {lost:.1f} points of AUC {at}"


def advice(points: Sequence[Stored]) -> Advice | None:
    """Return the smallest point of the front that is close to the best float32 vectors; None without trained points."""
    front = front_of(points)
    whole = [one for one in points if one.trained and one.precision == "float32"]
    if not front or not whole:
        return None
    full = max(whole, key=lambda one: (one.val, -one.bytes))
    close = next((one for one in front if one.val >= full.val - WITHIN), None)
    if close is not None and close.bytes < full.bytes:
        return Advice(full, close, close=True)
    smaller = [one for one in front if one.bytes < full.bytes]
    return Advice(full, smaller[-1], close=False) if smaller else Advice(full, full, close=True)


def _phrase(one: Stored, other: Stored) -> str:
    """Return a model's vectors as words, without what it shares with the other."""
    if one.precision == other.precision:
        return f"{one.dims} dims"
    return one.precision if one.dims == other.dims else f"{one.precision} at {one.dims} dims"


def _grid(story: Story) -> bool:
    return bool(story.summary.get("search") == "grid")


def _all(story: Story) -> list[Stored]:
    alike = {line.trial for line in story.trained if _grid(story) or line.get("matryoshka")}
    for found in (_quantised(story), _float32(story)):
        kept = [one for one in found if not one.trained or one.trial in alike]
        if any(one.trained for one in kept):
            return kept
    return []


def _quantised(story: Story) -> Iterator[Stored]:
    lines = {line.trial: line for line in story.trained}
    bases = {line.get("base_model"): line for line in story.baselines}
    for one in story.summary.get("quantised") or []:
        untouched = str(one["key"]).startswith("baseline:")
        line = bases.get(one["base_model"]) if untouched else lines.get(one["trial"])
        if line is not None and one["precision"] in PRECISIONS:
            yield Stored(
                "" if untouched else line.trial, line.base_model, line.trains, not untouched, int(one["dims"]),
                one["precision"], float(one["bytes"]), one["val_auc"], one["auc"], one["low"], one["high"], _lost(one),
            )  # fmt: skip


def _lost(entry: Mapping[str, Any]) -> tuple[float, float, float] | None:
    # Absent in results of earlier versions.
    lost, low, high = (entry.get(name) for name in ("lost", "lost_low", "lost_high"))
    return None if lost is None or low is None or high is None else (float(lost), float(low), float(high))


def _float32(story: Story) -> Iterator[Stored]:
    for line in story.lines:
        size, dims, val, auc = (line.get(name) for name in ("bytes_per_million_vectors", "dims", "val_auc", "test_auc"))
        if auc is not None and val is not None and size and dims:
            yield _of_line(line, float(size) / 1e6, val, auc)


def _of_line(line: Line, size: float, val: float, auc: float) -> Stored:
    _, low, high = line.interval("test_auc") or (auc, None, None)
    trial = "" if line.is_baseline else line.trial
    dims = int(line.get("dims"))
    return Stored(trial, line.base_model, line.trains, not line.is_baseline, dims, "float32", size, val, auc, low, high)
