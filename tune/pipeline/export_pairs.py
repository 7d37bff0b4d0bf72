"""The pairs of a finished search, read again for scoring an export: the same rows on the same sides, or none."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.search import search_config
from tune.config.toml import read_resolved
from tune.data.local_files import is_here
from tune.data.sides import LabelledPairs
from tune.data.split import labelled_sides, read_split_rows
from tune.errors import UserError
from tune.events import ignore
from tune.logs import only_from
from tune.pipeline.pairs import read_split
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary


@dataclass(frozen=True)
class Known:
    """The sides of a search, with their texts; None and why not. seed: of the search."""

    sides: dict[str, LabelledPairs] | None
    reason: str
    seed: int

    def scored(self, final: dict[str, Any]) -> tuple[str, LabelledPairs | None, str]:
        """Return the side to score a model on, its pairs, and why there are none. final: the model's numbers.

        A trial that test has not scored is scored on val: test is for finalists alone.
        """
        side = "val" if final["test"] is None else "test"
        if self.sides is None:
            return side, None, self.reason
        pairs = self.sides[side]
        if len(set(pairs.label.tolist())) < 2:
            return side, None, "the search has no test side"
        return side, pairs, ""

    def train_texts(self, most: int) -> tuple[list[str], list[str]]:
        """Return a seeded sample of the distinct first texts of train, and one of the second texts."""
        if self.sides is None:
            return [], []
        train = self.sides["train"]
        first, second = (self._some(list(dict.fromkeys(texts)), most) for texts in (train.text_a, train.text_b))
        return first, second

    def _some(self, texts: list[str], most: int) -> list[str]:
        order: NDArray[np.int64] = np.random.default_rng(self.seed).permutation(len(texts))[:most]
        return [texts[at] for at in order]


def known_pairs(folder: ResultsFolder, summary: Summary) -> Known:
    """Read the pairs that a search's files name, if they are on this machine and have not changed.

    Nothing is fetched. Rows and sides must be those of split.parquet, else no pair is known to be of test.
    """
    config = search_config(**read_resolved(folder.config))
    seed = config.search.seed
    if not is_here(config.data.data):
        return Known(None, "the pairs of the search are not on this machine", seed)
    try:
        # The search has said what reading the pairs says.
        with only_from(logging.ERROR, "tune.data"):
            split, _ = read_split(config, ignore, begun=True)
    except (UserError, OSError):
        return Known(None, "the pairs of the search can no longer be read", seed)
    rows = read_split_rows(folder.split)
    if rows is None or rows.row_hash != list(split.row_hash) or split.digest != summary["data"]["split_hash"]:
        return Known(None, "the pairs have changed since the search", seed)
    return Known(labelled_sides(split, seed), "", seed)
