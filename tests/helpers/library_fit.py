"""A layer trained by sentence-transformers' modules and losses, autograd and torch's AdamW: what `Fit` must equal."""

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Dropout

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows, View
from tune.train.dense_module import dense_module
from tune.train.frozen.dense import make_dense
from tune.train.losses import LOSS_KINDS, make_loss
from tune.train.setup import MAX_GRADIENT_NORM, labels_for


class LibraryFit:
    """A Dense module, its loss and its optimizer; `step` takes the batches and rates of a `Fit`'s plan.

    train: the pairs that the loss learns from.
    """

    def __init__(self, config: TrialConfig, view: View, train: PairRows) -> None:
        kind = LOSS_KINDS[config.loss]
        self._vectors = torch.from_numpy(view.vectors)
        self._rows = torch.stack([torch.from_numpy(train.a), torch.from_numpy(train.b)])
        self._labels = torch.from_numpy(labels_for(config.loss, train)).to(kind.labels)
        self.dense = dense_module(make_dense(config, self._vectors.shape[1])).train()
        layers: list[Any] = [*([Dropout(config.dropout)] if config.dropout else []), self.dense]
        modules: list[Any] = [Router.for_query_document(layers, [])] if config.side == "query" else layers
        self._tasks = ("query", "document", "document") if config.side == "query" else ()
        dims = [dims for dims in config.all_dims if dims is not None] if config.matryoshka else []
        self._loss = make_loss(config.loss, SentenceTransformer(modules=modules, device="cpu").train(), dims)
        groups = [{"params": [self.dense.linear.weight], "weight_decay": config.weight_decay}]
        if config.bias:
            groups.append({"params": [self.dense.linear.bias], "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)

    def step(self, batch: Any, negatives: Any, rate: float) -> torch.Tensor:
        """Train on the pairs of a batch and its hard negatives (rows of the view); return the loss."""
        index = torch.from_numpy(batch)
        columns = list(self._rows[:, index])
        if len(negatives):
            columns.append(torch.from_numpy(negatives))
        features: list[dict[str, Any]] = [{"sentence_embedding": self._vectors[column]} for column in columns]
        for one, task in zip(features, self._tasks, strict=False):
            one["task"] = task
        loss: torch.Tensor = self._loss(features, self._labels[index])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(self.dense.parameters()), MAX_GRADIENT_NORM)
        self.optimizer.step()
        return loss.detach()
