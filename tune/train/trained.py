"""Trained models: a trial's best weights as a model that scores pairs and is exported, for every kind of trial.

Scores are keyed by dims: a Matryoshka trial has several, any other trial one. Torch is imported once it is needed: a
search starts Ray first, and imports torch meanwhile.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import cosine, pair_cosine
from tune.embed.view import PairRows, View
from tune.metrics.score import ModelScore, fit_thresholds, roc_auc
from tune.metrics.spearman import spearman
from tune.train.kinds import TrialKind, kind_of
from tune.train.outcomes import TrialOutcome

if TYPE_CHECKING:
    from torch.nn import Module

    from tune.train.frozen.dense import Dense

Scores = dict[int, NDArray[np.float64]]
"""Cosine similarity of pairs, by dims."""

Vectors = tuple[NDArray[np.float32], PairRows]
"""Vectors [texts, dims], and pairs as rows of them."""


@dataclass(frozen=True)
class Final:
    """A model's results: AUC and fitted thresholds on val, and its score on test once test is opened.

    val_auc: over all validation pairs; with folds, the mean over the folds, and val_auc_std the standard deviation.
    val_spearman: Spearman's correlation with graded scores, if there are some, over the same pairs.
    """

    val_auc: float
    threshold: float
    logistic_threshold: float
    test: ModelScore | None = None
    val_auc_std: float | None = None
    val_spearman: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return asdict(self)


def dims_of(config: TrialConfig, base_dims: int) -> tuple[int, ...]:
    """Return the dims that a trial is scored at, ascending; it is ranked at the first."""
    return tuple(base_dims if dims is None else dims for dims in config.all_dims)


def model_key(trial: str, dims: int, config: TrialConfig) -> str:
    """Return the key of a trial at some dims: TRIAL, or TRIAL@DIMS for Matryoshka."""
    return f"{trial}@{dims}" if config.matryoshka else trial


def baseline_key(base_model: str) -> str:
    """Return the key of an untouched base model, used in place of a trial's."""
    return f"baseline:{base_model}"


def final_of(
    scores: NDArray[np.float64], pairs: PairRows | LabelledPairs, fold: NDArray[np.int8] | None = None
) -> Final:
    """Return the results on val for the scores [pairs] of these pairs.

    fold: [pairs], 0 to folds - 1; if given, AUC and Spearman's correlation are means over the folds. Thresholds are
    fitted on all pairs.
    """
    thresholds = fit_thresholds(scores, pairs.label)
    folds = [slice(None)] if fold is None else [fold == own for own in range(int(fold.max()) + 1)]
    aucs = [roc_auc(scores[own], pairs.label[own]) for own in folds]
    grades = pairs.score
    rhos = [] if grades is None else [spearman(scores[own], grades[own]) for own in folds]
    known = [rho for rho in rhos if rho is not None]
    return Final(
        float(np.mean(aucs)),
        thresholds.accuracy,
        thresholds.logistic,
        val_auc_std=None if fold is None else float(np.std(aucs, ddof=1)),
        val_spearman=float(np.mean(known)) if known and len(known) == len(folds) else None,
    )


def base_val(base: PreparedBase, cache: Path) -> Final:
    """Return the results of the untouched base model on val; with folds, on the same pairs and folds as the trials."""
    return base_on_val(base, cache)[0]


def base_on_val(base: PreparedBase, cache: Path) -> tuple[Final, NDArray[np.float64]]:
    """Return the same as `base_val`, and the cosines [n] of these pairs; with folds in the order of train, then val."""
    view = View.open(base.view(cache))
    if not base.folds:
        scores = cosine(view.vectors, view.val)
        return final_of(scores, view.val), scores
    pairs = view.train_and_val()
    scores = cosine(view.vectors, pairs)
    return final_of(scores, pairs, view.folds(base.folds, base.seed)), scores


@dataclass
class TrialModel:
    """The model of a trial's best report: a layer on a frozen base, or by subclass another kind.

    max_length: the search's limit of tokens per text; None for the base model's own. trust_remote_code: whether the
    base model may run code of its own, whatever the trial's files say. share: of what training changed in the base
    model itself, how much the model keeps (`train.whole.model.Mixed`). kept_dims: how many leading components an export
    keeps; None for all.
    """

    outcome: TrialOutcome
    base: PreparedBase
    cache: Path
    max_length: int | None = None
    trust_remote_code: bool = False
    share: float = 1.0
    kept_dims: int | None = field(default=None, init=False)
    _val: dict[int, Final] = field(default_factory=dict, init=False)
    _sample_auc: float = field(default=0.0, init=False)
    _val_scores: NDArray[np.float32] | None = field(default=None, init=False)

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration."""
        return self.outcome.config

    @property
    def kind(self) -> TrialKind:
        """The kind of the trial."""
        return kind_of(self.config)

    @property
    def dims(self) -> tuple[int, ...]:
        """The dims that it is scored at, ascending; it is ranked at the first."""
        return dims_of(self.config, self.base.dims)

    def key(self, dims: int) -> str:
        """Return its key at these dims; see `model_key`."""
        return model_key(self.outcome.trial, dims, self.config)

    @property
    def best(self) -> Path:
        """Path of the best report's weights."""
        return self.outcome.directory / "best.safetensors"

    def weights(self) -> Path:
        """Return the path of the weights that score test and are exported."""
        return self.best

    @property
    def sampled(self) -> bool:
        """Whether its reports scored a sample of val."""
        return bool(self.config.val_sample)

    def val_auc(self) -> float:
        """Return the AUC that ranks it, over all of val: the best one reported, unless reports scored a sample."""
        assert self.outcome.best is not None
        return self.val()[self.dims[0]].val_auc if self.sampled else self.outcome.best.auc

    def reported_auc(self) -> float:
        """Return the AUC of its weights on the pairs that its reports scored, to check against what it reported."""
        final = self.val()[self.dims[0]]
        return self._sample_auc if self.sampled else final.val_auc

    def val(self) -> dict[int, Final]:
        """Return its results on all validation pairs, by dims.

        Raises OSError, ValueError, RuntimeError, SafetensorError or ModelError if its weights are damaged.
        """
        if not self._val:
            self._val = self._on_val(View.open(self.base.view(self.cache)))
        return self._val

    def val_scores(self) -> NDArray[np.float32]:
        """Return the cosines [n] behind `val` at its first dims; with folds out of fold, of train and then val.

        Raises as `val` does.
        """
        self.val()
        assert self._val_scores is not None
        return self._val_scores

    def rounding(self) -> float:
        """Return how far `reported_auc` may differ from the reported AUC by rounding alone.

        Another machine may sum in a different order, which swaps some pairs of nearly equal cosine.
        """
        return 5 / self._comparisons()

    def _comparisons(self) -> int:
        """Return the number of (positive, negative) comparisons that a report's AUC averages over."""
        view = View.open(self.base.view(self.cache))
        label = view.val.label[self._sample(view)]
        return int((label == 1).sum()) * int((label == 0).sum())

    def _sample(self, view: View) -> NDArray[np.int64]:
        return view.sample_index(self.config.val_sample)

    def dense(self) -> "Dense":
        """Return the Dense layer that scores test and is exported."""
        from tune.train.frozen.dense import first_dims, load_dense

        return first_dims(load_dense(self.config, self.weights(), self.base.dims), self.kept_dims)

    def modules(self, source: SentenceTransformerSource) -> "list[Module]":
        """Return the model's modules in order, the base model's first, without the final Normalize."""
        # Here: sentence-transformers takes seconds to import, while which Ray can start.
        from tune.train.dense_module import dense_module

        return [*source.model.children(), dense_module(self.dense())]

    def _on_val(self, view: View) -> dict[int, Final]:
        from tune.train.frozen.dense import dense_cosine, load_dense

        dense, side = load_dense(self.config, self.best, self.base.dims), self.config.side
        scores = {dims: dense_cosine(dense, view.vectors, view.val, dims, side) for dims in self.dims}
        return self._finals(view, scores)

    def _finals(self, view: View, scores: Scores) -> dict[int, Final]:
        """Return the results of scores on all of val, and keep the scores that rank it and their AUC on the sample."""
        sample, first = self._sample(view), scores[self.dims[0]]
        self._sample_auc = roc_auc(first[sample], view.val.label[sample])
        self._val_scores = first.astype(np.float32)
        return {dims: final_of(of_dims, view.val) for dims, of_dims in scores.items()}

    def test(self, pairs: LabelledPairs) -> Scores:
        """Score the test pairs."""
        return self.scores(*self.test_vectors(pairs))

    def scores(self, vectors: NDArray[np.float32], rows: PairRows) -> Scores:
        """Score pairs by the model's vectors [texts, dims] of their texts."""
        import torch

        tensor = torch.from_numpy(vectors)
        return {dims: pair_cosine(tensor[:, :dims], rows.a, rows.b) for dims in self.dims}

    def test_vectors(self, pairs: LabelledPairs, of_base: Vectors | None = None) -> Vectors:
        """Return the vectors [texts, dims] of the test pairs' texts, not normalised, and the pairs as rows of them.

        If the layer is for queries alone: those of first texts, then the base's own of second texts. of_base: what
        `PreparedBase.test_rows` returns for these pairs, if it is at hand.
        """
        from tune.train.frozen.dense import mapped_pairs

        return mapped_pairs(self.dense(), *(of_base or self.base.test_rows(self.cache, pairs)), self.config.side)

    def train_vectors(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors, not normalised, of texts of train in some rows of the view: [n, dims].

        If the layer is for queries alone, a text that is a first and a second text has two.
        """
        if self.config.side == "both":
            return self.view_vectors(view, rows)
        first, second = (rows[np.isin(rows, side)] for side in (view.train.a, view.train.b))
        return np.concatenate([self.view_vectors(view, first), np.array(view.vectors[second])])

    def view_vectors(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the layer's vectors, not normalised, of the texts in some rows of the base's view: [rows, dims]."""
        from tune.train.frozen.dense import dense_vectors, load_dense

        return dense_vectors(load_dense(self.config, self.best, self.base.dims), np.array(view.vectors[rows]))

    def val_vectors(self) -> tuple[NDArray[np.float32], PairRows]:
        """Return the same as `test_vectors` for the validation pairs."""
        view = View.open(self.base.view(self.cache))
        from tune.train.frozen.dense import load_dense, mapped_pairs

        dense = load_dense(self.config, self.best, self.base.dims)
        return mapped_pairs(dense, view.vectors, view.val, self.config.side)


@dataclass
class Models:
    """The models of a search's trials, each created once: scoring a whole model on val encodes all of its texts.

    bases: prepared base models by name. max_length: limit of tokens per text. trust_remote_code: whether base models
    may run their own code. shares: trial -> `TrialModel.share`, where it is not 1.
    """

    bases: dict[str, PreparedBase]
    cache: Path
    max_length: int | None
    trust_remote_code: bool = False
    shares: dict[str, float] = field(default_factory=dict)
    _made: dict[str, TrialModel] = field(default_factory=dict, init=False)

    def of(self, outcome: TrialOutcome) -> TrialModel:
        """Return the model of a trial."""
        if outcome.trial not in self._made:
            config = outcome.config
            self._made[outcome.trial] = _class_for(kind_of(config))(
                outcome,
                self.bases[config.base_model],
                self.cache,
                self.max_length,
                self.trust_remote_code,
                self.shares.get(outcome.trial, 1.0),
            )
        return self._made[outcome.trial]

    def merged(self, outcome: TrialOutcome, share: float) -> TrialModel:
        """Return the model of a trial at this share, now and whenever it is asked for again."""
        if self.shares.get(outcome.trial, 1.0) != share:
            self.shares[outcome.trial] = share
            self._made.pop(outcome.trial, None)
        return self.of(outcome)


def _class_for(kind: TrialKind) -> type[TrialModel]:
    if kind.trains_base:
        from tune.train.whole.trained import WholeModel  # builds on this file

        return WholeModel
    if kind.has_folds:
        from tune.train.folded import FoldedModel  # likewise

        return FoldedModel
    return TrialModel
