"""Validation: the held-out pairs that a frozen trial scores at each report."""

import numpy as np
import torch
from numpy.typing import NDArray

from tune.config.trial import TrainedSide
from tune.embed.maps import gathered
from tune.embed.similarity import pair_cosine, rows_by_side, used_rows
from tune.embed.view import PairRows, View
from tune.train.frozen.dense import Dense
from tune.train.setup import weights_diverged


class Validation:
    """Held-out pairs, scored at one or more dims; each text goes through the Dense layer once. label: [pairs].

    side: which texts go through it, the others keep their vectors.
    """

    def __init__(
        self,
        view: View,
        pairs: PairRows,
        dims: tuple[int | None, ...],
        device: torch.device,
        side: TrainedSide = "both",
    ) -> None:
        if side == "query":
            first, second, rows = rows_by_side(pairs)
            self._a, self._b = rows.a, rows.b
            self._fixed: torch.Tensor | None = torch.from_numpy(gathered(view.vectors, second)).to(device)
        else:
            first, (self._a, self._b) = used_rows(pairs)
            self._fixed = None
        self._vectors = torch.from_numpy(gathered(view.vectors, first)).to(device)
        self._dims = dims
        self.label = pairs.label

    @torch.inference_mode()
    def scores(self, dense: Dense) -> list[NDArray[np.float64]]:
        """Return cosine similarities [pairs] at each of the dims. Raises TrialFailed if any is not finite."""
        embedded = dense(self._vectors)
        if self._fixed is not None:
            embedded = torch.cat([embedded, self._fixed])
        scores = [pair_cosine(embedded[:, :dims], self._a, self._b) for dims in self._dims]
        if not all(np.isfinite(at).all() for at in scores):
            raise weights_diverged()
        return scores
