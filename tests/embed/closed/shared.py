"""Closed sources on the test server, their snapshots, and a hundred texts to buy."""

from pathlib import Path
from typing import Any

from tests.helpers.embed_server import EmbedServer
from tune.embed.closed import ClosedOptions, ClosedSource
from tune.embed.snapshot import Snapshot

TEXTS = [f"where is the swift purse number {i}" for i in range(100)]
OPENAI, COHERE = "openai:text-embedding-3-small", "cohere:embed-v4.0"
COHERE_256 = f"{COHERE}@256"


def source_of(server: EmbedServer, name: str = OPENAI, max_length: int | None = None, **options: Any) -> ClosedSource:
    """A source that calls the server, without retries and with 10 texts per request unless `options` say otherwise."""
    url = server.cohere_url if name.startswith("cohere:") else server.openai_url
    values: dict[str, Any] = {"base_url": url, "max_retries": 0, "timeout": 20.0, "texts_per_request": 10}
    return ClosedSource(name, ClosedOptions(**(values | options)), max_length)


def snapshot_of(source: ClosedSource, root: Path) -> Snapshot:
    return Snapshot(root, source.fingerprint, source.known_dims)


def prompt_of(source: ClosedSource) -> str:
    return source.prompts(False)[0]


def stored(snapshot: Snapshot, source: ClosedSource) -> set[str]:
    """Those of TEXTS that have a vector."""
    lacking = set(snapshot.lacking(prompt_of(source), TEXTS))
    return {text for text in TEXTS if text not in lacking}
