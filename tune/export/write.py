"""Writes the model of a trial as a directory, whole or not at all."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tune.config.trial import TrainedSide
from tune.embed.adapted import ABOUT, ADAPTER, BIAS, WEIGHT, AdaptedEmbedder
from tune.embed.closed.names import ClosedName, ClosedOptions, parse_closed
from tune.embed.closed.source import ClosedSource
from tune.embed.model_files import cached_commit
from tune.embed.prepare import PreparedBase
from tune.embed.routes import one_route, split_route, use_task
from tune.embed.sources import load_open
from tune.errors import ModelError, ResultsError
from tune.export.about import about
from tune.export.adapter import adapter_files, layer_of, snippet
from tune.export.card import PLACE, Extras, Picture, model_card, named_prompts
from tune.export.facts import ExportFacts
from tune.export.portable import make_portable, without_inner_lengths
from tune.export.servers import servers_of
from tune.export.sides import query_side_modules, query_side_prompts
from tune.files import make_directory, sha256_of, why_not_new
from tune.train.trained import TrialModel

CARD = "README.md"
Files = Mapping[str, str | bytes]
"""Name -> content."""


def check_new(directory: Path) -> None:
    """Raise ResultsError if a directory cannot be created, or exists."""
    if why := why_not_new(directory):
        raise ResultsError(f"{directory} {why}; choose another directory")


def write_model(model: TrialModel, facts: ExportFacts, to: Path, picture: Picture | None = None) -> Path:
    """Write the model of a trial's best weights into the new directory `to`, whole or not at all.

    picture: for the card. Raises ResultsError if `to` exists, ModelError if the base model is not the one that was
    searched with.
    """
    if facts.base.closed is not None:
        return _write_on_closed(model, facts, to, picture)
    return _write_on_open(model, facts, to, picture)


def _write_on_closed(model: TrialModel, facts: ExportFacts, to: Path, picture: Picture | None) -> Path:
    assert facts.base.closed is not None
    name = parse_closed(facts.base.name)
    assert name is not None  # an open model would have no options of a closed one
    adapter = Adapter(
        state=model.dense().state_dict(),
        name=name,
        options=ClosedOptions.from_json(facts.base.closed),
        activation=facts.config.activation,
        prompts=(facts.base.prompt_a, facts.base.prompt_b),
        max_length=model.max_length,
        side=facts.config.side,
    )
    extras = Extras(model.max_length, picture, snippet(layer_of(model, facts), PLACE))
    return write_adapted(to, adapter, about(facts), _card(facts, extras))


def _write_on_open(model: TrialModel, facts: ExportFacts, to: Path, picture: Picture | None) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    check_new(to)
    source = load_open(facts.base.name, "fp32", model.max_length, trust_remote_code=model.trust_remote_code)
    if facts.base.weights != source.weights:
        raise ModelError(
            f"base model {facts.base.name} has different weights now than when the search ran{_commits(facts.base)}"
        )
    layer = layer_of(model, facts, source)
    query_side = facts.config.side == "query"
    prompts, default = query_side_prompts(facts.base) if query_side else _prompts(facts.base)
    modules = query_side_modules(model, source) if query_side else [*model.modules(source), Normalize()]
    exported = SentenceTransformer(
        modules=without_inner_lengths([module.to("cpu") for module in modules]),
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name="cosine",
        device="cpu",
    )
    if route := one_route(exported, facts.prompts):
        use_task(exported, route)
    extras = Extras(_max_tokens(exported), picture, snippet(layer, PLACE))

    def finish(part: Path) -> tuple[dict[str, Any], Files]:
        servers = servers_of(part)
        plain = {name: serving.to_json() for name, serving in servers.items()}
        return {**about(facts), "servers": plain}, _card(facts, replace(extras, servers=servers))

    def save(part: Path) -> None:
        exported.save(str(part), create_model_card=False)
        make_portable(part)

    write_exported(to, save, {}, adapter_files(layer), finish)
    return to


def _card(facts: ExportFacts, extras: Extras) -> Files:
    """Return the card and its picture, by file name."""
    pictures: dict[str, str | bytes] = {extras.picture.file: extras.picture.png} if extras.picture else {}
    return {CARD: model_card(facts, extras), **pictures}


def _max_tokens(model: Any) -> int | None:
    """Return how many tokens of a text a SentenceTransformer reads; None for no limit."""
    limit = getattr(model, "max_seq_length", None)
    if isinstance(limit, int | float) and math.isfinite(limit):
        return int(limit)
    cut = getattr(getattr(model, "tokenizer", None), "truncation", None)
    return int(cut["max_length"]) if isinstance(cut, dict) else None


def _commits(base: PreparedBase) -> str:
    """Return both commits of a hub model whose weights have changed, in brackets; "" if they are unknown."""
    now = cached_commit(base.name)
    return f" (commit {now[:7]}, not {base.revision[:7]})" if now and base.revision else ""


def _prompts(base: PreparedBase) -> tuple[dict[str, str], str | None]:
    """Return the prompts by name, and the default's name."""
    if base.prompt_a == base.prompt_b:
        _, prompt = split_route(base.prompt_a, base.routed)
        return ({"text": prompt}, "text") if prompt else ({}, None)
    return dict(named_prompts(base)), None


@dataclass(frozen=True)
class Adapter:
    """A Dense layer on a closed model, to be written.

    state: of the Dense, `linear.weight` [dims, dims of the model] and optionally `linear.bias` [dims], as tensors or
    arrays. prompts: of first and second texts. max_length: tokens per text. side: "query" for first texts alone.
    """

    state: Mapping[str, Any]
    name: ClosedName
    options: ClosedOptions
    activation: str
    prompts: tuple[str, str]
    max_length: int | None = None
    side: TrainedSide = "both"


def write_adapted(
    directory: Path,
    adapter: Adapter,
    about: Mapping[str, Any] | None = None,
    files: Files | None = None,
) -> Path:
    """Write an AdaptedEmbedder into the new directory, whole or not at all.

    about: more of embedtune.json. files: more files, name -> content (a card). Raises ResultsError if the directory
    exists or cannot be made, ModelError if the state is not that of a Dense.
    """
    from safetensors.numpy import save_file

    name, state = adapter.name, adapter.state
    check_new(directory)
    if WEIGHT not in state or set(state) - {WEIGHT, BIAS}:
        raise ModelError(f"an adapter on {name} has {WEIGHT} and {BIAS}, not {', '.join(sorted(state)) or 'nothing'}")
    arrays = {key: np.ascontiguousarray(_array(value), dtype=np.float32) for key, value in state.items()}
    closed = {
        "name": str(name),
        "options": adapter.options.to_json(),
        "activation": adapter.activation,
        "dims_in": int(arrays[WEIGHT].shape[1]),
        "dims": int(arrays[WEIGHT].shape[0]),
        "prompt_a": adapter.prompts[0],
        "prompt_b": adapter.prompts[1],
        "max_length": adapter.max_length,
        "side": adapter.side,
    }
    # What cannot be loaded again is refused before anything is written.
    source = ClosedSource(name, adapter.options, adapter.max_length)
    AdaptedEmbedder(source, arrays[WEIGHT], arrays.get(BIAS), adapter.activation, adapter.prompts, adapter.side)
    write_exported(
        directory, lambda part: save_file(arrays, str(part / ADAPTER)), {**(about or {}), "closed": closed}, files
    )
    return directory


def write_exported(
    directory: Path,
    save: Callable[[Path], object],
    about: Mapping[str, Any],
    files: Files | None = None,
    finish: Callable[[Path], tuple[Mapping[str, Any], Files]] | None = None,
) -> None:
    """Create an exported model's directory, whole or not at all. Raises ResultsError if that fails.

    save: writes the model into a directory. about: the content of embedtune.json. files: more files, name -> content.
    finish: returns more of both, from what was saved.
    """
    from safetensors import SafetensorError

    def fill(part: Path) -> None:
        save(part)
        more, more_files = finish(part) if finish else ({}, {})
        for file, content in {**(files or {}), **more_files}.items():
            (part / file).write_bytes(content.encode() if isinstance(content, str) else content)
        # Last: a directory with this file is complete.
        content_of = {str(file.relative_to(part)): sha256_of(file) for file in sorted(part.rglob("*")) if _counts(file)}
        written = json.dumps({**about, **more, "sha256": content_of}, indent=1, ensure_ascii=False)
        (part / ABOUT).write_text(written + "\n", encoding="utf-8")

    try:
        make_directory(directory, fill)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise ResultsError(f"cannot write {directory} ({why}); choose another directory") from None


def _counts(file: Path) -> bool:
    """Return whether a file of a model matters to its vectors; people may edit its card."""
    return file.is_file() and file.suffix not in (".md", ".png") and file.name != ABOUT


def _array(tensor: Any) -> Any:
    """Return a torch tensor of any precision, or an array, as an array."""
    return tensor.detach().cpu().float().numpy() if hasattr(tensor, "detach") else tensor
