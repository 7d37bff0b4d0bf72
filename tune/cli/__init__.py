"""The command line: what is typed and shown. The only room that prints.

Hands on `main`; torch is not imported before a command needs it.
"""

from tune.cli.main import main

__all__ = ["main"]
