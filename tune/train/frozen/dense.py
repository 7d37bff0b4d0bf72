"""The Dense layer of a frozen trial: creating it, loading it, and scoring pairs of a view's vectors with it."""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers.base.modules import Dense

from tune.config.trial import TrainedSide, TrialConfig
from tune.embed.similarity import pair_cosine, rows_by_side, used_rows
from tune.embed.view import PairRows


def make_dense(config: TrialConfig, dims_in: int) -> Dense:
    """Create the Dense layer that a trial trains, dims_in -> config.dims, initialised from the trial's seed.

    For queries alone it is square and the identity, so that training starts from the base model's own scores.
    """
    activation = {"identity": torch.nn.Identity, "tanh": torch.nn.Tanh}[config.activation]()
    if config.side == "query":
        start, zeros = torch.eye(dims_in), torch.zeros(dims_in) if config.bias else None
        return Dense(dims_in, dims_in, config.bias, activation, init_weight=start, init_bias=zeros)
    assert config.dims is not None  # a frozen base without a Dense layer has nothing to train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Dense(dims_in, config.dims, bias=config.bias, activation_function=activation)


def load_dense(config: TrialConfig, weights: Path, dims_in: int) -> Dense:
    """Load the Dense layer of a trial's best report or of a refit, in evaluation mode."""
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
    return dense.eval()


def first_dims(dense: Dense, dims: int | None) -> Dense:
    """Return a layer that outputs the first `dims` components of another; the layer itself if `dims` is None."""
    if dims is None:
        return dense
    bias = dense.linear.bias
    return Dense(
        dense.in_features,
        dims,
        bias is not None,
        dense.activation_function,
        init_weight=dense.linear.weight.detach()[:dims].clone(),
        init_bias=None if bias is None else bias.detach()[:dims].clone(),
    ).eval()


def only_first_dims(dims_in: int, dims: int) -> Dense:
    """Return a layer that passes on the first `dims` components of vectors, for a model that ends without a Dense."""
    activation = torch.nn.Identity()
    return Dense(dims_in, dims, bias=False, activation_function=activation, init_weight=torch.eye(dims, dims_in)).eval()


@torch.inference_mode()
def dense_vectors(dense: Dense, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `dense` maps vectors [texts, dims] to, float32 [texts, dims of its output]; not of unit length."""
    mapped: NDArray[np.float32] = dense({"sentence_embedding": torch.from_numpy(vectors)})["sentence_embedding"].numpy()
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
        return dense_vectors(dense, np.array(vectors[used])), PairRows(a, b, pairs.label, pairs.score)
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
