"""The bootstrap of some pairs, by the texts they share: the same for every model, and for every command."""

import numpy as np
from numpy.typing import NDArray

from tune.data.clean import normalise
from tune.data.sides import LabelledPairs
from tune.metrics.two_way import Drawn, bootstrap_over, linked


def draws_of(pairs: LabelledPairs, seed: int) -> Drawn:
    """Return the bootstrap that fits these pairs.

    What the split calls a component does not matter here: given a fixed model, texts that test shares with train do
    not tie the errors of test pairs to one another. Texts that two test pairs share do, on whichever side. As for the
    split, two texts are the same if their normalised forms are.
    """
    return bootstrap_over(pairs.label, *_numbered(pairs), seed=seed)


def component_sizes(pairs: LabelledPairs) -> NDArray[np.int64]:
    """Return how many pairs each component has that shared texts form, [components]."""
    sizes: NDArray[np.int64] = np.bincount(linked(*_numbered(pairs)))
    return sizes


def _numbered(pairs: LabelledPairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the two texts of each pair as numbers, equal for equal texts."""
    texts = [normalise(text) for side in (pairs.text_a, pairs.text_b) for text in side]
    # Numbered in sorted order, so that draws depend neither on the order of the rows nor on other rows of the data.
    number = {text: place for place, text in enumerate(sorted(set(texts)))}
    ids = np.fromiter((number[text] for text in texts), np.int64, len(texts))
    return ids[: len(pairs)], ids[len(pairs) :]
