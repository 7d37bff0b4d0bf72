"""ClosedSource: an embedding model behind an API as an EmbeddingSource, with a bounded number of requests in flight.

Each finished batch is handed over at once, so that it can be stored before the next is requested.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import InputType
from tune.embed.closed._asking import Again, Partial, ask_all
from tune.embed.closed._purchase import Purchase, ServerLimits
from tune.embed.closed.clients import Client, make_client
from tune.embed.closed.names import ClosedName, ClosedOptions, parse_closed
from tune.embed.closed.tokens import cut, estimate_tokens, utf8
from tune.embed.fingerprint import fingerprint
from tune.errors import ModelError

_SYMMETRIC: InputType = "search_query"
"""Cohere's "Introduction to Embeddings at Cohere" uses this input type to compare phrases with one another."""

_MEASURED = 2
"""Format of stored vectors of unknown dims. An earlier version read any base64 as float32, and stored float64 with
twice the dims, so these vectors are bought again."""

_LARGE_BATCH = 8
"""If most vectors of a batch of at least this size are zeros, the server is broken."""


class ClosedSource:
    """A closed model. Holds no key: the client is made at the first request and left out of pickles.

    Cohere's input type is the first part of the prompt, such as "[search_query] ", so that a text bought as query and
    as document is two rows of a snapshot and the same input type is never bought twice. `prompts` returns such prompts.

    max_length: most estimated tokens per text; longer texts are cut. keyless: send no key, because the address comes
    from a file that may be a stranger's. cut_positions: see `Batched`.
    Raises ModelError if `name` is not a closed model's.
    """

    def __init__(
        self,
        name: str | ClosedName,
        options: ClosedOptions | None = None,
        max_length: int | None = None,
        *,
        keyless: bool = False,
    ) -> None:
        closed = parse_closed(name) if isinstance(name, str) else name
        if closed is None:
            raise ModelError(f"base model {name} is not a closed model; write openai:MODEL or cohere:MODEL")
        self.closed = closed
        self.options = options or ClosedOptions()
        self.max_length = max_length
        self.keyless = keyless
        self.name = str(closed)
        self.known_dims: int | None = closed.known_dims
        facts = [closed.provider, closed.model, closed.asked_dims, self.options.server(closed.provider), max_length]
        if self.measures and self.known_dims is None:
            facts.append(_MEASURED)
        self.fingerprint = fingerprint(closed.model.split("/")[-1], facts, ascii_only=True)
        self.weights = self.fingerprint
        self.cut_positions: set[int] = set()
        self.__setstate__({})

    def __repr__(self) -> str:
        return f"ClosedSource({self.name!r}, {self.options!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_client", "_lock", "_limits")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._limits = ServerLimits(self.options.limits(self.closed.provider))

    @property
    def dims(self) -> int:
        """Dims of the vectors. Raises ModelError if they are unknown: no vector has arrived and none were set."""
        if self.known_dims is None:
            raise ModelError(f"base model {self.name}: its dims are unknown before its first vectors; add @DIMS")
        return self.known_dims

    @dims.setter
    def dims(self, dims: int) -> None:
        """Set the dims, for example those that an adapter expects."""
        self.known_dims = dims

    @property
    def tokens_per_text(self) -> int | None:
        """Most estimated tokens per text; None if no limit is known (then the server cuts or refuses)."""
        facts = self.closed.facts
        known = [limit for limit in (facts.tokens if facts else None, self.max_length) if limit is not None]
        return min(known, default=None)

    @property
    def measures(self) -> bool:
        """Whether one text may be bought twice, to measure the vectors of a server that is not the provider's own."""
        if self.closed.provider != "openai" or self.options.is_official("openai"):
            return False
        return self.known_dims is None or self.closed.asked_dims is not None

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Return the prompts for first and second texts. given: the user's own, placed between input type and text."""
        if self.closed.provider != "cohere":
            return given[0] or "", given[1] or ""
        a: InputType = self.options.input_type or ("search_query" if query_document else _SYMMETRIC)
        b: InputType = self.options.input_type or ("search_document" if query_document else _SYMMETRIC)
        return f"[{a}] {given[0] or ''}", f"[{b}] {given[1] or ''}"

    def sent(self, texts: Sequence[str], prompt: str = "") -> list[str]:
        """Return the texts in the form that is sent: after the prompt, cut to the limit.

        Raises ModelError for an empty text, and for one above the model's limit if options.too_long is "refuse".
        """
        _, before = self._split(prompt)
        limit = self.tokens_per_text
        sent = []
        for position, text in enumerate(texts):
            whole = utf8(before + text).decode()
            if not whole.strip():
                raise ModelError(f"base model {self.name}: text {position + 1} of {len(texts)} is empty; remove it")
            if limit is not None and _exceeds(whole, limit):
                if self.options.too_long == "refuse" and limit != self.max_length:
                    raise ModelError(
                        f"base model {self.name}: the text {text[:40]!r}… has about {estimate_tokens(whole)} tokens "
                        f"(an estimate), above its limit of {limit}; shorten it, set --max-length, or use "
                        "--too-long truncate"
                    )
                # Cohere cuts exactly, with its own tokenizer; only max_length has to be enforced here.
                if self.closed.provider != "cohere" or limit == self.max_length:
                    whole = cut(whole, limit)
            sent.append(whole)
        return sent

    def above_limit(self, texts: Sequence[str], prompt: str = "") -> int:
        """Return how many of the texts exceed the limit (estimated) and are cut."""
        _, before = self._split(prompt)
        limit = self.tokens_per_text
        if limit is None:
            return 0
        return sum(_exceeds(before + text, limit) for text in texts)

    def embed(self, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
        """Buy vectors, float32 [n, dims]. If a request fails all are lost; `embed_batches` keeps those that arrived.

        Raises ModelError if a text has a zero vector, which says nothing about it.
        """
        parts = list(self.embed_batches(texts, prompt))
        vectors = np.empty((len(texts), self.dims), np.float32)
        for positions, part in parts:
            vectors[positions] = part
        if not vectors.any(axis=1).all():
            text = texts[int(np.argmin(vectors.any(axis=1)))][:40]
            raise ModelError(
                f"base model {self.name}: returned a zero vector for the text {text!r}; leave this text out"
            )
        return vectors

    def embed_batches(self, texts: Sequence[str], prompt: str = "") -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Buy vectors; yield (positions, vectors [len(positions), dims]) of each batch as it arrives, in any order.

        At most options.max_in_flight batches are requested or waiting for the caller. After a failed request no more
        are sent; the answers still under way are yielded, then the first ModelError is raised. A vector may be all
        zeros: the model finds nothing in the text.
        """
        input_type, _ = self._split(prompt)
        sent = self.sent(texts, prompt)
        if not sent:
            return
        with self._lock:
            self._client = client = self._client or make_client(self.closed, self.options, self.keyless)
        purchase = Purchase(
            self.name,
            sent,
            self._limits,
            truncate=self.options.too_long == "truncate",
            # An estimate below a known limit is no reason to distrust the limit for other texts.
            keep=self.closed.facts is None,
        )

        self.cut_positions = purchase.cut

        def ask(positions: list[int]) -> NDArray[np.float32] | Again[list[int]]:
            answer = purchase.ask(client, positions, input_type, self.known_dims)
            if isinstance(answer, Again):
                return answer
            with self._lock:
                self._check_dims(answer)
            self._check_numbers(answer, positions, sent)
            return answer

        yield from ask_all(ask, purchase.batches(), self.options.max_in_flight)

    def _check_dims(self, vectors: NDArray[np.float32]) -> None:
        if self.known_dims is None:
            self.known_dims = vectors.shape[1]
        if vectors.shape[1] != self.known_dims:
            raise ModelError(
                f"base model {self.name}: got vectors of {vectors.shape[1]} dims instead of {self.known_dims}; "
                "check model and base_url"
            )

    def _check_numbers(self, vectors: NDArray[np.float32], positions: list[int], sent: Sequence[str]) -> None:
        """Raise Partial if some vectors are not finite; ModelError if none are, or most of a large batch are zeros."""
        finite = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        if len(finite) == len(vectors):
            zeros = len(vectors) - np.count_nonzero(vectors.any(axis=1))
            if len(vectors) >= _LARGE_BATCH and 2 * zeros > len(vectors):
                what = f"got vectors of zeros for {zeros} of {len(vectors)} texts"
                raise ModelError(f"base model {self.name}: {what}; check the server")
            return
        first = np.setdiff1d(np.arange(len(vectors)), finite)[0]
        text = sent[positions[int(first)]][:40]
        line = f"base model {self.name}: got vectors that are not finite, for the text {text!r}; check the server"
        kept = [positions[at] for at in finite.tolist()]
        raise Partial(line, kept, vectors[finite]) if kept else ModelError(line)

    def _split(self, prompt: str) -> tuple[InputType | None, str]:
        """Split a prompt into the input type and the words before the text."""
        if self.closed.provider != "cohere":
            return None, prompt
        for input_type in get_args(InputType):
            if prompt.startswith(tag := f"[{input_type}] "):
                return input_type, prompt[len(tag) :]
        raise ValueError(f"a prompt of {self.name} must start with an input type, as `prompts` returns it: {prompt!r}")


def _exceeds(text: str, limit: int) -> bool:
    # An estimate is at most two tokens per character, so short texts need none.
    return 2 * len(text) > limit and estimate_tokens(text) > limit
