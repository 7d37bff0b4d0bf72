"""Static base models (a mean of token vectors): their time is the tokenizer's, so this leaves little else.

Threads tokenise ahead while this one pools: the tokenizer lets go of Python's lock. Its own threads would need
TOKENIZERS_PARALLELISM, which is off because they do not survive a fork.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tune.machine import usable_cores

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

_TEXTS, _CHARACTERS = 1024, 1 << 18
"""At most so many texts or characters are tokenised at once."""
_AHEAD = 2
"""Batches that wait for each thread."""

_Tokens = tuple["torch.Tensor", "torch.Tensor"]


def is_static(model: "SentenceTransformer") -> bool:
    """Return whether a model is exactly a StaticEmbedding, with Normalize or Dense after it or nothing."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding

    first, *others = model.children()
    return type(first) is StaticEmbedding and all(type(module) in (Normalize, Dense) for module in others)


def encode_static(model: "SentenceTransformer", texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
    """Return the vectors of texts under a prompt, as `model.encode` gives them: float32 [n, dims].

    model: one that `is_static`. An empty prompt means none, even if the model has a default prompt.
    """
    import torch

    first: Any = model[0]
    vectors, start = np.empty((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32), 0
    with _one_thread():
        for ids, offsets in _ahead(first.tokenizer, texts, prompt):
            # Inside the loop: a generator would hand the mode on to whoever runs between its steps.
            with torch.inference_mode():
                features = {"input_ids": ids.to(model.device), "offsets": offsets.to(model.device)}
                found = model(features)["sentence_embedding"]
            vectors[start : start + len(found)] = found.float().cpu().numpy()
            start += len(found)
    return vectors


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: the tokenizer has the others, and torch's would spin while they wait for work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ahead(tokenizer: "Tokenizer", texts: Sequence[str], prompt: str) -> Iterator[_Tokens]:
    """Yield the tokens of batches of texts, in order, as `nn.EmbeddingBag` takes them."""
    threads = usable_cores()
    waiting: deque[Future[_Tokens]] = deque()
    with ThreadPoolExecutor(threads, "tokenizer") as pool:
        for part in _parts(texts):
            waiting.append(pool.submit(_tokens, tokenizer, part, prompt))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start, characters = 0, 0
    for end, text in enumerate(texts):
        if end > start and (end - start >= _TEXTS or characters + len(text) > _CHARACTERS):
            yield texts[start:end]
            start, characters = end, 0
        characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _tokens(tokenizer: "Tokenizer", texts: Sequence[str], prompt: str) -> _Tokens:
    """Return token numbers of all texts, one after the other, and where those of each text begin."""
    import torch

    prompted = [prompt + text for text in texts] if prompt else list(texts)
    found = [encoding.ids for encoding in tokenizer.encode_batch_fast(prompted, add_special_tokens=False)]
    ends = np.cumsum(np.fromiter(map(len, found), dtype=np.int64, count=len(found)))
    ids = np.fromiter(chain.from_iterable(found), dtype=np.int64, count=int(ends[-1]))
    return torch.from_numpy(ids), torch.from_numpy(ends - np.diff(ends, prepend=0))
