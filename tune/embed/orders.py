"""From the split to what trials read: embed every base model's texts once and write its view.

An EmbedOrder is plain data, so it can be carried out on another machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from tune.config.closed import ClosedConfig, provider_of
from tune.config.data import DataConfig
from tune.config.search import SearchConfig
from tune.config.space_rules import NO_ATTENTION
from tune.data.sides import LabelledPairs
from tune.data.split import Split, labelled_sides
from tune.embed.base_models import INT8_STATIC
from tune.embed.closed import ClosedSource
from tune.embed.closed.prices import estimate_for
from tune.embed.known import KnownSource, OpenSource, Wanted, open_source
from tune.embed.leaks import near_copies_by_side
from tune.embed.left_out import LeftOut, without
from tune.embed.model_files import cached_commit
from tune.embed.own_code import own_classes
from tune.embed.prepare import (
    PreparedBase,
    ViewOptions,
    embed_pairs,
    prepare_base,
    texts_by_prompt,
    with_exact_test,
)
from tune.embed.routes import has_routes
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.sources import EmbeddingSource, Source, load_closed, load_open
from tune.embed.static import is_static
from tune.errors import ConfigError
from tune.events import Bought, Emit, Message, ignore

REDUCED = "embedded in {} for training and validation; test in fp32, as exported"

EmbedAll = Callable[[Sequence["EmbedOrder"], Path, Emit], list[PreparedBase]]
"""(orders, cache, emit) -> the prepared base models, in the order of the orders."""


@dataclass(frozen=True)
class EmbedOrder:
    """A base model and the texts to embed with it.

    sides: train (in its seeded order), val and test. query_document: whether the two columns are queries and documents.
    view: what the view holds. lora: whether some trial trains the base model with LoRA. matryoshka_dims: the largest of
    the dims that must be below the base model's own, or 0. closed: how to call closed models.
    trust_remote_code: whether an open one may run code of its own. guards: pairs that are only scored; their texts are
    embedded by open models alone.
    """

    base_model: str
    precision: str
    data: DataConfig
    sides: dict[str, LabelledPairs]
    query_document: bool
    view: ViewOptions = field(default_factory=ViewOptions)
    lora: bool = False
    matryoshka_dims: int = 0
    closed: ClosedConfig = field(default_factory=ClosedConfig)
    trust_remote_code: bool = False
    guards: tuple[LabelledPairs, ...] = ()


def embed_bases(
    config: SearchConfig,
    split: Split,
    cache: Path,
    emit: Emit,
    embed: EmbedAll | None = None,
    guards: Sequence[LabelledPairs] = (),
) -> tuple[dict[str, PreparedBase], dict[str, Any]]:
    """Embed for every base model; return the prepared base models by name, and the first one's `near_copies_by_side`.

    embed: how to carry out the orders; None for `embed_in_turn`. Pairs that a base model has no vector for are left out
    for all. guards: pairs to embed beside those of the split. Raises ConfigError, DataError or ModelError as
    `embed_base` does, ModelError also if too many are left out.
    """
    sides = labelled_sides(split, config.search.seed)
    query_document = split.pairs.columns.query_document
    orders = [
        EmbedOrder(
            base_model=name,
            precision=config.search.precision,
            data=config.data,
            sides=sides,
            query_document=query_document,
            view=ViewOptions(config.trained(name), config.data.max_length, config.search.folds, config.search.seed),
            lora=config.trained_by_lora(name),
            matryoshka_dims=_matryoshka_dims(config, name),
            closed=config.closed,
            trust_remote_code=config.search.trust_remote_code,
            guards=tuple(guards),
        )
        for name in config.base_models
    ]
    carry_out = embed or embed_in_turn
    bases = {base.name: base for base in carry_out(orders, cache, emit)}
    gone = {name: base.left_out for name, base in bases.items() if base.left_out}
    if left := LeftOut.count(sides, gone):
        emit(Message(left.sentence()))
        sides = without(sides, chain.from_iterable(gone.values()))
        # Everything is embedded: this only writes the views again.
        again = carry_out([replace(order, sides=sides) for order in orders], cache, ignore)
        bases = {base.name: _as_embedded(base, bases[base.name], gone) for base in again}
    return bases, near_copies_by_side(bases[config.base_models[0]], sides, cache, config.search.seed, emit)


def _as_embedded(base: PreparedBase, before: PreparedBase, gone: dict[str, list[str]]) -> PreparedBase:
    """Return the base model with fewer pairs, with what was embedded before and all the texts that are left out."""
    left_out = sorted(set(chain.from_iterable(gone.values())))
    return replace(base, embedded=before.embedded, seconds=before.seconds, left_out=left_out)


def _matryoshka_dims(config: SearchConfig, base_model: str) -> int:
    """Return the largest dims that a Matryoshka trial trains together with the base model's own, or 0."""
    found = [
        dims
        for space in config.spaces
        if base_model in space.base_model and True in space.matryoshka and None in space.dims
        for dims in space.dims
        if dims is not None
    ]
    return max(found, default=0)


def embed_in_turn(orders: Sequence[EmbedOrder], cache: Path, emit: Emit) -> list[PreparedBase]:
    """Carry out the orders in this process, one after the other."""
    return [embed_base(order, cache, emit) for order in orders]


def embed_base(order: EmbedOrder, cache: Path, emit: Emit) -> PreparedBase:
    """Embed the texts that the snapshot lacks and write the base model's view.

    Raises ConfigError if the base model does not fit the search, DataError and ModelError as `prepare_base` does.
    """
    name, data, sides = order.base_model, order.data, order.sides
    # An int8 model is made from the fp32 one, which also scores test.
    precision = "fp32" if order.precision == "int8" else order.precision
    source: Source | KnownSource
    if provider_of(name) is None:
        source = _open_source(order, precision, cache, emit)
    else:
        source = load_closed(name, data.max_length, order.closed)
    _check(order, source)
    given = (data.prompt_a, data.prompt_b)
    prompts = source.prompts(order.query_document, given)
    if not isinstance(source, ClosedSource):
        for remark in source.remarks(prompts, given):
            emit(Message(f"{name}: {remark}"))

    base = prepare_base(_embedding(source, order, cache, emit), sides, cache, prompts, order.view, emit)
    rate = f", {base.embedded} embedded now ({base.embedded / base.seconds:.0f} texts/s)"
    too_long = f", {base.cut_by_server} of them too long for the server and cut" if base.cut_by_server else ""
    emit(Message(f"{name}: {base.texts} texts{rate if base.embedded else ', all embedded before'}{too_long}"))
    if isinstance(source, ClosedSource):
        price = _usd_per_million(source, order, prompts)
        base = replace(base, closed=source.options.to_json(), usd_per_million_texts=price)
        if base.bought_usd:
            emit(Bought(name, base.bought_usd))
        return base
    trusted = order.trust_remote_code and bool(own_classes(source.model))
    notes = [source.note(prompts), "" if order.precision == "fp32" else REDUCED.format(order.precision)]
    routed = not isinstance(source, KnownSource) and has_routes(source.model)
    base = replace(base, routed=routed, trusted=trusted, revision=cached_commit(name))
    base = replace(base, note="; ".join(filter(None, notes)))
    if order.precision == "fp32":
        embed_pairs(base, source, order.guards, cache, emit)
        return base
    # Test is scored as by the exported model, which has fp32 weights.
    exact = source
    if order.precision == "bf16":
        exact = _open_source(order, "fp32", cache, ignore)
    return with_exact_test(base, exact, [sides["test"], *order.guards], cache, emit)


def _open_source(order: EmbedOrder, precision: str, cache: Path, emit: Emit) -> OpenSource:
    """Return the order's open model, loaded unless it is known and the order asks for no more than its vectors."""
    name, max_length = order.base_model, order.data.max_length

    def load() -> SentenceTransformerSource:
        emit(Message(f"{name}: loading"))
        return load_open(name, precision, max_length, trust_remote_code=order.trust_remote_code)

    if order.lora or order.trust_remote_code or order.precision == "int8":
        return load()
    return open_source(cache, Wanted(name, precision, max_length), load)


def _embedding(source: Source | KnownSource, order: EmbedOrder, cache: Path, emit: Emit) -> EmbeddingSource:
    """Return what embeds the texts of trials: the source itself, or its model in int8."""
    if order.precision != "int8" or not isinstance(source, SentenceTransformerSource):
        return source
    from tune.embed.int8 import Int8Source

    return Int8Source(source, cache, emit)


def _usd_per_million(source: ClosedSource, order: EmbedOrder, prompts: tuple[str, str]) -> float | None:
    """Return the price in USD of a million texts of the order's mean length; None if unknown."""
    by_prompt = texts_by_prompt(order.sides.values(), prompts)
    sent = (text for prompt, texts in by_prompt.items() for text in source.sent(texts, prompt))
    return estimate_for(source, sent, order.closed).per_million_texts()


def _check(order: EmbedOrder, source: Source | KnownSource) -> None:
    """Raise ConfigError for what is known to be wrong once the model is loaded, before anything is embedded."""
    if isinstance(source, ClosedSource):
        # The configuration has already refused what closed models cannot do.
        return
    problems = []
    if order.precision == "int8" and is_static(source.model):
        problems.append(INT8_STATIC.format(order.base_model))
    if order.lora:
        from tune.embed.attention import lora_targets

        if not lora_targets(source.model):
            problems.append(f"[space] {NO_ATTENTION.format(order.base_model)}")
    if order.matryoshka_dims >= source.dims:
        problems.append(
            f"[space] dims: {order.matryoshka_dims} together with none and matryoshka, but {order.base_model} itself "
            f"has {source.dims} dims; choose smaller ones"
        )
    if problems:
        raise ConfigError(problems)
