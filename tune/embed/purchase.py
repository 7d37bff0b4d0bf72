"""What a search would buy of closed models, said and agreed on before the first paid call.

Nothing here calls an API or writes a file: it counts what the snapshots lack, and puts a price on it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from tune.config.closed import ClosedConfig
from tune.config.search import SearchConfig
from tune.data.sides import labelled_sides
from tune.data.split import Split
from tune.embed.closed import ClosedSource
from tune.embed.closed.prices import Estimate, estimate_for, usd
from tune.embed.prepare import texts_by_prompt
from tune.embed.snapshot import Snapshot
from tune.embed.sources import load_closed
from tune.errors import UserError
from tune.events import Emit, Message

Ask = Callable[[str], bool]
"""A question to the person at the terminal -> whether they agree."""

Agree = Callable[[SearchConfig, Split, Emit], None]
"""Says what a search will buy, and has it agreed to. UserError where it is not."""


def texts_to_buy(
    source: ClosedSource, by_prompt: dict[str, list[str]], cache: Path | None, config: ClosedConfig
) -> Estimate:
    """What has to be bought of a closed model. cache: whose snapshot counts; None: all texts, the worst case.

    ModelError for a text that the model cannot take, whether it has to be bought or not.
    """
    snapshot = None if cache is None else Snapshot(cache / "snapshots", source.fingerprint, source.known_dims)
    sent: list[Iterable[str]] = []
    cut = 0
    for prompt, texts in by_prompt.items():
        whole = source.sent(texts, prompt)
        lacking = texts if snapshot is None else snapshot.lacking(prompt, texts)
        sent.append(whole if snapshot is None else source.sent(lacking, prompt))
        cut += source.above_limit(lacking, prompt)
    return replace(estimate_for(source, chain.from_iterable(sent), config), cut=cut)


def search_estimates(config: SearchConfig, split: Split, cache: Path | None) -> list[Estimate]:
    """Of each closed base model of a search, what has to be bought. cache, ModelError: as in `texts_to_buy`."""
    names = config.closed_models
    sides = labelled_sides(split, config.search.seed) if names else {}
    estimates = []
    for name in names:
        source = load_closed(name, config.data.max_length, config.closed)
        given = config.data.prompt_a, config.data.prompt_b
        by_prompt = texts_by_prompt(sides.values(), source.prompts(split.pairs.columns.query_document, given))
        estimates.append(texts_to_buy(source, by_prompt, cache, config.closed))
    return estimates


def agree(estimates: Sequence[Estimate], config: ClosedConfig, emit: Emit, ask: Ask | None, note: str = "") -> None:
    """Says what is to be bought; above max_embed_usd it asks. UserError where nobody agrees or can be asked.

    ask: None where nobody is at a terminal. note: said with every estimate.
    """
    _say(estimates, emit, note)
    _refuse_unknown(estimates)
    total = sum(one.usd or 0.0 for one in estimates)
    if total <= config.max_embed_usd:
        return
    above = f"about {usd(total)} USD, above --max-embed-usd {config.max_embed_usd:g}"
    if ask is None:
        raise UserError(
            f"nothing was bought: embedding costs {above}, and there is no terminal to ask at; agree to it with "
            f"--max-embed-usd {_at_least(total)}"
        )
    if not ask(f"Embedding costs {above}. Buy? [y/N] "):
        raise UserError(f"nothing was bought: embedding costs {above}, and it was not agreed to")


def within_agreed(estimates: Sequence[Estimate], agreed_usd: float) -> None:
    """UserError where it costs more than was agreed to elsewhere, or nobody knows how much."""
    _refuse_unknown(estimates)
    total = sum(one.usd or 0.0 for one in estimates)
    # The same sum, perhaps in another order.
    if total > agreed_usd * (1 + 1e-9):
        raise UserError(
            f"nothing was bought: embedding costs about {usd(total)} USD, and {usd(agreed_usd)} USD are agreed to; "
            f"agree to it with --max-embed-usd {_at_least(total)}"
        )


def agreement(ask: Ask | None) -> Agree:
    """`agree` for the searches of this machine, whose snapshots lie in the configuration's cache."""

    def agreed(config: SearchConfig, split: Split, emit: Emit) -> None:
        agree(search_estimates(config, split, config.search.cache.expanduser()), config.closed, emit, ask)

    return agreed


def _refuse_unknown(estimates: Iterable[Estimate]) -> None:
    if unknown := [one for one in estimates if one.usd is None]:
        names = ", ".join(one.name for one in unknown)
        raise UserError(
            f"nothing was bought: the price of {names} is not known; give it with --price-per-million "
            f"{unknown[0].name}=USD (per million tokens; 0 where it costs nothing)"
        )


def _say(estimates: Iterable[Estimate], emit: Emit, note: str) -> None:
    for one in estimates:
        if not one.texts:
            emit(Message(f"{one.name}: all texts were bought before"))
        else:
            emit(Message(f"to buy: {one.sentence()}{note}"))


def _at_least(total: float) -> str:
    """An amount that covers the total, to be typed: rounded up to the next cent."""
    return f"{int(total * 100) / 100 + 0.01:.2f}"
