"""ClosedSource: an embedding model behind an API as an EmbeddingSource, with a bounded number of requests in flight.

Each finished batch is handed over at once, so that it can be stored before the next is requested.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import InputType
from tune.embed.closed.clients import Client, make_client
from tune.embed.closed.names import ClosedName, ClosedOptions, parse_closed
from tune.embed.closed.tokens import batches, cut, estimate_tokens, utf8
from tune.embed.fingerprint import fingerprint
from tune.errors import ModelError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_SYMMETRIC: InputType = "search_query"
"""Cohere's "Introduction to Embeddings at Cohere" uses this input type to compare phrases with one another."""


class ClosedSource:
    """A closed model. Holds no key: the client is made at the first request and left out of pickles.

    Cohere's input type is the first part of the prompt, such as "[search_query] ", so that a text bought as query and
    as document is two rows of a snapshot and the same input type is never bought twice. `prompts` returns such prompts.

    max_length: most estimated tokens per text; longer texts are cut. keyless: send no key, because the address comes
    from a file that may be a stranger's. Raises ModelError if `name` is not a closed model's.
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
        # The model's own dims are left out, so a name keeps its folder if its model is added to the table.
        facts = [closed.provider, closed.model, closed.asked_dims, self.options.server(closed.provider), max_length]
        self.fingerprint = fingerprint(closed.model.split("/")[-1], facts, ascii_only=True)
        self.weights = self.fingerprint
        self._client: Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ClosedSource({self.name!r}, {self.options!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_client", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _client=None, _lock=threading.Lock())

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
                        f"(an estimate), above its limit of {limit}; shorten it, or allow cutting (too_long truncate)"
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
        """Buy vectors, float32 [n, dims]. If a request fails all are lost; `embed_batches` keeps those that arrived."""
        parts = list(self.embed_batches(texts, prompt))
        vectors = np.empty((len(texts), self.dims), np.float32)
        for positions, part in parts:
            vectors[positions] = part
        return vectors

    def embed_batches(self, texts: Sequence[str], prompt: str = "") -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Buy vectors; yield (positions, vectors [len(positions), dims]) of each batch as it arrives, in any order.

        At most options.max_in_flight batches are requested or waiting for the caller. After a failed request no more
        are sent; the answers still under way are yielded, then the first ModelError is raised.
        """
        input_type, _ = self._split(prompt)
        sent = self.sent(texts, prompt)
        if not sent:
            return
        with self._lock:
            self._client = client = self._client or make_client(self.closed, self.options, self.keyless)

        def ask(positions: list[int]) -> NDArray[np.float32]:
            vectors = client.ask([sent[position] for position in positions], input_type)
            with self._lock:
                self._check_vectors(vectors)
            return vectors

        waiting = batches(sent, self.options.limits(self.closed.provider))
        yield from ask_all(ask, waiting, self.options.max_in_flight)

    def _check_vectors(self, vectors: NDArray[np.float32]) -> None:
        if self.known_dims is None:
            self.known_dims = vectors.shape[1]
        if vectors.shape[1] != self.known_dims:
            raise ModelError(
                f"base model {self.name}: got vectors of {vectors.shape[1]} dims instead of {self.known_dims}; "
                "check model and base_url"
            )
        if not np.isfinite(vectors).all():
            raise ModelError(f"base model {self.name}: got vectors that are not finite; check the server")
        if not vectors.any(axis=1).all():
            raise ModelError(f"base model {self.name}: got a vector of zeros; check the server")

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


def ask_all(ask: Callable[[Item], Answer], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Answer]]:
    """Yield (item, ask(item)) as answers arrive, with at most `most` under way or waiting for the caller.

    After the first exception nothing more is asked; answers under way are yielded, then it is raised. The threads are
    daemons, so Ctrl-C does not wait for a server that hangs.
    """
    asked: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[Item, Answer | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        while (job := asked.get()) is not None:
            try:
                answers.put((job[0], ask(job[0]), None))
            except Exception as error:
                answers.put((job[0], None, error))

    waiting = iter(items)
    first = list(islice(waiting, most))
    threads = [threading.Thread(target=work, daemon=True, name="embed request") for _ in first]
    for thread in threads:
        thread.start()
    for item in first:
        asked.put((item,))
    open_requests, failure = len(first), None
    try:
        while open_requests:
            item, answer, error = answers.get()
            open_requests -= 1
            if error is None:
                yield item, answer  # type: ignore[misc]
            failure = failure or error
            if failure is None:
                for following in islice(waiting, 1):
                    asked.put((following,))
                    open_requests += 1
    finally:
        for _ in threads:
            asked.put(None)
    for thread in threads:
        thread.join()
    if failure is not None:
        raise failure
