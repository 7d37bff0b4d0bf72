"""How a command presents itself: --quiet and --json. No part of a configuration, so a search resumes without them."""

import argparse
import contextlib
import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tune.cli.parser import Parser
from tune.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tune.cli.display import SearchDisplay

OPTIONS = ("quiet", "json")


@dataclass(frozen=True)
class Presentation:
    """quiet: no progress, only warnings, errors and the result. json: the last line of stdout is one JSON object, and
    everything else goes to stderr.
    """

    quiet: bool = False
    json: bool = False

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "Presentation":
        """Return what was asked for. Raises ConfigError for a dry run, which has no result to present."""
        own = cls(parsed.quiet, parsed.json)
        if parsed.dry_run and (own.quiet or own.json):
            raise ConfigError(
                [f"{'--json' if own.json else '--quiet'}: a dry run has no result; leave one of them out"]
            )
        return own

    def console(self) -> "Console":
        """Return the console for the result."""
        from tune.cli.tables import make_console

        return make_console(stderr=self.json)

    def display(self) -> "SearchDisplay":
        """Return the display for events. Quiet, it shows warnings alone, on stderr."""
        from tune.cli.display import SearchDisplay
        from tune.cli.tables import make_console

        return SearchDisplay(make_console(stderr=self.json or self.quiet), quiet=self.quiet)

    def apart(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which nothing but the JSON object can get to stdout: not what libraries and a base
        model's own code print.
        """
        return contextlib.redirect_stdout(sys.stderr) if self.json else contextlib.nullcontext()

    def finish(self, outcome: dict[str, Any]) -> None:
        """Print the JSON object, if asked for."""
        if self.json:
            sys.stdout.write(f"{json.dumps(_finite(outcome), allow_nan=False)}\n")
            sys.stdout.flush()


def _finite(value: Any) -> Any:
    """Return the value with None for numbers that JSON lacks: NaN and infinity."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_presentation(parser: Parser) -> None:
    """Add --quiet and --json."""
    parser.add_argument(
        "--quiet", action="store_true", default=False, help="no progress: print warnings, errors and the result only"
    )
    parser.add_argument(
        "--json", action="store_true", default=False, help="print the result as JSON, the last line of stdout"
    )
