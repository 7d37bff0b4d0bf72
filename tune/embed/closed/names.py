"""How closed models are named and asked: `openai:MODEL[@DIMS]`, `cohere:MODEL[@DIMS]`, their options and limits.

Plain data without secrets: it may be written to results, pickled and printed.
"""

import ipaddress
from dataclasses import asdict, dataclass
from typing import Any, Self, get_args
from urllib.parse import urlsplit

from tune.config.closed import ADDRESS_OPTION, ClosedConfig, InputType, Provider, TooLong, address_problem, provider_of
from tune.errors import ModelError

OFFICIAL: dict[Provider, str] = {"openai": "https://api.openai.com/v1", "cohere": "https://api.cohere.com"}
"""Where a provider answers when no base_url is given."""


@dataclass(frozen=True)
class ModelFacts:
    """dims: of its vectors. shorter: the other dims it can be asked for; None means any up to dims.

    tokens: of one text at most.
    """

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
Application)". Models that are not here work too: their dims come with the first vectors."""


@dataclass(frozen=True)
class RequestLimits:
    """texts and estimated tokens of one request at most."""

    texts: int
    tokens: int


REQUESTS: dict[str, RequestLimits] = {
    # 2,048 inputs and 300,000 tokens ("Create embeddings"). A byte-level tokenizer makes at most one token of a byte,
    # three times what `estimate_tokens` says, so a third of the limit holds for any text.
    "openai": RequestLimits(2048, 100_000),
    # 96 texts (API reference, "Embed API (v2)"); 128,000 tokens in all.
    "cohere": RequestLimits(96, 100_000),
    # Other servers: the smallest default among them (Text Embeddings Inference, --max-client-batch-size 32 and
    # --max-batch-tokens 16384).
    "server": RequestLimits(32, 8_000),
}


@dataclass(frozen=True)
class ClosedName:
    """A closed model: provider, model, and the dims asked for (None: the model's own)."""

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
        """What is known of the model; None for models that are not in the table."""
        return MODELS.get(self.base)

    @property
    def asked_dims(self) -> int | None:
        """The dims to ask the API for; None for the model's own, which some models do not let themselves be asked."""
        return None if self.facts is not None and self.dims == self.facts.dims else self.dims

    @property
    def known_dims(self) -> int | None:
        """The dims of its vectors where that is known before any call."""
        return self.dims or (self.facts.dims if self.facts else None)


def parse_closed(name: str) -> ClosedName | None:
    """`openai:MODEL[@DIMS]` or `cohere:MODEL[@DIMS]`; None for any other name.

    ModelError where the name is malformed, or where the model is known not to give such dims.
    """
    provider = provider_of(name)
    if provider is None:
        return None
    rest = name.partition(":")[2]
    model, at, asked = rest.rpartition("@") if "@" in rest else (rest, "", "")
    shape = f"base model {name}: write {provider}:MODEL or {provider}:MODEL@DIMS, as in {_example(provider)}"
    if not model or model != "".join(model.split()) or "@" in model:
        raise ModelError(shape)
    if at and not (asked.isascii() and asked.isdigit() and int(asked) > 0):
        raise ModelError(f"{shape}; DIMS is a whole number above 0")
    closed = ClosedName(provider, model, int(asked) if at else None)
    facts = closed.facts
    if facts is None or closed.dims is None or closed.dims == facts.dims:
        return closed
    if facts.shorter is None and closed.dims <= facts.dims:
        return closed
    if facts.shorter is not None and closed.dims in facts.shorter:
        return closed
    can = f"1 to {facts.dims}" if facts.shorter is None else ", ".join(map(str, (*facts.shorter, facts.dims)))
    raise ModelError(f"base model {name}: {closed.base} gives vectors of {can} dims, not {closed.dims}")


def _example(provider: str) -> str:
    return "openai:text-embedding-3-large@256" if provider == "openai" else "cohere:embed-v4.0"


@dataclass(frozen=True)
class ClosedOptions:
    """How a closed model is asked. No secrets: keys come from the environment. ModelError where a value is wrong.

    base_url: an OpenAI-compatible server (or a gateway to Cohere), None for the provider itself. input_type: of all
    texts, for Cohere (others know none); None: queries and documents where the pairs are such, else search_query for
    both. max_in_flight: requests at a time. timeout: seconds without a byte of the answer. max_retries: by the SDK, of
    429, 5xx and (OpenAI) timeouts; a provider may bill an answer that it gave too late. too_long: what happens to a
    text above the model's limit. texts_per_request: None for the provider's limit, 32 for other servers.
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
            problems.append(f"input_type is one of {', '.join(get_args(InputType))}, not {self.input_type}")
        if self.too_long not in get_args(TooLong):
            problems.append(f"too_long is truncate or refuse, not {self.too_long}")
        if self.max_in_flight < 1:
            problems.append(f"max_in_flight must be at least 1, not {self.max_in_flight}")
        if not 0 < self.timeout < float("inf"):
            problems.append(f"timeout must be above 0 seconds, not {self.timeout:g}")
        if self.max_retries < 0:
            problems.append(f"max_retries must be at least 0, not {self.max_retries}")
        if self.texts_per_request is not None and self.texts_per_request < 1:
            problems.append(f"texts_per_request must be at least 1, not {self.texts_per_request}")
        if problems:
            raise ModelError(f"options of closed models: {'; '.join(problems)}")

    @classmethod
    def of(cls, config: ClosedConfig, provider: Provider, before: Self | None = None) -> Self:
        """What the configuration says of a provider's models.

        before: options that hold where the configuration was told nothing else.
        """
        values = {
            own: getattr(config, option)
            for own, option in (
                ("base_url", ADDRESS_OPTION[provider]),
                ("input_type", "input_type"),
                ("max_in_flight", "max_in_flight"),
                ("timeout", "request_timeout"),
                ("max_retries", "request_retries"),
                ("too_long", "too_long"),
            )
            if before is None or option in config.model_fields_set
        }
        return cls(**{**(before.to_json() if before else {}), **values})

    def server(self, provider: Provider) -> str | None:
        """HOST[:PORT]/PATH of a server that is not the provider itself, else None."""
        if self.base_url is None or _place(self.base_url) == _place(OFFICIAL[provider]):
            return None
        return _place(self.base_url)

    def is_official(self, provider: Provider) -> bool:
        """Whether it is the provider itself that is asked, and nobody listens."""
        return self.base_url is None or (self.base_url.startswith("https:") and self.server(provider) is None)

    def is_elsewhere(self, provider: Provider, url: str) -> bool:
        """Whether `url` is another place than the one that is asked."""
        return _place(url) != _place(self.base_url or OFFICIAL[provider])

    def limits(self, provider: Provider) -> RequestLimits:
        """What one request may hold."""
        own = REQUESTS["server" if provider == "openai" and self.server(provider) else provider]
        return RequestLimits(self.texts_per_request or own.texts, own.tokens)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From plain values; ModelError where there are others."""
        try:
            return cls(**values)
        except TypeError:
            raise ModelError(f"options of closed models: {', '.join(values)} are not the options known here") from None


def is_near(url: str) -> bool:
    """Whether a server is of this machine or its network: a private address, or a name without a public ending."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc.lower()}{parts.path.rstrip('/')}"
