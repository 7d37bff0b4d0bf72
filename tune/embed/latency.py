"""Milliseconds per text of an open model on this machine, one text at a time and 64 at a time."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tune.embed.routes import encoding
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.machine import cpu_name

LARGE = 64
"""Texts in a batch of the second measurement."""
_MOST_BATCHES = {1: 500, LARGE: 50}
"""By batch size. A fast model still runs for a fraction of a second, longer than another process may take its core."""
_LEAST_BATCHES = 3
"""Fewer only if they take more than _LONGEST times as long as a measurement should."""
_LONGEST = 4


@dataclass(frozen=True)
class Latency:
    """ms_1, ms_64: milliseconds per text in batches of 1 and of 64.

    Medians over the batches that fit into the time of a measurement: of a small transformer some 100 and 4, of static
    vectors 500 and 50. On an idle machine they repeat to a few percent.
    """

    ms_1: float
    ms_64: float


def measure(encode: Callable[[list[str]], object], texts: Sequence[str], seconds: float = 0.5) -> Latency:
    """Time `encode`, which turns a batch of texts into vectors; fewer texts than a batch are repeated.

    seconds: about how long to time each batch size, after one batch that is not counted. At least three batches are
    timed, and of a slow model one or two.
    """
    if not texts:
        raise ValueError("there are no texts to time")
    return Latency(_ms_per_text(encode, texts, 1, seconds), _ms_per_text(encode, texts, LARGE, seconds))


def _ms_per_text(encode: Callable[[list[str]], object], texts: Sequence[str], size: int, seconds: float) -> float:
    batches = _batches(texts, size)
    encode(next(batches))
    taken: list[float] = []
    while not taken or _goes_on(taken, size, seconds):
        batch = next(batches)
        began = time.perf_counter()
        encode(batch)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) / size * 1e3


def _goes_on(taken: Sequence[float], size: int, seconds: float) -> bool:
    longest = seconds if len(taken) >= _LEAST_BATCHES else _LONGEST * seconds
    return len(taken) < _MOST_BATCHES[size] and sum(taken) < longest


def _batches(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    endless = itertools.cycle(texts)
    while True:
        yield list(itertools.islice(endless, size))


def encoder(source: SentenceTransformerSource, prompt: str) -> Callable[[list[str]], object]:
    """Return a function that encodes texts with the prompt in one batch, its vectors in the CPU's memory."""

    def encode(texts: list[str]) -> Any:
        arguments = encoding(source.model, prompt)
        return source.model.encode(texts, **arguments, batch_size=len(texts), show_progress_bar=False)

    return encode


def machine_of(source: SentenceTransformerSource) -> str:
    """Return in one line what the model runs on: the GPU's name, or the CPU's and the number of threads in use."""
    import torch

    device = source.model.device
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return f"{cpu_name()}, {device.type}"
    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} {'thread' if threads == 1 else 'threads'}"
