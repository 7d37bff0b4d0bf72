"""Errors that a user can cause.

Each is one clear line: what is wrong, where, and how to mend it. The command line prints it and exits with 2.
"""

from collections.abc import Sequence


class UserError(Exception):
    """Something that the user can mend; `str(error)` is the one line to show."""


class ConfigError(UserError):
    """One or more problems of a configuration, all raised at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[str, ...]]]:
        return (ConfigError, (self.problems,))


class DataError(UserError):
    """The labelled pairs cannot be read or cannot be searched on."""


class ModelError(UserError):
    """A base model or an exported model cannot be found or used."""


class ResultsError(UserError):
    """A results folder cannot be written, is taken, or does not hold what was asked."""
