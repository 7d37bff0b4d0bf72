"""What a search would buy from closed models, reported and approved before the first paid call.

Nothing here calls an API or writes a file: it counts what the snapshots lack, damaged vectors included, and prices it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from tune.config.closed import ClosedConfig
from tune.config.search import SearchConfig
from tune.data.split import Split, labelled_sides
from tune.embed.closed import ClosedSource
from tune.embed.closed.prices import Estimate, estimate_for, usd
from tune.embed.prepare import texts_by_prompt
from tune.embed.snapshot import Snapshot
from tune.embed.sources import load_closed
from tune.errors import ModelError, UserError
from tune.events import Emit, Message

Ask = Callable[[str], bool]
"""Puts a question to the person at the terminal; returns whether they agree."""


def texts_to_buy(
    source: ClosedSource, by_prompt: dict[str, list[str]], cache: Path | None, config: ClosedConfig
) -> Estimate:
    """Estimate what has to be bought from a closed model.

    by_prompt: the texts under each prompt. cache: where its snapshot is; None to count all texts, the worst case. One
    more text is counted if the source has to measure its vectors. Raises ModelError if the model cannot take one of the
    texts, bought already or not.
    """
    snapshot = None if cache is None else Snapshot.in_cache(cache, source.fingerprint, source.known_dims)
    sent: list[Iterable[str]] = []
    cut = 0
    for prompt, texts in by_prompt.items():
        whole = source.sent(texts, prompt)
        if snapshot is not None and source.options.too_long == "refuse":
            _refuse_cut(source, snapshot.cut_by_server(prompt, texts))
        lacking = texts if snapshot is None else snapshot.lacking(prompt, texts)
        sent.append(whole if snapshot is None else source.sent(lacking, prompt))
        cut += source.above_limit(lacking, prompt)
    if source.measures and (measured := max(chain.from_iterable(sent), key=len, default=None)) is not None:
        sent.append([measured])
    return replace(estimate_for(source, chain.from_iterable(sent), config), cut=cut)


def _refuse_cut(source: ClosedSource, texts: list[str]) -> None:
    if texts:
        which = "1 text" if len(texts) == 1 else f"{len(texts)} texts"
        raise ModelError(
            f"base model {source.name}: an earlier run cut {which} because the server refused longer ones (the first "
            f"begins {texts[0][:40]!r}); shorten them, set --max-length, or use --too-long truncate"
        )


def search_estimates(config: SearchConfig, split: Split, cache: Path | None) -> list[Estimate]:
    """Return `texts_to_buy` for each closed base model of a search."""
    names = config.closed_models
    sides = labelled_sides(split, config.search.seed) if names else {}
    estimates = []
    for name in names:
        source = load_closed(name, config.data.max_length, config.closed)
        given = config.data.prompt_a, config.data.prompt_b
        by_prompt = texts_by_prompt(sides.values(), source.prompts(split.pairs.columns.query_document, given))
        estimates.append(texts_to_buy(source, by_prompt, cache, config.closed))
    return estimates


def report_estimates(estimates: Iterable[Estimate], emit: Emit, note: str = "") -> None:
    """Emit a line for each estimate, with `note` at the end of those that have texts to buy."""
    for estimate in estimates:
        if not estimate.texts:
            emit(Message(f"{estimate.name}: all texts already bought"))
        else:
            emit(Message(f"to buy: {estimate.sentence()}{note}"))


def total_usd(estimates: Iterable[Estimate]) -> float:
    """Return the sum of all known costs in USD."""
    return sum(estimate.usd or 0.0 for estimate in estimates)


def agree(
    estimates: Sequence[Estimate],
    config: ClosedConfig,
    emit: Emit,
    ask: Ask | None,
    note: str = "",
    max_usd: float | None = None,
) -> None:
    """Report what is to be bought, and ask whether to buy it if it costs more than max_embed_usd.

    ask: None if there is no terminal to ask at. note: as in `report_estimates`. max_usd: limit of the whole search.
    Raises UserError if a price is unknown, the limit is too low, the purchase is declined, or nobody can be asked.
    """
    report_estimates(estimates, emit, note)
    _refuse_unknown(estimates)
    total = total_usd(estimates)
    if max_usd is not None and total > max_usd:
        raise UserError(
            f"nothing was bought: embedding alone costs about {usd(total)} USD, above --max-usd {max_usd:g}; allow at "
            f"least {_at_least(total)}"
        )
    if total <= config.max_embed_usd:
        return
    above = f"about {usd(total)} USD, above --max-embed-usd {config.max_embed_usd:g}"
    if ask is None:
        raise UserError(
            f"nothing was bought: embedding costs {above}, and there is no terminal to ask at; approve it with "
            f"--max-embed-usd {_at_least(total)}"
        )
    if not ask(f"Embedding costs {above}. Buy? [y/N] "):
        raise UserError(f"nothing was bought: embedding costs {above}, and it was not approved")


def within_agreed(estimates: Sequence[Estimate], agreed_usd: float) -> None:
    """Raise UserError if the total is unknown or above `agreed_usd`, which was approved on another machine."""
    _refuse_unknown(estimates)
    total = total_usd(estimates)
    # Tolerant, because the approved sum may have been added up in another order.
    if total > agreed_usd * (1 + 1e-9):
        raise UserError(
            f"nothing was bought: embedding costs about {usd(total)} USD, but only {usd(agreed_usd)} USD were "
            f"approved; approve it with --max-embed-usd {_at_least(total)}"
        )


def _refuse_unknown(estimates: Iterable[Estimate]) -> None:
    if unknown := [estimate for estimate in estimates if estimate.usd is None]:
        names = ", ".join(estimate.name for estimate in unknown)
        raise UserError(
            f"nothing was bought: the price of {names} is unknown; set it with --price-per-million "
            f"{unknown[0].name}=USD (per million tokens; 0 if it is free)"
        )


def _at_least(total: float) -> str:
    """Return an amount to type that covers the total: rounded up to the next cent."""
    return f"{int(total * 100) / 100 + 0.01:.2f}"
