"""Guard sets: labelled pairs on which training should cost nothing. They are scored, and nothing is trained on them.

Read by the reader of `--data`; `general` comes with embedtune.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tune.config.addresses import shown
from tune.config.data import GENERAL, DataConfig
from tune.data.clean import clean_pairs, normalise
from tune.data.general import general_pairs
from tune.data.pairs import Columns, Pairs, check_data, read_pairs
from tune.data.sides import LabelledPairs
from tune.errors import DataError

MOST_PAIRS = 2_000
"""The most pairs of a guard set that are scored, drawn by the seed: base models that were trained encode them anew."""

_COLUMNS = ("text_a", "text_b", "label", "positive_label", "positive_from", "score", "score_min", "score_max")
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Guard:
    """A guard set. name: for display, unique, never a whole path. kept: pairs after cleaning, of which `pairs` are
    scored.
    """

    name: str
    pairs: LabelledPairs
    kept: int

    @property
    def digest(self) -> str:
        """A hash of the pairs that are scored; 16 hex digits."""
        digest = hashlib.sha256(self.pairs.label.tobytes())
        for text in (*self.pairs.text_a, *self.pairs.text_b):
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()[:16]

    def texts(self) -> set[str]:
        """Return the distinct normalised texts."""
        return {normalise(text) for text in (*self.pairs.text_a, *self.pairs.text_b)}

    def pairs_among(self, others: Iterable[tuple[str, str]]) -> int:
        """Return how many of its pairs are among other pairs, in either order."""
        known = {frozenset(map(normalise, pair)) for pair in others}
        own = zip(self.pairs.text_a, self.pairs.text_b, strict=True)
        return sum(frozenset(map(normalise, pair)) in known for pair in own)

    def facts(self, train: set[str]) -> dict[str, Any]:
        """Return what the summary says: name, pairs, positives, kept, hash, texts, texts_in_train.

        train: the normalised texts of train.
        """
        texts = self.texts()
        return {
            "name": self.name,
            "pairs": len(self.pairs),
            "positives": int((self.pairs.label == 1).sum()),
            "kept": self.kept,
            "hash": self.digest,
            "texts": len(texts),
            "texts_in_train": len(texts & train),
        }


def check_guards(config: DataConfig) -> None:
    """Check what needs no reading of the guard sets, as `check_data` does. Raises a one-line DataError."""
    for name in config.guards:
        if name != GENERAL:
            _named(name, check_data, _configs(config, name))


def read_guards(config: DataConfig, seed: int, places: Sequence[str | None] = ()) -> list[Guard]:
    """Return the guard sets in order, cleaned, each with both classes; at most MOST_PAIRS pairs of each.

    Column options of the data are used where a guard set has such columns, else its own are recognised by their names.
    places: where each is on this machine, if not where the configuration says. Raises a one-line DataError.
    """
    guards = []
    for number, name in enumerate(config.guards):
        place = places[number] if number < len(places) else None
        kept, _ = _named(name, lambda own: clean_pairs(_read(own)), _configs(config, place or name))
        order = np.random.default_rng(seed).permutation(len(kept))[:MOST_PAIRS]
        scored = kept.take(np.sort(order))
        guards.append(Guard(name, LabelledPairs(scored.text_a, scored.text_b, scored.label), len(kept)))
    return [Guard(shown, one.pairs, one.kept) for shown, one in zip(_shown(config.guards), guards, strict=True)]


def _read(config: DataConfig) -> Pairs:
    if config.data != GENERAL:
        return read_pairs(config)
    made = general_pairs()
    return Pairs(
        text_a=[a for a, _, _ in made],
        text_b=[b for _, b, _ in made],
        label=np.array([label for *_, label in made], np.int8),
        row=np.arange(len(made)),
        side=None,
        columns=Columns("text_a", "text_b", "label"),
        source=GENERAL,
    )


def _configs(config: DataConfig, place: str) -> list[DataConfig]:
    """Return how to read a guard set: with the column options of the data, then without."""
    given = {name: getattr(config, name) for name in _COLUMNS if getattr(config, name) is not None}
    plain = DataConfig(data=place)
    return [plain.model_copy(update=given), plain] if given and place != GENERAL else [plain]


def _named(name: str, use: Callable[[DataConfig], _T], configs: Iterable[DataConfig]) -> _T:
    """Return what the first configuration that fits gives. Raises the first one's DataError, with the option's name."""
    first: DataError | None = None
    for config in configs:
        try:
            return use(config)
        except DataError as error:
            first = first or error
    raise DataError(f"--guard {shown(name)}: {str(first).replace('--data', '--guard')}") from None


def _shown(names: Sequence[str]) -> list[str]:
    """Return the names for display: the last part of a path, numbered where that is not unique."""
    last = [name if name == GENERAL else Path(shown(name)).name or name for name in names]
    seen: Counter[str] = Counter()
    found = []
    for name in last:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
