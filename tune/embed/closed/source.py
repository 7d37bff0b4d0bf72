"""ClosedSource: an embedding model behind an API as an EmbeddingSource, at most N requests in flight.

Each finished batch is handed over at once, so that it can be stored before the next is asked for.
"""

import hashlib
import json
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
from tune.errors import ModelError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_SYMMETRIC: InputType = "search_query"
"""Cohere's own page on embeddings ("Introduction to Embeddings at Cohere") compares phrases with one another so."""


class ClosedSource:
    """A closed model. Holds no key: the client is made at the first request, and left out of pickles.

    The input type of Cohere's models travels as the first part of the prompt, "[search_query] " or the like, so that
    a text bought as query and as document is two rows of a snapshot, and the same input type is never bought twice.
    `prompts` makes such prompts.

    max_length: estimated tokens of a text at most; longer texts are cut. keyless: it is asked without a key, since its
    address comes from a file that may be a stranger's.
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
            raise ModelError(f"base model {name} is no closed model; write openai:MODEL or cohere:MODEL")
        self.closed = closed
        self.options = options or ClosedOptions()
        self.max_length = max_length
        self.keyless = keyless
        self.name = str(closed)
        self.known_dims: int | None = closed.known_dims
        # The model's own dims are not spelled out: a name keeps its folder when its model gets into the table.
        described = [closed.provider, closed.model, closed.asked_dims, self.options.server(closed.provider), max_length]
        digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
        slug = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in closed.model.split("/")[-1])
        self.fingerprint = f"{slug[-40:].lstrip('-.') or 'model'}-{digest}"
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
        """Of the vectors. ModelError where no vector has come yet of a model that is not in the table."""
        if self.known_dims is None:
            raise ModelError(f"base model {self.name}: its dims are not known before its first vectors; give @DIMS")
        return self.known_dims

    @dims.setter
    def dims(self, dims: int) -> None:
        """By who knows them from before: an adapter, a snapshot."""
        self.known_dims = dims

    @property
    def tokens_per_text(self) -> int | None:
        """Estimated tokens of a text at most; None where no limit is known (then the server cuts or refuses)."""
        facts = self.closed.facts
        known = [limit for limit in (facts.tokens if facts else None, self.max_length) if limit is not None]
        return min(known, default=None)

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """The prompts of first and second texts; given: the user's own, put before the text after the input type."""
        if self.closed.provider != "cohere":
            return given[0] or "", given[1] or ""
        a: InputType = self.options.input_type or ("search_query" if query_document else _SYMMETRIC)
        b: InputType = self.options.input_type or ("search_document" if query_document else _SYMMETRIC)
        return f"[{a}] {given[0] or ''}", f"[{b}] {given[1] or ''}"

    def sent(self, texts: Sequence[str], prompt: str = "") -> list[str]:
        """The texts as they are sent: with the prompt, cut to the limit.

        ModelError for an empty text, and for one above the model's limit where options.too_long is "refuse".
        """
        _, before = self._split(prompt)
        limit = self.tokens_per_text
        made = []
        for position, text in enumerate(texts):
            whole = utf8(before + text).decode()
            if not whole.strip():
                raise ModelError(f"base model {self.name}: text {position + 1} of {len(texts)} is empty; leave it out")
            if limit is not None and 2 * len(whole) > limit and estimate_tokens(whole) > limit:
                if self.options.too_long == "refuse" and limit != self.max_length:
                    raise ModelError(
                        f"base model {self.name}: the text {text[:40]!r}… has about {estimate_tokens(whole)} tokens "
                        f"(an estimate), above its {limit}; shorten it, or let such texts be cut (too_long truncate)"
                    )
                # Cohere cuts exactly, by its own tokenizer; an own limit has to be kept here.
                if self.closed.provider != "cohere" or limit == self.max_length:
                    whole = cut(whole, limit)
            made.append(whole)
        return made

    def above_limit(self, texts: Sequence[str], prompt: str = "") -> int:
        """How many of the texts are longer (by the estimate) than what the model takes, and so are cut."""
        _, before = self._split(prompt)
        limit = self.tokens_per_text
        if limit is None:
            return 0
        return sum(2 * len(before + text) > limit and estimate_tokens(before + text) > limit for text in texts)

    def embed(self, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
        """float32 [n, dims], bought now. Where a request fails the rest is lost: `embed_batches` keeps it."""
        parts = list(self.embed_batches(texts, prompt))
        vectors = np.empty((len(texts), self.dims), np.float32)
        for positions, part in parts:
            vectors[positions] = part
        return vectors

    def embed_batches(self, texts: Sequence[str], prompt: str = "") -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Buys the texts; gives (positions, vectors [len(positions), dims]) of each batch when it is there.

        In any order. At most options.max_in_flight batches are asked for or not yet taken by the caller. When a
        request fails no more are begun, what the others bring is still given, then the first ModelError is raised.
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
                self._check(vectors)
            return vectors

        waiting = batches(sent, self.options.limits(self.closed.provider))
        yield from ask_all(ask, waiting, self.options.max_in_flight)

    def _check(self, vectors: NDArray[np.float32]) -> None:
        if self.known_dims is None:
            self.known_dims = vectors.shape[1]
        if vectors.shape[1] != self.known_dims:
            raise ModelError(
                f"base model {self.name}: vectors of {vectors.shape[1]} dims came back, not of {self.known_dims}; "
                "check model and base_url"
            )
        if not np.isfinite(vectors).all():
            raise ModelError(f"base model {self.name}: vectors that are not finite came back; check the server")
        if not vectors.any(axis=1).all():
            raise ModelError(f"base model {self.name}: a vector of zeros came back; check the server")

    def _split(self, prompt: str) -> tuple[InputType | None, str]:
        """A prompt as input type and the words before the text."""
        if self.closed.provider != "cohere":
            return None, prompt
        for input_type in get_args(InputType):
            if prompt.startswith(tag := f"[{input_type}] "):
                return input_type, prompt[len(tag) :]
        raise ValueError(f"a prompt of {self.name} begins with its input type, as `prompts` makes it: {prompt!r}")


def ask_all(ask: Callable[[Item], Answer], items: Iterable[Item], most: int) -> Iterator[tuple[Item, Answer]]:
    """(item, ask(item)) as the answers come, at most `most` asked for or untaken at a time.

    After the first exception no more is asked; the answers under way are given, then it is raised. The threads are
    daemons: Ctrl-C need not wait for a server that hangs.
    """
    asked: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[Item, Answer | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        while (one := asked.get()) is not None:
            try:
                answers.put((one[0], ask(one[0]), None))
            except Exception as error:
                answers.put((one[0], None, error))

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
