"""Names of closed models (`openai:MODEL[@DIMS]`, `cohere:MODEL[@DIMS]`), how to call them, and their limits.

Plain data without secrets, safe to write to results, pickle and print.
"""

import ipaddress
from dataclasses import asdict, dataclass
from typing import Any, Self, get_args
from urllib.parse import urlsplit

from tune.config.closed import ADDRESS_OPTION, ClosedConfig, InputType, Provider, TooLong, address_problem, provider_of
from tune.errors import ModelError

OFFICIAL: dict[Provider, str] = {"openai": "https://api.openai.com/v1", "cohere": "https://api.cohere.com"}
"""Address of a provider, used if no base_url is given."""


@dataclass(frozen=True)
class ModelFacts:
    """dims: of the model's vectors. shorter: other dims it offers; None for any up to dims. tokens: limit per text."""

    dims: int
    shorter: tuple[int, ...] | None
    tokens: int


MODELS: dict[str, ModelFacts] = {
    "openai:text-embedding-3-small": ModelFacts(1536, None, 8191),
    "openai:text-embedding-3-large": ModelFacts(3072, None, 8191),
    "openai:text-embedding-ada-002": ModelFacts(1536, (), 8191),
    "cohere:embed-v4.0": ModelFacts(1536, (256, 512, 1024), 128_000),
    "cohere:embed-english-v3.0": ModelFacts(1024, (), 512),
    "cohere:embed-multilingual-v3.0": ModelFacts(1024, (), 512),
    "cohere:embed-english-light-v3.0": ModelFacts(384, (), 512),
    "cohere:embed-multilingual-light-v3.0": ModelFacts(384, (), 512),
}
"""As of 2026-11: OpenAI's API reference, "Create embeddings"; Cohere's docs, "Cohere's Embed Models (Details and
Application)". Models that are not listed work too: their dims come with the first vectors."""


@dataclass(frozen=True)
class RequestLimits:
    """The most texts and estimated tokens in one request."""

    texts: int
    tokens: int


REQUESTS: dict[str, RequestLimits] = {
    # 2,048 inputs and 300,000 tokens ("Create embeddings"). A byte-level tokenizer makes at most one token per byte,
    # three times the result of `estimate_tokens`, so a third of the limit is safe for any text.
    "openai": RequestLimits(2048, 100_000),
    # 96 texts (API reference, "Embed API (v2)"); 128,000 tokens in total.
    "cohere": RequestLimits(96, 100_000),
    # Other servers: the smallest default we know of (Text Embeddings Inference, --max-client-batch-size 32 and
    # --max-batch-tokens 16384).
    "server": RequestLimits(32, 8_000),
}


@dataclass(frozen=True)
class ClosedName:
    """A closed model: provider, model, and the dims requested (None for the model's own)."""

    provider: Provider
    model: str
    dims: int | None = None

    def __str__(self) -> str:
        return self.base if self.dims is None else f"{self.base}@{self.dims}"

    @property
    def base(self) -> str:
        """PROVIDER:MODEL, without dims."""
        return f"{self.provider}:{self.model}"

    @property
    def facts(self) -> ModelFacts | None:
        """What is known about the model; None if it is not in the table."""
        return MODELS.get(self.base)

    @property
    def asked_dims(self) -> int | None:
        """The dims to request; None for the model's own, since some models refuse the parameter altogether."""
        return None if self.facts is not None and self.dims == self.facts.dims else self.dims

    @property
    def known_dims(self) -> int | None:
        """Dims of the vectors; None if unknown before the first request."""
        return self.dims or (self.facts.dims if self.facts else None)


def parse_closed(name: str) -> ClosedName | None:
    """Parse `openai:MODEL[@DIMS]` or `cohere:MODEL[@DIMS]`; return None for any other name.

    Raises ModelError if the name is malformed or the model is known not to offer these dims.
    """
    provider = provider_of(name)
    if provider is None:
        return None
    rest = name.partition(":")[2]
    model, at, asked = rest.rpartition("@") if "@" in rest else (rest, "", "")
    shape = f"base model {name}: write {provider}:MODEL or {provider}:MODEL@DIMS, such as {_example(provider)}"
    if not model or model != "".join(model.split()) or "@" in model:
        raise ModelError(shape)
    if at and not (asked.isascii() and asked.isdigit() and int(asked) > 0):
        raise ModelError(f"{shape}; DIMS must be a whole number above 0")
    closed = ClosedName(provider, model, int(asked) if at else None)
    facts = closed.facts
    if facts is None or closed.dims is None or closed.dims == facts.dims:
        return closed
    if facts.shorter is None and closed.dims <= facts.dims:
        return closed
    if facts.shorter is not None and closed.dims in facts.shorter:
        return closed
    can = f"1 to {facts.dims}" if facts.shorter is None else ", ".join(map(str, (*facts.shorter, facts.dims)))
    raise ModelError(f"base model {name}: {closed.base} offers vectors of {can} dims, not {closed.dims}")


def _example(provider: str) -> str:
    return "openai:text-embedding-3-large@256" if provider == "openai" else "cohere:embed-v4.0"


@dataclass(frozen=True)
class ClosedOptions:
    """How to call a closed model; no secrets, since keys come from the environment. Raises ModelError for bad values.

    base_url: an OpenAI-compatible server (or a gateway to Cohere); None for the provider itself. input_type: for all
    texts, Cohere only; None for query and document if the pairs are such, else search_query for both. max_in_flight:
    concurrent requests. timeout: seconds without receiving a byte. max_retries: on 429, 5xx, (OpenAI) timeouts and
    answers that are cut or report an error; a provider may bill an answer that came too late. too_long: what to do with
    texts above the model's limit. texts_per_request: at most; None for the provider's limit, 32 for other servers.
    """

    base_url: str | None = None
    input_type: InputType | None = None
    max_in_flight: int = 4
    timeout: float = 60.0
    max_retries: int = 6
    too_long: TooLong = "truncate"
    texts_per_request: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.base_url is not None:
            problems += [f"base_url {problem}"] if (problem := address_problem(self.base_url)) else []
        if self.input_type is not None and self.input_type not in get_args(InputType):
            problems.append(f"input_type must be one of {', '.join(get_args(InputType))}, not {self.input_type}")
        if self.too_long not in get_args(TooLong):
            problems.append(f"too_long must be truncate or refuse, not {self.too_long}")
        if self.max_in_flight < 1:
            problems.append(f"max_in_flight must be at least 1, not {self.max_in_flight}")
        if not 0 < self.timeout < float("inf"):
            problems.append(f"timeout must be above 0 seconds, not {self.timeout:g}")
        if self.max_retries < 0:
            problems.append(f"max_retries must be at least 0, not {self.max_retries}")
        if self.texts_per_request is not None and self.texts_per_request < 1:
            problems.append(f"texts_per_request must be at least 1, not {self.texts_per_request}")
        if problems:
            raise ModelError(f"closed model options: {'; '.join(problems)}")

    @classmethod
    def of(cls, config: ClosedConfig, provider: Provider, before: Self | None = None) -> Self:
        """Return the configuration's options for a provider's models.

        before: earlier options, kept unless the configuration sets them explicitly.
        """
        values = {
            own: getattr(config, option)
            for own, option in (
                ("base_url", ADDRESS_OPTION[provider]),
                ("input_type", "input_type"),
                ("texts_per_request", "texts_per_request"),
                ("max_in_flight", "max_in_flight"),
                ("timeout", "request_timeout"),
                ("max_retries", "request_retries"),
                ("too_long", "too_long"),
            )
            if before is None or option in config.model_fields_set
        }
        return cls(**{**(before.to_json() if before else {}), **values})

    def server(self, provider: Provider) -> str | None:
        """Return HOST[:PORT]/PATH of the server if it is not the provider itself, else None."""
        if self.base_url is None or _place(self.base_url) == _place(OFFICIAL[provider]):
            return None
        return _place(self.base_url)

    def is_official(self, provider: Provider) -> bool:
        """Return whether requests go to the provider itself, encrypted."""
        return self.base_url is None or (self.base_url.startswith("https:") and self.server(provider) is None)

    def is_elsewhere(self, provider: Provider, url: str) -> bool:
        """Return whether `url` is another place than the one that requests go to."""
        return _place(url) != _place(self.base_url or OFFICIAL[provider])

    def limits(self, provider: Provider) -> RequestLimits:
        """Return the limits of one request."""
        own = REQUESTS["server" if provider == "openai" and self.server(provider) else provider]
        return RequestLimits(self.texts_per_request or own.texts, own.tokens)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from the values of `to_json`. Raises ModelError if there are unknown ones."""
        try:
            return cls(**values)
        except TypeError:
            raise ModelError(f"closed model options: unknown ones among {', '.join(values)}") from None


def is_private_server(url: str) -> bool:
    """Return whether a server is on this machine or its network: a private address or a local name."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc.lower()}{parts.path.rstrip('/')}"
