"""What embedding texts with a closed model costs, before anything is bought: an estimate from dated list prices.

Pure numbers; nothing here calls an API.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tune.config.closed import ClosedConfig
from tune.embed.closed.clients import has_key
from tune.embed.closed.names import ClosedName, ClosedOptions, is_near
from tune.embed.closed.source import ClosedSource
from tune.embed.closed.tokens import estimate_tokens
from tune.errors import ModelError

PRICES_AS_OF = "2026-06"

PRICES: dict[str, float] = {
    "openai:text-embedding-3-small": 0.02,
    "openai:text-embedding-3-large": 0.13,
    "openai:text-embedding-ada-002": 0.10,
    "cohere:embed-v4.0": 0.12,
    "cohere:embed-english-v3.0": 0.10,
    "cohere:embed-multilingual-v3.0": 0.10,
    "cohere:embed-english-light-v3.0": 0.10,
    "cohere:embed-multilingual-light-v3.0": 0.10,
}
"""USD per million tokens of text, from the providers' pricing pages ("Pricing", OpenAI and Cohere). Cohere lists its v3
models there no more; theirs is the last price it listed."""

_BY_MODEL = {name.partition(":")[2]: price for name, price in PRICES.items()}


@dataclass(frozen=True)
class Estimate:
    """texts to buy, their tokens (an estimate, meant to be high), and their price where it is known.

    usd: None where nobody knows the price. price: USD per million tokens. origin: where the price is from. cut: texts
    that are too long for the model, and bought without their ends.
    """

    name: str
    texts: int
    tokens: int
    usd: float | None
    price: float | None
    origin: str
    cut: int = 0

    def sentence(self) -> str:
        """As in "openai:text-embedding-3-small: 5 texts, about 60 tokens (an estimate), about 0.0000012 USD …"."""
        too_long = f" ({self.cut:,} of them too long, cut to its limit)" if self.cut else ""
        count = f"{self.name}: {self.texts:,} texts{too_long}, about {self.tokens:,} tokens (an estimate)"
        if self.usd is None:
            return f"{count}, price unknown: give the USD per million tokens"
        return f"{count}, about {usd(self.usd)} USD at {self.price:g} USD per million tokens ({self.origin})"

    def per_million_texts(self) -> float | None:
        """USD for a million texts of this mean length; None where that is not known."""
        return self.tokens / self.texts * self.price if self.texts and self.price is not None else None

    def within(self, most: float) -> bool:
        """Whether it surely costs `most` USD or less, so far as the estimate holds."""
        return self.usd is not None and self.usd <= most


def estimate(
    name: ClosedName,
    texts: Iterable[str],
    options: ClosedOptions | None = None,
    *,
    price_per_million: float | None = None,
    unlisted_price: float | None = None,
    keyed: bool = False,
    tokens_per_text: int | None = None,
) -> Estimate:
    """The estimate for `texts`, as they are to be sent (`ClosedSource.sent`), each of which is bought.

    price_per_million: overrides the table. unlisted_price: of a model that is not in it. keyed: whether a key is sent
    along. tokens_per_text: what the API counts of a text at most, where it cuts.
    A model that is not in the table costs nothing on this machine or its network (base_url) if it wants no key: what is
    given one there may be a gateway to a paid model. Elsewhere its price is unknown. One that is in the table costs its
    price, whatever gateway it is reached by, and under whatever prefix (`openai:openai/MODEL`). ModelError: a negative
    price.
    """
    for price in (price_per_million, unlisted_price):
        if price is not None and not 0 <= price < float("inf"):
            raise ModelError(f"base model {name}: a price is 0 USD or more per million tokens, not {price:g}")
    count = tokens = 0
    for text in texts:
        count += 1
        of_text = estimate_tokens(text)
        tokens += of_text if tokens_per_text is None else min(of_text, tokens_per_text)
    price, origin = _price(name, options or ClosedOptions(), price_per_million, unlisted_price, keyed)
    cost = 0.0 if not count else None if price is None else tokens * price / 1e6
    return Estimate(str(name), count, tokens, cost, price, origin)


def estimate_for(source: ClosedSource, sent: Iterable[str], config: ClosedConfig) -> Estimate:
    """The estimate for texts as the source sends them, with the prices that the configuration gives."""
    return estimate(
        source.closed,
        sent,
        source.options,
        price_per_million=config.price_of(source.name, source.closed.base),
        unlisted_price=config.unlisted_price,
        keyed=not source.keyless and has_key(source.closed),
        tokens_per_text=source.tokens_per_text,
    )


def _price(
    name: ClosedName, options: ClosedOptions, given: float | None, unlisted: float | None, keyed: bool
) -> tuple[float | None, str]:
    if given is not None:
        return given, "as given"
    # Gateways put the provider, or several, before a model's name.
    listed = PRICES.get(name.base, _BY_MODEL.get(name.model.split("/")[-1]))
    if listed is not None:
        return listed, f"list price of {PRICES_AS_OF}"
    if unlisted is not None:
        return unlisted, "as given"
    if options.base_url is not None and options.server(name.provider) and is_near(options.base_url) and not keyed:
        return 0.0, "own server"
    return None, "unknown"


def usd(amount: float) -> str:
    """An amount for people: cents from a cent on, two significant digits below."""
    if amount >= 0.01 or not amount:
        return f"{amount:,.2f}"
    return f"{amount:.2g}" if amount >= 1e-4 else f"{amount:.8f}".rstrip("0")
