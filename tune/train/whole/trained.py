"""WholeModel: the model of a trial that trained its base model, as one that scores pairs and is exported.

MixedModel is the same model at any share of its training.
"""

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from torch.nn import Module

from tune.data.sides import LabelledPairs
from tune.embed.prepare import keyed_rows, view_texts
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import used_rows
from tune.embed.view import PairRows, View, ViewTexts
from tune.metrics.score import roc_auc
from tune.train.dense_module import module_first_dims, only_first_dims
from tune.train.outcomes import TrialOutcome
from tune.train.trained import Final, Models, TrialModel, Vectors
from tune.train.whole.model import Mixed, encode_rows, load_mixed, load_whole_model

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
        vectors, rows = found = self._val_encoded()
        self._encoded = found if vectors.nbytes <= _KEPT_BYTES else None
        return self._finals(view, self.scores(vectors, rows))

    def val_vectors(self) -> tuple[NDArray[np.float32], PairRows]:
        """Return the vectors of the validation pairs: those that `val` scored, if they are small and not yet taken."""
        found, self._encoded = self._encoded, None
        return found or self._val_encoded()

    def _val_encoded(self) -> tuple[NDArray[np.float32], PairRows]:
        view = View.open(self.base.view(self.cache))
        used, (a, b) = used_rows(view.val)
        return self.view_vectors(view, used), PairRows(a, b, view.val.label)

    def test_vectors(self, pairs: LabelledPairs, of_base: Vectors | None = None) -> Vectors:
        """Return the vectors of the test pairs' texts, and the pairs as rows of them. of_base: not used."""
        prompts = self.base.prompt_a, self.base.prompt_b
        _, rows = keyed_rows(pairs, *prompts)
        texts = view_texts(self.base.name, pairs, prompts, self.max_length)
        return self._encode(texts, np.arange(len(texts.texts))), rows

    def view_vectors(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of the texts in some rows of the base model's view, each encoded anew: [rows, dims]."""
        return self._encode(view.texts(), rows)

    def modules(self, source: SentenceTransformerSource) -> list[Module]:
        """Return the modules of the trained base, and its Dense layer if it has one."""
        *modules, last = self._load().children()
        if self.kept_dims is None:
            return [*modules, last]
        if isinstance(last, Dense):
            return [*modules, module_first_dims(last, self.kept_dims)]
        return [*modules, last, only_first_dims(self.base.dims, self.kept_dims)]

    def _load(self) -> SentenceTransformer:
        return load_whole_model(
            self.config,
            self.best,
            self.base.name,
            self.max_length,
            trust_remote_code=self.trust_remote_code,
            share=self.share,
        )

    def _encode(self, texts: ViewTexts, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return encode_rows(self._load(), texts, rows)


class MixedModel(WholeModel):
    """The model of such a trial at any share of its training, loaded once; for choosing the share."""

    _mixed: Mixed | None = None

    @classmethod
    def of(cls, outcome: TrialOutcome, models: Models) -> "MixedModel":
        """Return the model of a trial of this search."""
        base = models.bases[outcome.config.base_model]
        return cls(outcome, base, models.cache, models.max_length, models.trust_remote_code)

    def at(self, share: float) -> "MixedModel":
        """Return the model, changed in place to this share; see `Mixed`."""
        self.share = share
        return self

    def val_sample_auc(self, pairs: int) -> tuple[float, int]:
        """Return its AUC on the sample of val that its trial reported on, or else on at most so many pairs of val.

        Also how many pairs these are.
        """
        view = View.open(self.base.view(self.cache))
        index = self._sample(view)
        if len(index) > pairs and not self.sampled:
            index = np.sort(np.random.default_rng(self.config.seed).permutation(len(index))[:pairs])
        rows = view.val.take(index)
        used, (a, b) = used_rows(rows)
        scores = self.scores(self.view_vectors(view, used), PairRows(a, b, rows.label))
        return roc_auc(scores[self.dims[0]], rows.label), len(rows)

    def _load(self) -> SentenceTransformer:
        if self._mixed is None:
            self._mixed = load_mixed(
                self.config, self.best, self.base.name, self.max_length, trust_remote_code=self.trust_remote_code
            )
        return self._mixed.at(self.share)
