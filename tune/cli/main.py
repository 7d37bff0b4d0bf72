"""`python -m tune COMMAND`: the table of commands, and what all of them share. The only room that prints.

A command is a module of this room with a function of the same name. Errors that a user can fix are one line on stderr,
with exit code 2.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from tune.cli.early_end import EarlyEnd
from tune.cli.lost_signals import raised_again
from tune.cli.streams import output_lost, prepare_streams
from tune.errors import FIXES, ConfigError, SearchPaused, UserError, described, terminate
from tune.machine import limit_threads

USAGE = """usage: python -m tune COMMAND ...

  search     find the best fine-tuned embedding model for labelled text pairs
  baselines  score base models untouched, open and closed, in one table
  challenge  search a new base model and compare it with the winner of a finished search
  check-data show what is recognised in labelled pairs
  explore    write a page on labelled pairs, before any search
  presets    list ready-made searches: python -m tune search --preset NAME
  report     write a page, tables and pictures of results
  check      verify a results folder, and say what --resume would make again
  export     write a trial of a finished search as a model directory
  apply      turn stored vectors of a base model into those of a layer trained on it
  push       upload a search's model to the Hugging Face hub
  score      score an exported model on labelled pairs
  serve      serve an exported model with OpenAI's embeddings API
  doctor     check this machine: versions, cores, memory, disk, GPU, Ray, keys

python -m tune COMMAND --help lists a command's options.
"""

COMMANDS = (
    "search", "baselines", "challenge", "check-data", "explore", "presets", "report", "check", "export", "apply",
    "push", "score", "serve", "doctor",
)  # fmt: skip
"""Each is the function of its name in the module of its name, which is imported only when the command is given."""
_LOADS_MODELS = ("search", "baselines", "challenge", "explore", "export", "push", "score", "serve")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code. arguments: the process's own by default."""
    if arguments is not None:
        return _run(list(arguments))
    prepare_streams()
    signal.signal(signal.SIGTERM, terminate)
    code = _run(sys.argv[1:])
    if lost := output_lost():
        print(f"error: output could not be written ({lost})", file=sys.stderr)
        return code or 1
    return code


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    _quiet_libraries()
    limit_threads()
    try:
        if unreadable := [word for word in given if word.encode(errors="replace").decode() != word]:
            raise UserError(f"{unreadable[0]!r} is not valid UTF-8; rename the file, or use a UTF-8 locale")
        if given[0] not in COMMANDS:
            raise UserError(f"no command {given[0]!r}; the commands are {', '.join(COMMANDS)}")
        if given[0] in _LOADS_MODELS and not {"-h", "--help", "--help-all"}.intersection(given):
            _check_machine()
        with raised_again():
            return _command(given[0])(given[1:])
    except UserError as error:
        show_error(error)
        return 2
    except OSError as error:
        if error.errno not in FIXES:
            raise
        show_error(UserError(described(error)))
        return 2
    except (KeyboardInterrupt, SearchPaused) as error:
        end = EarlyEnd.of(error)
        print(end.line, file=sys.stderr)
        return end.code


def _command(name: str) -> Callable[[list[str]], int]:
    """Return the function of a command, late, so that --help loads no libraries."""
    word = name.replace("-", "_")
    command: Callable[[list[str]], int] = getattr(import_module(f"tune.cli.{word}"), word)
    return command


def show_error(error: UserError) -> None:
    """Print one line per problem on stderr."""
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    for problem in problems:
        print(f"error: {' '.join(problem.split())}", file=sys.stderr)


def _quiet_libraries() -> None:
    """Turn the libraries' progress bars and notices off; ours say the same once."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _check_machine() -> None:
    """Check what the imports that follow need themselves."""
    from tune.pipeline.environment import check_address_space, check_home

    check_address_space()
    check_home()
