"""Validation: the held-out pairs that a frozen trial scores at each report."""

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import Dense

from tune.embed.similarity import pair_cosine, used_rows
from tune.embed.view import PairRows, View
from tune.train.setup import weights_diverged


class Validation:
    """Held-out pairs, scored at one or more dims; each text goes through the Dense layer once. label: [pairs]."""

    def __init__(self, view: View, pairs: PairRows, dims: tuple[int | None, ...], device: torch.device) -> None:
        used, (self._a, self._b) = used_rows(pairs)
        self._vectors = torch.from_numpy(np.array(view.vectors[used])).to(device)
        self._dims = dims
        self.label = pairs.label

    @torch.inference_mode()
    def scores(self, dense: Dense) -> list[NDArray[np.float64]]:
        """Return cosine similarities [pairs] at each of the dims. Raises TrialFailed if any is not finite."""
        dense.eval()
        embedded = dense({"sentence_embedding": self._vectors})["sentence_embedding"]
        dense.train()
        scores = [pair_cosine(embedded[:, :dims], self._a, self._b) for dims in self._dims]
        if not all(np.isfinite(at).all() for at in scores):
            raise weights_diverged()
        return scores
