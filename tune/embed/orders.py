"""From the split to what trials read: every base model's texts embedded once, and its view.

An EmbedOrder is plain data, so that it can be carried out on another machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tune.config.closed import ClosedConfig, provider_of
from tune.config.data import DataConfig
from tune.config.search import SearchConfig
from tune.config.space_rules import NO_ATTENTION
from tune.data.sides import LabelledPairs, labelled_sides
from tune.data.split import Split
from tune.embed.closed import ClosedSource
from tune.embed.closed.prices import estimate_for
from tune.embed.leaks import near_copies_by_side
from tune.embed.prepare import PreparedBase, prepare_base, texts_by_prompt, with_exact_test
from tune.embed.sources import Source, load_open, load_source
from tune.errors import ConfigError
from tune.events import Embedding, Emit, Message

EmbedAll = Callable[[Sequence["EmbedOrder"], Path, Emit], list[PreparedBase]]
"""(orders, cache, emit) -> the base models, in the same order."""


@dataclass(frozen=True)
class EmbedOrder:
    """A base model and the texts that it has to embed.

    sides: train (in its seeded order), val and test. query_document: whether the columns are such. texts: whether
    some trial trains the base model itself, and reads texts; lora: whether one does so with LoRA. smaller: the largest
    of the dims that have to be smaller than the base model's own, or 0. folds, seed: of train and val. closed: how
    closed models are asked.
    """

    base_model: str
    precision: str
    data: DataConfig
    sides: dict[str, LabelledPairs]
    query_document: bool
    texts: bool = False
    lora: bool = False
    smaller: int = 0
    folds: int = 0
    seed: int = 0
    closed: ClosedConfig = field(default_factory=ClosedConfig)


def embed_bases(
    config: SearchConfig, split: Split, cache: Path, emit: Emit, embed: EmbedAll | None = None
) -> tuple[dict[str, PreparedBase], dict[str, Any]]:
    """Every base model's snapshot and view, and the counter of near copies (by the first base model).

    embed: who embeds; None: this process, one after the other.
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
            texts=config.trained(name),
            lora=config.trained_by_lora(name),
            smaller=_below_own(config, name),
            folds=config.search.folds,
            seed=config.search.seed,
            closed=config.closed,
        )
        for name in config.base_models
    ]
    bases = {base.name: base for base in (embed or embed_in_turn)(orders, cache, emit)}
    return bases, near_copies_by_side(bases[config.base_models[0]], sides, cache, config.search.seed)


def _below_own(config: SearchConfig, base_model: str) -> int:
    """The largest of the dims that some Matryoshka trial wants beside the base model's own."""
    wanted = [
        dims
        for space in config.spaces
        if base_model in space.base_model and True in space.matryoshka and None in space.dims
        for dims in space.dims
        if dims is not None
    ]
    return max(wanted, default=0)


def embed_in_turn(orders: Sequence[EmbedOrder], cache: Path, emit: Emit) -> list[PreparedBase]:
    """The base models in this process, one after the other."""
    return [embed_base(order, cache, emit) for order in orders]


def embed_base(order: EmbedOrder, cache: Path, emit: Emit) -> PreparedBase:
    """Embeds what the snapshot lacks of one base model's texts, and writes its view."""
    name, data, sides = order.base_model, order.data, order.sides
    if provider_of(name) is None:
        emit(Message(f"{name}: loading"))
    source = load_source(name, order.precision, data.max_length, order.closed)
    _check(order, source)
    prompts = source.prompts(order.query_document, (data.prompt_a, data.prompt_b))

    def told(*progress: Any) -> None:
        emit(Embedding(*progress))

    base = prepare_base(
        source,
        sides,
        cache,
        prompts,
        told,
        texts=order.texts,
        max_length=data.max_length,
        folds=order.folds,
        seed=order.seed,
    )
    rate = f", {base.embedded} embedded now ({base.embedded / base.seconds:.0f} texts/s)"
    emit(Message(f"{name}: {base.texts} texts{rate if base.embedded else ', all embedded before'}"))
    if isinstance(source, ClosedSource):
        return replace(
            base, closed=source.options.to_json(), usd_per_million_texts=_usd_per_million(source, order, prompts)
        )
    if order.precision == "bf16":
        # Test is reported as the exported model gives it, and that has fp32 weights.
        base = with_exact_test(base, load_open(name, "fp32", data.max_length), sides["test"], cache, told)
    return base


def _usd_per_million(source: ClosedSource, order: EmbedOrder, prompts: tuple[str, str]) -> float | None:
    """USD for a million texts as long as those of the order are on average."""
    by_prompt = texts_by_prompt(order.sides.values(), prompts)
    sent = (text for prompt, texts in by_prompt.items() for text in source.sent(texts, prompt))
    return estimate_for(source, sent, order.closed).per_million_texts()


def _check(order: EmbedOrder, source: Source) -> None:
    """What can be refused once the model is there, before anything is embedded."""
    if isinstance(source, ClosedSource):
        # The configuration has refused already what cannot be with one.
        return
    problems = []
    if order.lora:
        from tune.embed.attention import lora_targets

        if not lora_targets(source.model):
            problems.append(f"[space] {NO_ATTENTION.format(order.base_model)}")
    if order.smaller >= source.dims:
        problems.append(
            f"[space] dims: {order.smaller} beside none with matryoshka, but {order.base_model} has {source.dims} "
            "dimensions itself; give smaller ones"
        )
    if problems:
        raise ConfigError(problems)
