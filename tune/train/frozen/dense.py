"""The Dense layer of a frozen trial: made, read back, and scored on pairs of a view's vectors."""

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
    """The Dense layer that a frozen trial trains, dims_in -> config.dims, initialised from the trial's seed."""
    activation = {"identity": torch.nn.Identity, "tanh": torch.nn.Tanh}[config.activation]()
    assert config.dims is not None  # a frozen base without a Dense layer has nothing to train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Dense(dims_in, config.dims, bias=True, activation_function=activation)


def load_dense(config: TrialConfig, weights: Path, dims_in: int) -> Dense:
    """The Dense layer of a trial's best report, or of a refit."""
    return _dense_of(config, load_file(str(weights)), dims_in)


def load_fold_denses(config: TrialConfig, weights: Path, dims_in: int) -> list[Dense]:
    """The Dense layers of the best report of a trial with folds, by fold. ValueError where it has not all of them."""
    by_fold: list[dict[str, torch.Tensor]] = [{} for _ in range(config.folds)]
    for name, tensor in load_file(str(weights)).items():
        found = re.fullmatch(r"(\d+)\.(.+)", name)
        if found is None or int(found[1]) >= config.folds:
            raise ValueError(f"{weights} holds {name}, which is no weight of {config.folds} folds")
        by_fold[int(found[1])][found[2]] = tensor
    if not all(by_fold):
        raise ValueError(f"{weights} lacks a fold of {config.folds}")
    return [_dense_of(config, tensors, dims_in) for tensors in by_fold]


def _dense_of(config: TrialConfig, tensors: dict[str, torch.Tensor], dims_in: int) -> Dense:
    dense = make_dense(config, dims_in)
    dense.load_state_dict(tensors)
    return dense.eval()


@torch.inference_mode()
def dense_cosine(
    dense: Dense, vectors: NDArray[np.float32], pairs: PairRows, dims: int | None = None
) -> NDArray[np.float64]:
    """Cosine similarity after `dense` of the pairs' rows of `vectors` [texts, dims]; float64 [pairs].

    dims: of the first so many components of what `dense` gives; None means all of them.
    """
    used, (a, b) = used_rows(pairs)
    features = {"sentence_embedding": torch.from_numpy(np.array(vectors[used]))}
    return pair_cosine(dense(features)["sentence_embedding"][:, :dims], a, b)
