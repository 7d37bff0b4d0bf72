"""ClosedConfig: how to call closed embedding models and what they may cost; also which base models are closed.

Names, types and defaults of the options of the `[closed]` table. API keys are not options: they come from the
environment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

Provider = Literal["openai", "cohere"]
InputType = Literal["search_query", "search_document", "classification", "clustering"]
TooLong = Literal["truncate", "refuse"]

ADDRESS_OPTION: dict[Provider, str] = {"openai": "base_url", "cohere": "cohere_base_url"}
"""The option with the address to call for a provider's models, if not the provider's own."""


def provider_of(base_model: str) -> Provider | None:
    """Return the provider of a closed base model (`openai:MODEL`, `cohere:MODEL`); None for open weights."""
    provider, colon, _ = base_model.partition(":")
    return cast(Provider, provider) if colon and provider in get_args(Provider) else None


def address_problem(url: str) -> str:
    """Return what is wrong with a server's address, as the rest of a sentence about it; "" if nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.username or parts.password or parts.query:
        # The address is not quoted: it may contain a key.
        return "must not contain a user, password or query; set the key in the environment"
    if parts.scheme not in ("http", "https") or not host or port == 0 or url != "".join(url.split()):
        return f"is not an http(s) address: {url}; write it like http://127.0.0.1:8080/v1"
    return ""


def _address(url: str | None) -> str | None:
    if url is not None and (problem := address_problem(url)):
        raise ValueError(problem)
    return url


@dataclass(frozen=True)
class Prices(Mapping[str, float]):
    """USD per million tokens by model name; "" is any model without a list price.

    `spelling` is how the prices were given, so that a written configuration repeats them exactly.
    """

    spelling: str
    usd: dict[str, float] = field(compare=False, repr=False)

    def __getitem__(self, name: str) -> float:
        return self.usd[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.usd)

    def __len__(self) -> int:
        return len(self.usd)


def _prices(given: Any) -> Prices | None:
    """Parse `a,b` as a number, a list or text; each item is PRICE or NAME=PRICE."""
    if given is None or isinstance(given, Prices):
        return given
    given = list(given) if isinstance(given, list | tuple) else [given]
    items = [part.strip() for item in given if not isinstance(item, bool) for part in str(item).split(",")]
    prices = [_price(item) for item in items]
    by_name = dict(prices)
    if not prices or len(by_name) < len(prices):
        raise ValueError("give one price per model, as PRICE or NAME=PRICE; several as a list a,b")
    return Prices(",".join(items), by_name)


def _price(item: str) -> tuple[str, float]:
    """Parse one item to (NAME, or "" for all models without a list price; PRICE)."""
    name, _, price = item.rpartition("=")
    name = name.strip()
    try:
        usd = float(price)
    except ValueError:
        raise ValueError(f"{item!r} is neither PRICE nor NAME=PRICE, as in openai:my-model=0.05") from None
    if name and provider_of(name) is None:
        raise ValueError(f"{name} is not a closed model; write openai:MODEL=PRICE or cohere:MODEL=PRICE")
    if not 0 <= usd < float("inf"):
        raise ValueError(f"a price should be greater than or equal to 0, not {price}")
    return name, usd


def _spelling(prices: Prices | None) -> str | None:
    return None if prices is None else prices.spelling


class ClosedConfig(BaseModel):
    """The `[closed]` table: options for base models `openai:MODEL[@DIMS]` and `cohere:MODEL[@DIMS]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: Annotated[
        str | None,
        AfterValidator(_address),
        Field(description="for openai: models: a server that speaks OpenAI's API, such as http://127.0.0.1:8080/v1"),
    ] = None
    cohere_base_url: Annotated[
        str | None,
        AfterValidator(_address),
        Field(description="for cohere: models: a gateway to Cohere's API"),
    ] = None
    input_type: Annotated[
        InputType | None,
        Field(
            description="Cohere's input type for all texts (default: search_query and search_document for "
            "query/document pairs, else search_query)"
        ),
    ] = None
    too_long: Annotated[TooLong, Field(description="what to do with texts above the model's limit")] = "truncate"
    texts_per_request: Annotated[
        int | None,
        Field(ge=1, description="most texts in one request (default: the provider's limit, 32 for other servers)"),
    ] = None
    max_in_flight: Annotated[int, Field(ge=1, description="requests at a time")] = 4
    request_timeout: Annotated[float, Field(gt=0, le=3600, description="seconds to wait without receiving a byte")] = (
        60.0
    )
    request_retries: Annotated[int, Field(ge=0, description="retries after 429, 5xx, cut answers and such")] = 6
    max_embed_usd: Annotated[
        float, Field(ge=0, description="embed without asking if the estimated price is at most this")
    ] = 1.0
    price_per_million: Annotated[
        Prices | None,
        PlainValidator(_prices),
        PlainSerializer(_spelling),
        Field(
            description="USD per million tokens: PRICE for models without a list price, NAME=PRICE to replace a "
            "model's list price; several as a list a,b"
        ),
    ] = None

    def price_of(self, *names: str) -> float | None:
        """Return the price given for the first of these names that has one."""
        prices: Mapping[str, float] = self.price_per_million or {}
        return next((prices[name] for name in names if name in prices), None)

    @property
    def unlisted_price(self) -> float | None:
        """The price given for all models without a list price."""
        return self.price_of("")
