"""WholeModel: the model of a trial that trained its base model, as one that scores pairs and is exported."""

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch.nn import Module

from tune.data.sides import LabelledPairs
from tune.embed.prepare import keyed_rows, view_texts
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.view import PairRows, View, ViewTexts
from tune.train.trained import Final, TrialModel
from tune.train.whole.model import encode_rows, load_whole_model

_LEAST_ROUNDING = 5e-3
_BF16_SWAPS = 60
"""Pairs of pairs that bf16 may rank the other way round: three times as many as seen with closely spaced cosines."""

_KEPT_BYTES = 24 * 2**20
"""The largest vectors of val that a model keeps in memory: there may be many contenders."""


class WholeModel(TrialModel):
    """The model of a trial that trained the base itself; texts are encoded by the model that is exported."""

    _encoded: tuple[NDArray[np.float32], PairRows] | None = None

    def val_auc(self) -> float:
        """Return the AUC over all of val, in fp32: on a GPU, its reports are in bf16."""
        return self.val()[self.dims[0]].val_auc

    def rounding(self) -> float:
        """Return the tolerance for `reported_auc`, wider than a layer's: on a GPU, reports score in bf16."""
        return max(_LEAST_ROUNDING, _BF16_SWAPS / self._comparisons())

    def _on_val(self, view: View) -> dict[int, Final]:
        vectors, rows = found = super().val_vectors()
        self._encoded = found if vectors.nbytes <= _KEPT_BYTES else None
        return self._finals(view, self.scores(vectors, rows))

    def val_vectors(self) -> tuple[NDArray[np.float32], PairRows]:
        """Return the vectors of the validation pairs: those that `val` scored, if they are small and not yet taken."""
        found, self._encoded = self._encoded, None
        return found or super().val_vectors()

    def test_vectors(self, pairs: LabelledPairs) -> tuple[NDArray[np.float32], PairRows]:
        """Return the vectors of the test pairs' texts, and the pairs as rows of them."""
        prompts = self.base.prompt_a, self.base.prompt_b
        _, rows = keyed_rows(pairs, *prompts)
        texts = view_texts(self.base.name, pairs, prompts, self.max_length)
        return self._encode(texts, np.arange(len(texts.texts))), rows

    def view_vectors(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of the texts in some rows of the base model's view, each encoded anew: [rows, dims]."""
        return self._encode(view.texts(), rows)

    def modules(self, source: SentenceTransformerSource) -> list[Module]:
        """Return the modules of the trained base, and its Dense layer if it has one."""
        return list(self._load().children())

    def _load(self) -> SentenceTransformer:
        return load_whole_model(
            self.config, self.best, self.base.name, self.max_length, trust_remote_code=self.trust_remote_code
        )

    def _encode(self, texts: ViewTexts, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return encode_rows(self._load(), texts, rows)
