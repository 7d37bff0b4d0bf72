"""Errors that a user can cause.

Each is one clear line: what is wrong, where, and how to fix it. The command line prints it and exits with code 2.
"""

from collections.abc import Sequence


class UserError(Exception):
    """An error that the user can fix; `str(error)` is the one line to show."""


class ConfigError(UserError):
    """One or more configuration problems, raised together; `problems` holds a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[str, ...]]]:
        return (ConfigError, (self.problems,))


class DataError(UserError):
    """The labelled pairs cannot be read, or a search cannot use them."""


class ModelError(UserError):
    """A base model or an exported model cannot be found or used."""


class ResultsError(UserError):
    """A results folder is not writable, is already taken, or does not hold what was asked for."""
