"""Texts through a SentenceTransformer: static vectors by `static.py`, others in batches of alike length, in tokens.

`SentenceTransformer.encode` sorts by characters and takes 32 texts at a time: long texts make batches that leave the
processor's caches, short ones make batches too small. Here a batch has as many texts as fit a number of tokens. The
vectors are the same up to rounding (2e-7); tests/benchmarks/embedding.py measures the rates.
"""

import contextlib
import queue
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tune.embed.lengths import TokenCounter
from tune.embed.routes import encoding
from tune.embed.static import encode_static, is_static

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TOKENS_PER_THREAD = 256
_LEAST_TOKENS = 512
_GPU_TOKENS = 32_768
"""Not measured on any GPU: chosen so that a batch of short texts is large enough to fill one."""
_AHEAD = 4
"""Batches that are tokenised before the GPU takes them."""

_T = TypeVar("_T")

_counters: weakref.WeakKeyDictionary[Any, TokenCounter | None] = weakref.WeakKeyDictionary()


def encode(model: "SentenceTransformer", texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
    """Return the vectors of texts under a prompt, as `model.encode` gives them: float32 [n, dims].

    prompt: may begin with a route; an empty one means none, even if the model has a default prompt.
    """
    if is_static(model):
        return encode_static(model, texts, prompt)
    texts = list(texts)
    if model not in _counters:
        _counters[model] = TokenCounter.of(model)
    counter = _counters[model]
    if counter is None or not texts:
        return _plain(model, texts, prompt)
    batches = alike(np.array(counter.count(texts, prompt), dtype=np.int64), _most_tokens(model.device))
    vectors: NDArray[np.float32] | None = None
    arguments = encoding(model, prompt)
    task = {name: value for name, value in arguments.items() if name != "prompt"}
    model.eval()
    for rows, features in _features(model, texts, batches, arguments):
        # Inside the loop: a generator would hand the mode on to whoever runs between its steps.
        with torch.inference_mode():
            found = model(features, **task)["sentence_embedding"].float().cpu().numpy()
        if vectors is None:
            vectors = np.empty((len(texts), found.shape[1]), np.float32)
        vectors[rows] = found
    assert vectors is not None
    return vectors


def alike(tokens: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Return batches of positions, longest texts first, each at most `most` tokens with padding (or a single text).

    tokens [n]: of each text. Longest first: what does not fit into memory fails at once.
    """
    order = np.argsort(-tokens, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, most // max(1, int(tokens[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def _most_tokens(device: torch.device) -> int:
    if device.type != "cpu":
        return _GPU_TOKENS
    return max(_LEAST_TOKENS, _TOKENS_PER_THREAD * torch.get_num_threads())


def _plain(model: "SentenceTransformer", texts: list[str], prompt: str) -> NDArray[np.float32]:
    """Encode with a tokenizer that cannot count ahead."""
    found = model.encode(
        texts, **encoding(model, prompt), convert_to_numpy=False, convert_to_tensor=True, show_progress_bar=False
    )
    vectors: NDArray[np.float32] = found.float().cpu().numpy()
    return vectors


def _features(
    model: "SentenceTransformer", texts: list[str], batches: list[NDArray[np.int64]], arguments: dict[str, Any]
) -> Iterator[tuple[NDArray[np.int64], dict[str, Any]]]:
    """Yield the inputs of each batch on the model's device; for a GPU, a thread tokenises ahead of it."""
    prepared = ((rows, model.preprocess([texts[row] for row in rows], **arguments)) for rows in batches)
    if model.device.type == "cuda":
        pinned = ((rows, {name: _pinned(value) for name, value in features.items()}) for rows, features in prepared)
        prepared = ahead(pinned, _AHEAD)
    for rows, features in prepared:
        yield rows, {name: _moved(value, model.device) for name, value in features.items()}


def ahead(items: Iterator[_T], size: int) -> Generator[_T, None, None]:
    """Yield the same items, of which a thread makes up to `size` ahead. Errors are raised in their place."""
    made: queue.Queue[tuple[bool, Any]] = queue.Queue(size)
    closed = threading.Event()

    def put(more: bool, item: Any) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                made.put((more, item), timeout=0.2)
                return

    def make() -> None:
        try:
            for item in items:
                put(True, item)
                if closed.is_set():
                    return
            put(False, None)
        except BaseException as error:
            put(False, error)

    thread = threading.Thread(target=make, name="batches ahead", daemon=True)
    thread.start()
    try:
        while (found := made.get())[0]:
            yield found[1]
        if found[1] is not None:
            raise found[1]
    finally:
        closed.set()
        thread.join()


def _pinned(value: Any) -> Any:
    return value.pin_memory() if isinstance(value, torch.Tensor) else value


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
