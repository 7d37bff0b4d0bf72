"""How much a library or a room may log for a while."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def only_from(level: int, name: str) -> Iterator[None]:
    """Let the logger of this name log from this level on, such as logging.ERROR; then as before."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
