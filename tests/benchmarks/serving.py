"""What the server adds to the model: throughput against bare encode, and latency with one and with many clients.

The demo's MiniLM as an export, on the texts of the demo pairs. Served and bare runs alternate. Server, clients and
model share this process, and the model computes with one thread: several that wait for each other on a busy machine
measure the machine. Ratios are of CPU seconds as well, all threads together, which other work hardly changes.

Targets, in CPU seconds: with 16 clients that send 16 texts each, at least 0.8 of the throughput of bare encode in
batches of 256; with one client that sends 256 texts, at least 0.9 of it.
"""

import base64
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.common import Options, Result, Target, median
from tests.helpers.serving import running
from tune.data.demo import demo_pairs
from tune.serve.app import make_app
from tune.serve.served import load_served

TITLE = "the server against bare encode: throughput, and latency at 1 and 16 clients"
CLIENTS = 16
SHAPES = ((1, 256), (CLIENTS, 16), (CLIENTS, 1))
"""Clients and texts per request."""


def run(options: Options) -> Result:
    """Alternate bare and served runs over the same texts."""
    torch.set_num_threads(1)
    texts = list(dict.fromkeys(text for pair in demo_pairs() for text in pair[:2]))[: options.pick(512, 256)]
    with tempfile.TemporaryDirectory() as folder:
        served = load_served(_export(Path(folder) / "minilm"))
    result = Result(notes=[f"{len(texts)} texts of the demo pairs; MiniLM-L6, 384 dims, fp32; answers in base64"])
    bare: dict[int, list[_Rate]] = {}
    rates: dict[tuple[int, int], list[_Rate]] = {}
    waits: dict[int, list[float]] = {1: [], CLIENTS: []}
    few = texts[: options.pick(96, 32)]
    with running(make_app(served)) as url:
        port = int(url.rsplit(":", 1)[1])
        for _ in range(options.pick(3, 1)):
            for clients, batch in SHAPES:
                some = texts if batch > 1 else few
                own = _measured(some, lambda some, b=batch: _encode(served.encode, some, b))
                bare.setdefault(batch, []).append(own)
                asked = _measured(some, lambda some, c=clients, b=batch: _ask(port, some, c, b, []))
                rates.setdefault((clients, batch), []).append(asked)
            for clients, seconds in waits.items():
                _ask(port, few, clients, 1, seconds)
    for batch, measured in bare.items():
        result.figures[f"bare, batches of {batch}: texts/s"] = median([one.clock for one in measured])
    for (clients, batch), measured in rates.items():
        name = f"{_clients(clients)}, {batch} text{'s' * (batch > 1)} each"
        result.figures[f"{name}: texts/s"] = median([one.clock for one in measured])
        for size in sorted({batch, 256}):
            both = list(zip(measured, bare[size], strict=True))
            of = f"ratio to bare batches of {size}"
            result.figures[f"{name}: {of}, by the clock"] = median([one.clock / two.clock for one, two in both])
            result.figures[f"{name}: {of}, CPU"] = median([one.cpu / two.cpu for one, two in both])
    for clients, seconds in waits.items():
        for share in (50, 95):
            figure = f"{_clients(clients)}, 1 text each: p{share} ms"
            result.figures[figure] = float(np.percentile(np.array(seconds) * 1000, share))
    result.targets = [
        Target(name, result.figures[f"{name}: ratio to bare batches of 256, CPU"], least=least)
        for name, least in (("1 client, 256 texts each", 0.9), ("16 clients, 16 texts each", 0.8))
    ]
    return result


def _export(folder: Path) -> Path:
    """Save the demo's MiniLM as an export."""
    from tune.embed.loading import load_model

    load_model("minilm").save(str(folder), create_model_card=False)
    (folder / "embedtune.json").write_text(json.dumps({"prompt_a": "", "prompt_b": ""}))
    return folder


@dataclass(frozen=True)
class _Rate:
    """Texts per second of the clock, and per second of this process's CPU time."""

    clock: float
    cpu: float


def _measured(texts: list[str], work: Callable[[list[str]], None]) -> _Rate:
    """Return the rate of some work on the texts."""
    clock, cpu = time.perf_counter(), time.process_time()
    work(texts)
    return _Rate(len(texts) / (time.perf_counter() - clock), len(texts) / (time.process_time() - cpu))


def _encode(encode: Callable[..., Any], texts: list[str], batch: int) -> None:
    for start in range(0, len(texts), batch):
        encode(texts[start : start + batch], "a")


def _ask(port: int, texts: list[str], clients: int, batch: int, seconds: list[float]) -> None:
    """Send the texts in requests of `batch`, from so many clients at once; add the seconds of each request."""
    requests = [texts[start : start + batch] for start in range(0, len(texts), batch)]
    own = threading.local()

    def ask(some: list[str]) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        began = time.perf_counter()
        sent = json.dumps({"model": "minilm", "input": some, "encoding_format": "base64"})
        own.connection.request("POST", "/v1/embeddings", sent, {"Content-Type": "application/json"})
        answer = own.connection.getresponse()
        data = json.loads(answer.read())["data"]
        seconds.append(time.perf_counter() - began)
        assert len(base64.b64decode(data[0]["embedding"])) == 4 * 384 and len(data) == len(some)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, requests))


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"
