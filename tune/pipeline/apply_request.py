"""What `python -m tune apply` is asked to do."""

from dataclasses import dataclass
from pathlib import Path

from tune.config.search import SearchConfig
from tune.embed.adapted import Side
from tune.export.apply import CHUNK


@dataclass(frozen=True)
class ApplyRequest:
    """What the command line asks for. model: an exported directory, or a search's results folder.

    vectors, to: a file or a folder. column: of vectors, in parquet. side: "a" if they are of first texts, "b" of second
    ones; None if not said. texts, text_column: the texts that the vectors are of, in their order; None for none. dtype:
    of what is written. chunk: rows at a time. config: options of closed models, the cache, and trust_remote_code.
    """

    model: Path
    vectors: Path
    to: Path
    config: SearchConfig
    column: str | None = None
    side: Side | None = None
    texts: Path | None = None
    text_column: str | None = None
    dtype: str = "float32"
    chunk: int = CHUNK
