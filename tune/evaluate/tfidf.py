"""TF-IDF beside the untouched base models: what word overlap alone scores on the same pairs.

It is a row to look at: no trial competes with it, and no comparison or correction counts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.embed.tfidf import TFIDF, Tfidf
from tune.embed.view import View
from tune.train.trained import Final, Models, baseline_key, final_of

TFIDF_KEY = baseline_key(TFIDF)
"""Its key, in place of a trial's."""


@dataclass(frozen=True)
class TfidfBaseline:
    """TF-IDF fitted on train. final: its results on val. val [n]: its cosines there, as `base_on_val` has them."""

    fitted: Tfidf
    final: Final
    val: NDArray[np.float64]

    def test(self, pairs: LabelledPairs) -> NDArray[np.float64]:
        """Return the cosines of the test pairs."""
        return self.fitted.cosine(pairs.text_a, pairs.text_b)

    def to_json(self) -> dict[str, Any]:
        """Return how it was made: `terms`, `texts` (how many it was fitted on) and `note`, a sentence."""
        return {"terms": self.fitted.terms, "texts": self.fitted.texts, "note": self.fitted.note}


def tfidf_on_val(sides: Mapping[str, LabelledPairs], models: Models, seed: int) -> TfidfBaseline:
    """Fit TF-IDF on the texts of train, without labels, and score val; with folds, the pairs and folds of the trials.

    sides: those that the base models' views were made from.
    """
    train, base = sides["train"], next(iter(models.bases.values()))
    fitted = Tfidf.fit((*train.text_a, *train.text_b), seed)
    pairs = train.joined(sides["val"]) if base.folds else sides["val"]
    fold = View.open(base.view(models.cache)).folds(base.folds, base.seed) if base.folds else None
    scores = fitted.cosine(pairs.text_a, pairs.text_b)
    return TfidfBaseline(fitted, final_of(scores, pairs, fold), scores)
