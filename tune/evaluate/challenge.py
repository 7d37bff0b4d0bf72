"""A challenge in memory: the winners of two searches on the same test pairs, of which neither was chosen on them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.evaluate.draws import draws_of
from tune.metrics.intervals import Resampled
from tune.metrics.two_way import Drawn
from tune.metrics.verdict import ALPHA, Compared, storage, verdict
from tune.results.naming import short_name
from tune.train.kinds import FROZEN, kind_of


@dataclass(frozen=True, eq=False)
class Contender:
    """A winner. config: of its trial. dims: that rank it. scores: its cosines of the test pairs, [n]."""

    config: TrialConfig
    dims: int
    scores: NDArray[np.floating]

    @property
    def described(self) -> str:
        """The model in a few words: "minilm, LoRA, cosent"."""
        label = kind_of(self.config).label
        trained = [] if label == FROZEN.label else [label]
        return ", ".join([short_name(self.config.base_model), *trained, self.config.loss])


def compare(challenger: Contender, incumbent: Contender, pairs: LabelledPairs, seed: int, looks: int) -> dict[str, Any]:
    """Return the challenger against the incumbent on the same test pairs and the same draws, as plain values.

    Those of a verdict (`Verdict.to_json`: challenger minus incumbent), and `pairs`, `intervals` (`Drawn.to_json`),
    `aucs` (challenger and incumbent -> auc, low, high), `p_looks` (see `corrected`). pairs: the test pairs, with texts.
    looks: how often this test side has been looked at.
    """
    drawn = draws_of(pairs, seed)
    new, old = (drawn.bootstrap.resample(np.asarray(one.scores, np.float64)) for one in (challenger, incumbent))
    difference = drawn.bootstrap.difference_of(new, old)
    models = Compared(
        f"the challenger ({challenger.described})",
        f"the incumbent ({incumbent.described})",
        storage(challenger.dims, incumbent.dims),
    )
    # A family of one: whoever challenges again compares again, which `p_looks` accounts for.
    found = verdict(models, difference, difference.p, 1)
    return {
        **found.to_json(),
        "p_looks": corrected(difference.p, looks),
        "pairs": len(pairs),
        "intervals": drawn.to_json(),
        "aucs": {"challenger": _auc(drawn, new), "incumbent": _auc(drawn, old)},
    }


def corrected(p: float | None, looks: int) -> float | None:
    """Return the p-value of a comparison, corrected for every look after the first (Bonferroni); None if unknown."""
    return None if p is None else min(1.0, p * max(1, looks - 1))


def caution(result: dict[str, Any], looks: int) -> str:
    """Return whether a difference stays clear if p-values are corrected for the looks; "" where that changes nothing.

    result: as `compare` returns it. Without a full stop.
    """
    p = result["p_looks"]
    if result["outcome"] not in ("beats", "behind") or looks < 3 or p is None:
        return ""
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    clear = "stays clear" if p < ALPHA else "is no longer clear"
    return f"corrected for the {looks - 1} looks after the first, the difference {clear} ({shown})"


def unknown(result: dict[str, Any], sentence: str) -> dict[str, Any]:
    """Return the result without a decision, for this reason."""
    return {**result, "outcome": "unknown", "sentence": sentence, "p_looks": None}


def _auc(drawn: Drawn, model: Resampled) -> dict[str, float | None]:
    low, high = drawn.bootstrap.interval_of(model) or (None, None)
    return {"auc": model.value, "low": low, "high": high}


__all__ = ["Contender", "caution", "compare", "corrected", "unknown"]
