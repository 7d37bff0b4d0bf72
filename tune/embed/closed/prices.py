"""Estimates of what embedding texts with a closed model costs before anything is bought, from dated list prices.

Numbers only: nothing here calls an API.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tune.config.closed import ClosedConfig
from tune.embed.closed.clients import has_key
from tune.embed.closed.names import ClosedName, ClosedOptions, is_private_server
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
"""USD per million tokens of text, from the providers' pricing pages ("Pricing", OpenAI and Cohere). Cohere no longer
lists its v3 models; these are the last prices it listed for them."""

_BY_MODEL = {name.partition(":")[2]: price for name, price in PRICES.items()}


@dataclass(frozen=True)
class Price:
    """USD per million tokens, None if unknown, and the origin of the price for people to read."""

    usd: float | None
    origin: str


@dataclass(frozen=True)
class Estimate:
    """Number of texts to buy, their estimated tokens (meant to be high), and the cost.

    usd: cost of all texts, None if the price is unknown. price: USD per million tokens. origin: where the price is
    from. cut: how many texts exceed the model's limit and are bought without their ends.
    """

    name: str
    texts: int
    tokens: int
    usd: float | None
    price: float | None
    origin: str
    cut: int = 0

    def sentence(self) -> str:
        """Return, for example, "openai:text-embedding-3-small: 5 texts, about 60 tokens (an estimate), about …"."""
        too_long = f" ({self.cut:,} of them too long, cut to its limit)" if self.cut else ""
        count = f"{self.name}: {self.texts:,} texts{too_long}, about {self.tokens:,} tokens (an estimate)"
        if self.usd is None:
            return f"{count}, price unknown: give the USD per million tokens"
        return f"{count}, about {usd(self.usd)} USD at {self.price:g} USD per million tokens ({self.origin})"

    def per_million_texts(self) -> float | None:
        """Return the cost in USD of a million texts of this mean length; None if unknown."""
        return self.tokens / self.texts * self.price if self.texts and self.price is not None else None

    def within(self, most: float) -> bool:
        """Return whether the cost is known and at most `most` USD."""
        return self.usd is not None and self.usd <= most


def price_of(
    name: ClosedName,
    options: ClosedOptions | None = None,
    *,
    given: float | None = None,
    unlisted: float | None = None,
    keyed: bool = False,
) -> Price:
    """Return the price of a model: `given`, else its list price, else `unlisted`, else 0 on a private server.

    A listed model costs its list price through any gateway and under any prefix (`openai:openai/MODEL`). An unlisted
    one is free on a server of this machine or its network (base_url) unless a key is sent (keyed): a server that takes
    a key may be a gateway to a paid model. Otherwise its price is unknown. Raises ModelError for a negative price.
    """
    for amount in (given, unlisted):
        if amount is not None and not 0 <= amount < float("inf"):
            raise ModelError(f"base model {name}: a price must be 0 USD or more per million tokens, not {amount:g}")
    if given is not None:
        return Price(given, "as given")
    # Gateways put the name of one or several providers before the model's.
    listed = PRICES.get(name.base, _BY_MODEL.get(name.model.split("/")[-1]))
    if listed is not None:
        return Price(listed, f"list price of {PRICES_AS_OF}")
    if unlisted is not None:
        return Price(unlisted, "as given")
    url = options.base_url if options else None
    if options and url is not None and options.server(name.provider) and is_private_server(url) and not keyed:
        return Price(0.0, "own server")
    return Price(None, "unknown")


def estimate(
    name: ClosedName, texts: Iterable[str], price: Price | None = None, tokens_per_text: int | None = None
) -> Estimate:
    """Estimate the cost of buying each of `texts` as sent (see `ClosedSource.sent`).

    price: `price_of(name)` by default. tokens_per_text: the most tokens that the API counts of a text, if it cuts.
    """
    price = price or price_of(name)
    count = tokens = 0
    for text in texts:
        count += 1
        of_text = estimate_tokens(text)
        tokens += of_text if tokens_per_text is None else min(of_text, tokens_per_text)
    cost = 0.0 if not count else None if price.usd is None else tokens * price.usd / 1e6
    return Estimate(str(name), count, tokens, cost, price.usd, price.origin)


def estimate_for(source: ClosedSource, sent: Iterable[str], config: ClosedConfig) -> Estimate:
    """Estimate the cost of texts as the source sends them, at the prices of the configuration."""
    price = price_of(
        source.closed,
        source.options,
        given=config.price_of(source.name, source.closed.base),
        unlisted=config.unlisted_price,
        keyed=not source.keyless and has_key(source.closed),
    )
    return estimate(source.closed, sent, price, source.tokens_per_text)


def usd(amount: float) -> str:
    """Format an amount for people: whole cents from one cent up, two significant digits below."""
    if amount >= 0.01 or not amount:
        return f"{amount:,.2f}"
    return f"{amount:.2g}" if amount >= 1e-4 else f"{amount:.8f}".rstrip("0")
