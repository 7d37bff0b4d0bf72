"""Models of trials that train the base itself: building them, loading their best weights, and scoring with them.

Results come from the model that `load_whole_model` returns: fp32 weights, LoRA merged, texts encoded as `model.encode`
does. Reports during training (`trial.py`) use the precision of training.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dropout
from transformers.utils import logging as transformers_logging

from tune.config.trial import TrialConfig
from tune.embed.batches import encode
from tune.embed.similarity import cosine, used_rows
from tune.embed.sources import load_open
from tune.embed.view import PairRows, ViewTexts
from tune.errors import ModelError
from tune.train.dense_module import dense_module
from tune.train.frozen.dense import make_dense
from tune.train.whole.lora import add_lora, merge_weights


def build_model(config: TrialConfig, base_model: str, max_length: int | None) -> SentenceTransformer:
    """Build the model that the trial trains, in its initial state, in fp32 and on the GPU if there is one.

    The base's modules, then Dropout and Dense (from the trial's seed) if the configuration has them. Weights that are
    not trained have requires_grad=False. Raises ModelError if the base is not available, and TrialFailed for LoRA on
    a base without attention layers.
    """
    model = _whole(config, base_model, max_length, config.trust_remote_code)
    if config.train == "lora":
        dense = set(model[-1].parameters()) if config.dims is not None else set()
        add_lora(model, config)
        for parameter in dense:
            parameter.requires_grad_(True)
    return model.train()


def load_whole_model(
    config: TrialConfig,
    weights: Path,
    base_model: str,
    max_length: int | None,
    *,
    trust_remote_code: bool = False,
    share: float = 1.0,
) -> SentenceTransformer:
    """Load the model of a trial's best weights: base modules and Dense, fp32, in evaluation mode.

    LoRA is merged into the base's own layers, leaving nothing of peft. trust_remote_code: whether the base may run code
    of its own; the configuration is not asked, since it may come from a folder of somebody else. share: of what
    training changed in the base's own weights, how much is kept; see `Mixed`. Raises ModelError if the weights do not
    fit.
    """
    model = _whole(config, base_model, max_length, trust_remote_code)
    if share == 1.0:
        return _with_best(model, config, weights, base_model)
    return _mixed(model, config, weights, base_model).at(share)


@dataclass(frozen=True)
class Mixed:
    """A trained model whose base can take any share of the training: weights = base + share * (tuned - base).

    The average of both models' weights (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", WiSE-FT). A
    Dense layer stays as trained: the base model has none. weights: of the base model, each with its base and tuned
    values.
    """

    model: SentenceTransformer
    weights: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

    @torch.no_grad()
    def at(self, share: float) -> SentenceTransformer:
        """Return the model, changed in place to this share: 0 for the base model's weights, 1 for those trained."""
        for weight, base, tuned in self.weights:
            weight.copy_(tuned if share == 1.0 else base + share * (tuned - base))
        return self.model


def load_mixed(
    config: TrialConfig,
    weights: Path,
    base_model: str,
    max_length: int | None,
    *,
    trust_remote_code: bool = False,
) -> Mixed:
    """Load the same as `load_whole_model`, to be used at several shares. It takes three times the memory."""
    return _mixed(_whole(config, base_model, max_length, trust_remote_code), config, weights, base_model)


def _mixed(model: SentenceTransformer, config: TrialConfig, weights: Path, base_model: str) -> Mixed:
    own = list(model)[: -1 if config.dims is not None else None]
    tensors = {id(one): one for module in own for one in (*module.parameters(), *module.buffers())}
    floats = [one.data for one in tensors.values() if one.is_floating_point()]
    before = [one.clone() for one in floats]
    model = _with_best(model, config, weights, base_model)
    return Mixed(model, [(one, base, one.clone()) for one, base in zip(floats, before, strict=True)])


def _with_best(model: SentenceTransformer, config: TrialConfig, weights: Path, base_model: str) -> SentenceTransformer:
    """Put a trial's best weights into its model as it was built."""
    saved = load_file(str(weights))
    targets = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    try:
        for name in saved.keys() - merge_weights(model, saved, config):
            targets[name].data.copy_(saved[name])
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ModelError(f"{weights} does not fit base model {base_model}: {str(error)[:200]}") from None
    if config.dropout > 0:
        # Dropout does nothing in evaluation mode; export only the base's modules and the Dense.
        del model[len(model) - (2 if config.dims is not None else 1)]
    return model.eval()


def trained_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    """Return what training changes in a model of `build_model`, by name: trainable weights, each once, and buffers."""
    kept = set(model.state_dict())
    weights = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    return {**weights, **{name: tensor for name, tensor in model.named_buffers() if name in kept}}


def encode_rows(model: SentenceTransformer, texts: ViewTexts, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Encode some rows of a view, each text with its prompt, as `model.encode` does; float32 [rows, dims]."""
    vectors: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
    prompt_of = np.array(texts.prompt_of, dtype=np.int64)[rows]
    for number, prompt in enumerate(texts.prompts):
        positions = np.flatnonzero(prompt_of == number)
        if not len(positions):
            continue
        encoded = encode(model, [texts.texts[rows[position]] for position in positions], prompt)
        for position, vector in zip(positions, encoded, strict=True):
            vectors[position] = vector
    return np.stack(vectors)


def whole_model_scores(
    model: SentenceTransformer, texts: ViewTexts, pairs: PairRows, dims: Sequence[int | None] = (None,)
) -> dict[int, NDArray[np.float64]]:
    """Return the model's cosine similarity of the pairs, float64 [pairs], at each of the dims, in their order.

    Each distinct text is encoded once. dims: how many leading components to use; None for all of them.
    """
    used, (a, b) = used_rows(pairs)
    vectors, rows = encode_rows(model, texts, used), PairRows(a, b, pairs.label)
    return {wanted or vectors.shape[1]: cosine(vectors[:, :wanted], rows) for wanted in dims}


def _whole(
    config: TrialConfig, base_model: str, max_length: int | None, trust_remote_code: bool
) -> SentenceTransformer:
    """Load the base with its prompts and settings, and append Dropout and Dense."""
    with _no_bars():
        source = load_open(base_model, "fp32", max_length, trust_remote_code=trust_remote_code)
    model: SentenceTransformer = source.model.requires_grad_(True)
    if config.dropout > 0:
        model.append(Dropout(config.dropout))
    if config.dims is not None:
        model.append(dense_module(make_dense(config, source.dims)))
    return model.to(model.device)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Hide transformers' progress bars: a search loads a base model for every trial."""
    bars: Any = transformers_logging  # untyped
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
