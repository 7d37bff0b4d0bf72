"""What padding costs a step that trains the whole base model, and what batches of alike length save.

SentenceTransformerTrainer's default draws batches at random and pads each column to its longest text. A whole trial
sorts windows of 50 batches by length first (`Plan.lengths`); the step is the trainer's own. Both train MiniLM on
Quora's pairs with CoSENT, batches of 32 and 128, on one CPU thread, in turn. Each also runs with a forward pass in
chunks of alike token counts, which changes no batch: the loss sees the same vectors in the same order.

Shares of padding are over a whole epoch of 16,000 pairs. Steps are a few batches of it, evenly spaced in their padded
tokens; CPU seconds per pair are those steps' per token times the epoch's tokens, collation and optimizer included.
Chunks are worth building if they save at least 15% of the step as it is.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from tests.benchmarks.common import Options, Result, Target, first, pairs_config, split_of, threads
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.batches import alike
from tune.embed.lengths import TokenCounter
from tune.train.schedule import Plan
from tune.train.whole.model import build_model
from tune.train.whole.trial import _Trainer, training_arguments, training_loss

TITLE = "steps of whole MiniLM: padding and CPU time by batches and chunks, over the trainer's default"
SIZES, CHUNK_TOKENS = (32, 128), 1024

Batches = list[NDArray[np.int64]]


@dataclass
class _Tokens:
    """Tokens of each pair's texts, [2, n]."""

    of: NDArray[np.int64]

    def padded(self, batch: NDArray[np.int64]) -> int:
        """Return what a batch takes if each column is padded to its longest."""
        return int(self.of[:, batch].max(1).sum()) * len(batch)

    def chunked(self, batch: NDArray[np.int64]) -> int:
        """Return what it takes in chunks."""
        tokens = self.of[:, batch].reshape(-1)
        return sum(len(rows) * int(tokens[rows].max()) for rows in alike(tokens, CHUNK_TOKENS))

    def waste(self, batches: Batches, taken: Callable[[NDArray[np.int64]], int]) -> float:
        """Return the share of padding."""
        return 1 - float(self.of.sum()) / sum(map(taken, batches))


def run(options: Options) -> Result:
    """Measure both sizes of batch."""
    _, sides = split_of(pairs_config(options, space={"base_model": "minilm"}))
    pairs = first(sides["train"], options.pick(16_000, 640))
    result = Result()
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            config = TrialConfig(
                base_model="minilm",
                freeze=False,
                dims=None,
                loss="cosent",
                batch_size=size,
                learning_rate=2e-5,
                epochs=1,
            )
            steps = options.pick(4 if size == 32 else 2, 1)
            result.figures[f"batch {size}"] = figures = _measured(_Steps(config, pairs, folder), config, pairs, steps)
            name = f"batch {size}: pairs per second, batches of alike length over the trainer's default"
            result.targets.append(Target(name, figures["grouped_over_default"], least=1.0))
            name = f"batch {size}: share of the step as it is that chunks save (worth building from 0.15)"
            result.targets.append(Target(name, figures["chunks_save_of_grouped"], most=0.15))
    return result


def _measured(steps: "_Steps", config: TrialConfig, pairs: LabelledPairs, count: int) -> dict[str, Any]:
    tokens = steps.tokens
    rows = np.arange(len(pairs))
    length = np.array([len(a) + len(b) for a, b in zip(pairs.text_a, pairs.text_b, strict=True)])
    default, grouped = (
        Plan(rows, rows, config.batch_size, 1, config.seed, lengths=given).epoch(0) for given in (None, length)
    )
    ways = {
        "default": (default, tokens.padded, steps.plain),
        "default_chunks": (default, tokens.chunked, steps.chunks),
        "grouped": (grouped, tokens.padded, steps.plain),
        "grouped_chunks": (grouped, tokens.chunked, steps.chunks),
    }
    apart = steps.apart(default[0][:16])
    for batches, _, step in ways.values():
        step(batches[0][:4])
    seconds, used = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    chosen = {name: _spread(batches, takes, count) for name, (batches, takes, _) in ways.items()}
    for place in range(count):
        for name, (_, takes, step) in ways.items():
            began = time.process_time()
            step(chosen[name][place])
            seconds[name] += time.process_time() - began
            used[name] += takes(chosen[name][place])
    # Few steps would be longer or shorter than the epoch's by chance: seconds per token, by the epoch's tokens.
    taken = {
        name: seconds[name] / used[name] * sum(map(takes, batches)) / len(pairs)
        for name, (batches, takes, _) in ways.items()
    }
    return {
        "padding": {name: tokens.waste(batches, takes) for name, (batches, takes, _) in ways.items()},
        "cpu_milliseconds_per_pair": {name: 1000 * one for name, one in taken.items()},
        "grouped_over_default": taken["default"] / taken["grouped"],
        "default_chunks_over_default": taken["default"] / taken["default_chunks"],
        "chunks_save_of_grouped": 1 - taken["grouped_chunks"] / taken["grouped"],
        "steps_each": count,
        "loss_in_chunks_relative_difference": apart,
    }


def _spread(batches: Batches, taken: Callable[[NDArray[np.int64]], int], count: int) -> Batches:
    """Return `count` batches from the middles of equal parts of all, in order of what they take."""
    order = sorted(batches, key=taken)
    return [order[int((place + 0.5) * len(order) / count)] for place in range(count)]


class _Steps:
    """A model with the trainer's own collator, step and optimizer, and the same step in chunks."""

    def __init__(self, config: TrialConfig, pairs: LabelledPairs, folder: str) -> None:
        self._pairs = pairs
        self.model: SentenceTransformer = build_model(config, config.base_model, None)
        counter = TokenCounter.of(self.model)
        assert counter is not None
        self.tokens = _Tokens(np.array([counter.count(pairs.text_a), counter.count(pairs.text_b)], dtype=np.int64))
        self._loss: Any = training_loss(config, self.model)
        self._trainer = _Trainer(model=self.model, args=training_arguments(config, folder), loss=self._loss)
        self._trainer.current_gradient_accumulation_steps = 1
        self._optimizer = self._trainer.create_optimizer()

    def plain(self, batch: NDArray[np.int64]) -> None:
        """Take the trainer's step."""
        self._trainer.training_step(self.model, self._trainer.data_collator(self._rows(batch)))
        self._update()

    def chunks(self, batch: NDArray[np.int64]) -> None:
        """Take a step whose forward pass is in chunks."""
        self.model.train()
        torch.autograd.backward(self._chunked_loss(batch))
        self._update()

    def apart(self, batch: NDArray[np.int64]) -> float:
        """Return how far the two losses are apart without dropout, relative."""
        self.model.eval()
        rows = self._rows(batch)
        labels = torch.tensor([row["label"] for row in rows])
        sides = [self.model.preprocess([row[name] for row in rows]) for name in ("text_a", "text_b")]
        with torch.no_grad():
            plain = float(self._loss(sides, labels))
            return abs(float(self._chunked_loss(batch)) - plain) / plain

    def _chunked_loss(self, batch: NDArray[np.int64]) -> torch.Tensor:
        rows = self._rows(batch)
        texts = [row[name] for name in ("text_a", "text_b") for row in rows]
        order, vectors = [], []
        for chunk in alike(self.tokens.of[:, batch].reshape(-1), CHUNK_TOKENS):
            order.append(chunk)
            vectors.append(self.model(self.model.preprocess([texts[row] for row in chunk]))["sentence_embedding"])
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        found = torch.cat(vectors)[back]
        labels = torch.tensor([row["label"] for row in rows])
        loss: torch.Tensor = self._loss.compute_loss_from_embeddings([found[: len(rows)], found[len(rows) :]], labels)
        return loss

    def _rows(self, batch: NDArray[np.int64]) -> list[dict[str, Any]]:
        pairs = self._pairs
        return [
            {"text_a": pairs.text_a[i], "text_b": pairs.text_b[i], "label": float(pairs.label[i])}
            for i in batch.tolist()
        ]

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
