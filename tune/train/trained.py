"""A trial's best weights as a model that scores pairs, whichever kind of trial it was: what finals and export ask for.

Everything is by dims: a Matryoshka trial is judged at each of its dims, any other at one.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from torch.nn import Module

from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase, keyed_rows, view_texts
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import cosine
from tune.embed.view import PairRows, View, ViewTexts
from tune.metrics.score import TestScore, fit_thresholds, roc_auc
from tune.train.frozen.dense import dense_cosine, load_dense
from tune.train.frozen.refit import mean_best_budget, out_of_fold, refit
from tune.train.kinds import TrialKind, kind_of
from tune.train.outcomes import TrialOutcome

_LEAST_ROUNDING = 5e-3
_BF16_SWAPS = 60
"""Comparisons of two pairs that bf16 may turn round: three times what was seen where cosines lie close together."""

Scores = dict[int, NDArray[np.float64]]
"""Cosine similarity of pairs, by dims."""


@dataclass(frozen=True)
class Final:
    """A model's numbers: on val (auc and the thresholds fitted there), and on test once it is opened.

    val_auc is that of all validation pairs; with folds the mean over them.
    """

    val_auc: float
    threshold: float
    logistic_threshold: float
    test: TestScore | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def dims_of(config: TrialConfig, base_dims: int) -> tuple[int, ...]:
    """The dims that a trial is judged at, ascending; the first is the one that it is ranked by."""
    return tuple(base_dims if dims is None else dims for dims in config.all_dims)


def model_key(trial: str, dims: int, config: TrialConfig) -> str:
    """Names a trial at certain dims: TRIAL, or TRIAL@DIMS where it has several."""
    return f"{trial}@{dims}" if config.matryoshka else trial


def baseline_key(base_model: str) -> str:
    """Names an untouched base model where a trial would be named."""
    return f"baseline:{base_model}"


def final_of(scores: NDArray[np.float64], label: NDArray[np.int8], auc: float | None = None) -> Final:
    """The numbers on val of its scores; auc where it is not that of all of them together."""
    thresholds = fit_thresholds(scores, label)
    return Final(roc_auc(scores, label) if auc is None else auc, thresholds.accuracy, thresholds.logistic)


def base_val(base: PreparedBase, cache: Path) -> Final:
    """The untouched base model on val."""
    view = View.open(base.view(cache))
    return final_of(cosine(view.vectors, view.val), view.val.label)


@dataclass
class TrialModel:
    """The model of a trial's best report. max_length: tokens per text, as the search has it."""

    outcome: TrialOutcome
    base: PreparedBase
    cache: Path
    max_length: int | None = None
    _val: dict[int, Final] = field(default_factory=dict, init=False)

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration."""
        return self.outcome.config

    @property
    def kind(self) -> TrialKind:
        """What kind of trial it was."""
        return kind_of(self.config)

    @property
    def dims(self) -> tuple[int, ...]:
        """The dims that it is judged at, ascending; the first is the one that it is ranked by."""
        return dims_of(self.config, self.base.dims)

    def key(self, dims: int) -> str:
        """Its name at these dims."""
        return model_key(self.outcome.trial, dims, self.config)

    @property
    def best(self) -> Path:
        """The weights of the best report."""
        return self.outcome.directory / "best.safetensors"

    def weights(self) -> Path:
        """The weights that test is scored with, and that are exported."""
        return self.best

    def val_auc(self) -> float:
        """What it is ranked by: AUC on all of val, as it was reported."""
        assert self.outcome.best is not None
        return self.outcome.best.auc

    def reported_auc(self) -> float:
        """AUC of its weights on the pairs that its reports looked at, to be compared with what it reported."""
        return self.val()[self.dims[0]].val_auc

    def val(self) -> dict[int, Final]:
        """Its numbers on all validation pairs, by dims. Errors of files and shapes where its weights are damaged."""
        if not self._val:
            self._val = self._on_val(View.open(self.base.view(self.cache)))
        return self._val

    def rounding(self) -> float:
        """How far `reported_auc` may be from what was reported without anything being wrong.

        On another machine sums are taken in another order, and some pairs of nearly equal cosine change places.
        """
        return 5 / _comparisons(View.open(self.base.view(self.cache)).val.label)

    def dense(self) -> Dense:
        """Return the Dense layer that test is scored with, and that is exported."""
        return load_dense(self.config, self.weights(), self.base.dims)

    def modules(self, source: SentenceTransformerSource) -> list[Module]:
        """Return the modules of the model on its base, in order; the final normalisation is not among them."""
        return [*source.model.children(), self.dense().to(torch.float32)]

    def _on_val(self, view: View) -> dict[int, Final]:
        dense = load_dense(self.config, self.best, self.base.dims)
        return {dims: final_of(dense_cosine(dense, view.vectors, view.val, dims), view.val.label) for dims in self.dims}

    def test(self, pairs: LabelledPairs) -> Scores:
        """Scores of the test pairs."""
        vectors, rows = self.base.test_rows(self.cache, pairs)
        dense = self.dense()
        return {dims: dense_cosine(dense, vectors, rows, dims) for dims in self.dims}


def _comparisons(label: NDArray[np.int8]) -> int:
    """Of a positive and a negative pair, as ROC AUC counts them."""
    return int((label == 1).sum()) * int((label == 0).sum())


class FoldedModel(TrialModel):
    """Of a trial with folds: judged on val by the layers of the folds, each on the pairs that it has not seen.

    Test is scored by a layer trained again on train and val, up to where the folds were best on average.
    """

    def weights(self) -> Path:
        """The layer trained again; made where missing."""
        budget = mean_best_budget(self.outcome.reports)
        # Named by its budget: a trial that goes on after it was exported half-way has another.
        refitted = self.outcome.directory / f"refit-{budget:.6f}.safetensors"
        if not refitted.exists():
            refit(self.config, View.open(self.base.view(self.cache)), budget, refitted)
        return refitted

    def _on_val(self, view: View) -> dict[int, Final]:
        fold = view.folds(self.config.folds, self.config.seed)
        finals = {}
        for dims in self.dims:
            scores, label = out_of_fold(self.config, self.best, view, dims)
            aucs = [roc_auc(scores[fold == one], label[fold == one]) for one in range(self.config.folds)]
            finals[dims] = final_of(scores, label, float(np.mean(aucs)))
        return finals


class WholeModel(TrialModel):
    """Of a trial that trained the base model itself: texts go through the model that is exported."""

    _sample_auc: float = 0.0
    _rounding: float = 0.0

    def val_auc(self) -> float:
        """AUC on all of val; its reports may have looked at fewer pairs."""
        return self.val()[self.dims[0]].val_auc

    def reported_auc(self) -> float:
        """AUC on the pairs that its reports looked at."""
        self.val()
        return self._sample_auc

    def rounding(self) -> float:
        """Wider than for vectors that are the same everywhere: on a GPU, reports are of scores in bf16."""
        self.val()
        return self._rounding

    def _on_val(self, view: View) -> dict[int, Final]:
        from tune.train.whole.looks import looking_order

        scores = self._scores(view.texts(), view.val)
        assert self.outcome.best is not None
        # By its reports: how many pairs a trial looks at is for training to say.
        sample = looking_order(view.val, self.config)[: self.outcome.best.val_pairs]
        label = view.val.label[sample]
        self._sample_auc = roc_auc(scores[self.dims[0]][sample], label)
        self._rounding = max(_LEAST_ROUNDING, _BF16_SWAPS / _comparisons(label))
        return {dims: final_of(of_dims, view.val.label) for dims, of_dims in scores.items()}

    def test(self, pairs: LabelledPairs) -> Scores:
        """Scores of the test pairs."""
        prompts = self.base.prompt_a, self.base.prompt_b
        _, rows = keyed_rows(pairs, *prompts)
        return self._scores(view_texts(self.base.name, pairs, prompts, self.max_length), rows)

    def modules(self, source: SentenceTransformerSource) -> list[Module]:
        """Return the modules of the trained base, and its Dense layer where it has one."""
        return list(self._load().children())

    def _load(self) -> SentenceTransformer:
        from tune.train.whole.model import load_whole_model

        return load_whole_model(self.config, self.best, self.base.name, self.max_length)

    def _scores(self, texts: ViewTexts, rows: PairRows) -> Scores:
        from tune.train.whole.model import whole_model_scores

        return whole_model_scores(self._load(), texts, rows, self.dims)


@dataclass
class Models:
    """The models of a search's trials, each made once, since val of a whole model takes a pass over its texts.

    bases: by name. max_length: tokens per text.
    """

    bases: dict[str, PreparedBase]
    cache: Path
    max_length: int | None
    _made: dict[str, TrialModel] = field(default_factory=dict, init=False)

    def of(self, outcome: TrialOutcome) -> TrialModel:
        """Return the model of a trial."""
        if outcome.trial not in self._made:
            config = outcome.config
            model = kind_of(config).model()
            self._made[outcome.trial] = model(outcome, self.bases[config.base_model], self.cache, self.max_length)
        return self._made[outcome.trial]
