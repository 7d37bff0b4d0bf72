"""ClosedConfig: how closed embedding models are asked and what they may cost; and which base models are closed.

Every option of the `[closed]` table is named, typed and given its default here, once. Keys are no options: they come
from the environment.
"""

from typing import Annotated, Any, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Provider = Literal["openai", "cohere"]
InputType = Literal["search_query", "search_document", "classification", "clustering"]
TooLong = Literal["truncate", "refuse"]

ADDRESS_OPTION: dict[Provider, str] = {"openai": "base_url", "cohere": "cohere_base_url"}
"""The option that says where a provider's models are asked, if not at the provider itself."""


def provider_of(base_model: str) -> Provider | None:
    """Whose a closed base model is (`openai:MODEL`, `cohere:MODEL`); None for all others, whose weights are at hand."""
    provider, colon, _ = base_model.partition(":")
    return cast(Provider, provider) if colon and provider in get_args(Provider) else None


def address_problem(url: str) -> str:
    """What is wrong with the address of a server, after its name; "" where nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.username or parts.password or parts.query:
        # Not quoted: what stands there may be a key.
        return "must hold no user, password or query; a key belongs into the environment"
    if parts.scheme not in ("http", "https") or not host or port == 0 or url != "".join(url.split()):
        return f"is no http(s) address: {url}; write it as in http://127.0.0.1:8080/v1"
    return ""


def _address(url: str) -> str:
    if problem := address_problem(url):
        raise ValueError(problem)
    return url


def _prices(given: Any) -> Any:
    """`a,b` of a number, a list or such a text; each is PRICE or NAME=PRICE."""
    if given is None:
        return None
    given = list(given) if isinstance(given, list | tuple) else [given]
    items = [part.strip() for item in given if not isinstance(item, bool) for part in str(item).split(",")]
    names = [_price(item)[0] for item in items]
    if not names or len(set(names)) < len(names):
        raise ValueError("give one price of a model; PRICE or NAME=PRICE, several as a list a,b")
    return ",".join(items)


def _price(item: str) -> tuple[str, float]:
    """(NAME, or "" for all models without a list price; PRICE)."""
    name, _, price = item.rpartition("=")
    name = name.strip()
    try:
        usd = float(price)
    except ValueError:
        raise ValueError(f"{item!r} is neither PRICE nor NAME=PRICE, as in openai:my-model=0.05") from None
    if name and provider_of(name) is None:
        raise ValueError(f"{name} is no closed model; write openai:MODEL=PRICE or cohere:MODEL=PRICE")
    if not 0 <= usd < float("inf"):
        raise ValueError(f"a price should be greater than or equal to 0, not {price}")
    return name, usd


class ClosedConfig(BaseModel):
    """The `[closed]` table: of base models `openai:MODEL[@DIMS]` and `cohere:MODEL[@DIMS]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: Annotated[
        str | None,
        AfterValidator(lambda url: None if url is None else _address(url)),
        Field(description="of openai: models: a server that speaks OpenAI's API, such as http://127.0.0.1:8080/v1"),
    ] = None
    cohere_base_url: Annotated[
        str | None,
        AfterValidator(lambda url: None if url is None else _address(url)),
        Field(description="of cohere: models: a gateway to Cohere's API"),
    ] = None
    input_type: Annotated[
        InputType | None,
        Field(
            description="of Cohere's models, for all texts (default: search_query and search_document for "
            "query/document pairs, else search_query)"
        ),
    ] = None
    too_long: Annotated[TooLong, Field(description="what happens to a text above the model's limit")] = "truncate"
    max_in_flight: Annotated[int, Field(ge=1, description="requests at a time")] = 4
    request_timeout: Annotated[float, Field(gt=0, le=3600, description="seconds without a byte of an answer")] = 60.0
    request_retries: Annotated[int, Field(ge=0, description="by the provider's SDK, of 429, 5xx and the like")] = 6
    max_embed_usd: Annotated[
        float, Field(ge=0, description="estimated price of the texts to embed up to which nobody is asked")
    ] = 1.0
    price_per_million: Annotated[
        str | None,
        BeforeValidator(_prices),
        Field(
            description="USD per million tokens: PRICE of the models without a list price, NAME=PRICE of that model "
            "instead of its list price; several as a list a,b"
        ),
    ] = None

    def price_of(self, *names: str) -> float | None:
        """The price given for the first of these names that has one."""
        given = dict(_price(item) for item in (self.price_per_million or "").split(",") if item)
        return next((given[name] for name in names if name in given), None)

    @property
    def unlisted_price(self) -> float | None:
        """The price given for all models without a list price."""
        return self.price_of("")
