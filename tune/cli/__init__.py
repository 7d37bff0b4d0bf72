"""TODO tune/cli."""

from tune.cli.main import main

__all__ = ["main"]
