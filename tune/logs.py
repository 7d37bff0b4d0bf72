"""A library or a room as it should be for a while: how much it logs, and parts of it replaced."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any


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


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Let an attribute of a module, class or object be `value`; then what it was before."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
