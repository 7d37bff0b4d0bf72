"""Texts that a command buys outside a search: approved first, and kept in the cache."""

from tune.config.search import SearchConfig
from tune.embed.closed import ClosedSource
from tune.embed.purchase import Ask, agree, texts_to_buy
from tune.embed.snapshot import Snapshot
from tune.events import Emit
from tune.pipeline.environment import check_cache


def approved(
    source: ClosedSource, by_prompt: dict[str, list[str]], config: SearchConfig, emit: Emit, ask: Ask | None
) -> Snapshot:
    """Return the snapshot that the texts may be embedded in, once the cost of those that it lacks is approved.

    by_prompt: texts under each prompt. ask: as in `agree`. Raises UserError if the cache cannot be used or the cost is
    not approved.
    """
    cache = config.search.cache.expanduser()
    check_cache(cache)
    agree([texts_to_buy(source, by_prompt, cache, config.closed)], config.closed, emit, ask)
    return Snapshot.in_cache(cache, source.fingerprint, source.known_dims)
