"""The Dense layer of a frozen trial: creating it, loading it, and scoring pairs of a view's vectors with it.

Its tensors bear the names of sentence-transformers' Dense (`tune.train.dense_module` makes one of it), and start with
the same values from the same seed. It is never trained by autograd, see `tune.train.frozen.step`.
"""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from tune.config.trial import TrainedSide, TrialConfig
from tune.embed.maps import gathered
from tune.embed.similarity import pair_cosine, rows_by_side, used_rows
from tune.embed.view import PairRows


class Dense(torch.nn.Module):
    """A linear map of vectors, then tanh if `tanh`. weight: [dims, dims_in]; bias: [dims] or None."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, tanh: bool = False) -> None:
        super().__init__()
        dims, dims_in = weight.shape
        # A layer on "meta" draws no random numbers for weights that are replaced at once.
        self.linear = torch.nn.Linear(dims_in, dims, bias is not None, device="meta")
        self.linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            self.linear.bias = torch.nn.Parameter(bias, requires_grad=False)
        self.tanh = tanh

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Map vectors [n, dims_in] to [n, dims], not of unit length."""
        mapped: torch.Tensor = self.linear(vectors)
        return mapped.tanh_() if self.tanh else mapped


def make_dense(config: TrialConfig, dims_in: int) -> Dense:
    """Create the Dense layer that a trial trains, dims_in -> config.dims, initialised from the trial's seed.

    For queries alone it is square and the identity, so that training starts from the base model's own scores.
    """
    tanh = config.activation == "tanh"
    if config.side == "query":
        return Dense(torch.eye(dims_in), torch.zeros(dims_in) if config.bias else None, tanh=tanh)
    assert config.dims is not None  # a frozen base without a Dense layer has nothing to train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        start = torch.nn.Linear(dims_in, config.dims, config.bias)
    return Dense(start.weight.detach(), start.bias.detach() if config.bias else None, tanh=tanh)


def load_dense(config: TrialConfig, weights: Path, dims_in: int) -> Dense:
    """Load the Dense layer of a trial's best report or of a refit."""
    return _dense_of(config, load_file(str(weights)), dims_in)


def load_fold_denses(config: TrialConfig, weights: Path, dims_in: int) -> list[Dense]:
    """Load the Dense layers of a trial's best report, one per fold. Raises ValueError if any is missing."""
    by_fold: list[dict[str, torch.Tensor]] = [{} for _ in range(config.folds)]
    for name, tensor in load_file(str(weights)).items():
        found = re.fullmatch(r"(\d+)\.(.+)", name)
        if found is None or int(found[1]) >= config.folds:
            raise ValueError(f"{weights} holds {name}, which is not a weight of {config.folds} folds")
        by_fold[int(found[1])][found[2]] = tensor
    if not all(by_fold):
        raise ValueError(f"{weights} does not hold all {config.folds} folds")
    return [_dense_of(config, tensors, dims_in) for tensors in by_fold]


def _dense_of(config: TrialConfig, tensors: dict[str, torch.Tensor], dims_in: int) -> Dense:
    dense = make_dense(config, dims_in)
    dense.load_state_dict(tensors)
    return dense


def first_dims(dense: Dense, dims: int | None) -> Dense:
    """Return a layer that outputs the first `dims` components of another; the layer itself if `dims` is None."""
    if dims is None:
        return dense
    bias = dense.linear.bias
    return Dense(dense.linear.weight[:dims].clone(), None if bias is None else bias[:dims].clone(), tanh=dense.tanh)


@torch.inference_mode()
def dense_vectors(dense: Dense, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `dense` maps vectors [texts, dims] to, float32 [texts, dims of its output]; not of unit length."""
    mapped: NDArray[np.float32] = dense(torch.from_numpy(vectors)).numpy()
    return mapped


def mapped_pairs(
    dense: Dense, vectors: NDArray[np.float32], pairs: PairRows, side: TrainedSide
) -> tuple[NDArray[np.float32], PairRows]:
    """Return the vectors of the pairs' texts after `dense`, not of unit length, and the pairs as rows of them.

    vectors: [texts, dims], of which each row that the pairs use is mapped once. side: with "query" first texts alone
    are mapped, and second texts keep their vectors.
    """
    if side == "both":
        used, (a, b) = used_rows(pairs)
        # Vectors of test are in memory, and each is used.
        given = vectors if len(used) == len(vectors) and vectors.flags.writeable else gathered(vectors, used)
        return dense_vectors(dense, given), PairRows(a, b, pairs.label, pairs.score)
    first, second, rows = rows_by_side(pairs)
    return np.concatenate([dense_vectors(dense, np.array(vectors[first])), vectors[second]]), rows


def dense_cosine(
    dense: Dense,
    vectors: NDArray[np.float32],
    pairs: PairRows,
    dims: int | None = None,
    side: TrainedSide = "both",
) -> NDArray[np.float64]:
    """Return the cosine similarity of the pairs, float64 [pairs], by their vectors as `mapped_pairs` returns them.

    dims: how many leading components of the output to use; None for all of them.
    """
    mapped, rows = mapped_pairs(dense, vectors, pairs, side)
    return pair_cosine(torch.from_numpy(mapped)[:, :dims], rows.a, rows.b)
