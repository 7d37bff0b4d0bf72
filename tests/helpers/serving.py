"""Served models for the tests: a small export on disk, and the application behind a real port of this process."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette

from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert
from tune.serve.server import address_of, listen, make_server

DIMS = 32
PROMPT_A = "t0w0 t0w1 "
"""Of first texts; second ones have none, so that the two sides differ."""


def save_export(folder: Path, **about: object) -> Path:
    """Save an export named tickets on a tiny BERT, as results/tickets/best; return that directory.

    about: more of embedtune.json.
    """
    best = folder / "results" / "tickets" / "best"
    best.parent.mkdir(parents=True)
    save_tiny_bert(folder).rename(best)
    (best / "embedtune.json").write_text(json.dumps({"prompt_a": PROMPT_A, "prompt_b": "", **about}))
    return best


def some_texts(count: int, seed: int = 0) -> list[str]:
    """Return distinct texts of 1 to 6 words that the tiny BERT knows."""
    words = len(TOPIC_WORDS)
    return [
        " ".join(TOPIC_WORDS[(seed + number * (step + 3) + number // words) % words] for step in range(1 + number % 6))
        for number in range(count)
    ]


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve the application on a free port, in a thread; yield http://HOST:PORT."""
    listening = listen("127.0.0.1", 0)
    host, port = address_of(listening)
    server = make_server(app)
    thread = threading.Thread(target=server.run, args=([listening],), name="test server")
    thread.start()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(40)
        assert not thread.is_alive(), "the server does not end"
