"""The Dense layer of a frozen trial: creating it, loading it, and scoring pairs of a view's vectors with it."""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers.base.modules import Dense

from tune.config.trial import TrialConfig
from tune.embed.similarity import pair_cosine, used_rows
from tune.embed.view import PairRows


def make_dense(config: TrialConfig, dims_in: int) -> Dense:
    """Create the Dense layer that a frozen trial trains, dims_in -> config.dims, initialised from the trial's seed."""
    activation = {"identity": torch.nn.Identity, "tanh": torch.nn.Tanh}[config.activation]()
    assert config.dims is not None  # a frozen base without a Dense layer has nothing to train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Dense(dims_in, config.dims, bias=True, activation_function=activation)


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


@torch.inference_mode()
def dense_vectors(dense: Dense, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `dense` maps vectors [texts, dims] to, float32 [texts, dims of its output]; not of unit length."""
    mapped: NDArray[np.float32] = dense({"sentence_embedding": torch.from_numpy(vectors)})["sentence_embedding"].numpy()
    return mapped


@torch.inference_mode()
def dense_cosine(
    dense: Dense, vectors: NDArray[np.float32], pairs: PairRows, dims: int | None = None
) -> NDArray[np.float64]:
    """Return the cosine similarity of the pairs, float64 [pairs], after `dense` maps their rows of `vectors`.

    vectors: [texts, dims]. dims: how many leading components of the output to use; None for all of them.
    """
    used, (a, b) = used_rows(pairs)
    features = {"sentence_embedding": torch.from_numpy(np.array(vectors[used]))}
    return pair_cosine(dense(features)["sentence_embedding"][:, :dims], a, b)
