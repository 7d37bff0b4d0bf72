"""The request of a command line, for both front doors: every field of the configuration is a flag.

A flag and a TOML key have the same name and take the same values; flags win over the file.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.cli.parser import DRY_RUN, Parser, add_options, unknown_problems
from tune.cli.presentation import add_presentation
from tune.config.search import OPTIONS, RESUMABLE, SearchConfig, flag, search_config
from tune.config.space import Space
from tune.config.toml import Tables, read_resolved, read_toml
from tune.errors import ConfigError, ResultsError
from tune.presets import preset_path
from tune.results.layout import existing_folder

PAIRS_OPTIONS = {name for name, (table, _) in OPTIONS.items() if table in ("data", "closed") and name != "guard"}
"""Options of every command that reads pairs."""


@dataclass(frozen=True)
class SearchRequest:
    """What the command line asks for: a new search, or the one named `resume` continued.

    extends: the name of a finished search, with whose trials a new one begins.
    """

    config: SearchConfig
    resume: str | None = None
    extends: str | None = None


COMMON = (
    "toml", "data", "base_model", "search", "trials", "freeze", "dims", "jobs", "preset", "resume", "dry_run",
    "quiet", "json",
)  # fmt: skip
"""Options on the first help page of a search."""


def search_parser(prog: str = "python -m tune search") -> Parser:
    """Return the parser of a search. More options can be added to it; `search_request` reads the rest."""
    parser = Parser(
        prog=prog,
        description="Search for the best embedding model fine-tuned on labelled text pairs.",
        operands="[FILE.toml]",
        common=COMMON,
    )
    parser.add_argument(
        "toml", nargs="?", default=None, metavar="FILE.toml", help="file with [search], [data], [closed], [[space]]"
    )
    parser.add_argument("--preset", metavar="NAME", help="run a search that comes with embedtune")
    parser.add_argument("--resume", metavar="NAME", help="resume the search of that name")
    parser.add_argument(
        "--extend", metavar="N", help="with --resume NAME: run N more trials than that finished search, as a new search"
    )
    parser.add_argument("--dry-run", action="store_true", default=False, help=DRY_RUN)
    add_presentation(parser)
    add_options(parser, OPTIONS)
    return parser


def search_request(
    parser: Parser,
    arguments: Sequence[str],
    begun: Callable[[Path], Path] = lambda folder: existing_folder(folder).config,
) -> tuple[SearchRequest, argparse.Namespace]:
    """Return the request of the raw arguments, and all that was parsed. Raises ConfigError with every problem found.

    begun: results folder -> search.toml of the search that --resume names.
    """
    if "--help-all" in arguments:
        parser.print_help_all()
        sys.exit(0)
    if any(argument in ("-h", "--help") for argument in arguments):
        parser.print_help()
        sys.exit(0)
    parsed, unknown = parser.parse_known_args(list(arguments))
    given = vars(parsed)
    flags = {name: value for name, value in given.items() if name in OPTIONS}
    problems = unknown_problems(unknown, parser)
    resume: str | None = given.get("resume")
    if resume is not None:
        if problems:
            raise ConfigError(problems)
        if "extend" in given:
            return SearchRequest(_extended(resume, flags, given, begun), extends=resume), parsed
        return SearchRequest(_resumed(resume, flags, given, begun), resume), parsed
    if "extend" in given:
        problems.append("--extend goes with --resume NAME, the finished search to extend")
    tables = Tables(search={}, data={}, closed={}, space=[{}])
    if given["toml"] is not None and "preset" in given:
        problems.append(f"--preset {given['preset']} and {given['toml']} are two searches; give only one")
    elif given["toml"] is not None or "preset" in given:
        try:
            path = preset_path(given["preset"]) if "preset" in given else Path(given["toml"])
            tables = read_toml(path, problems)
        except ConfigError as error:
            # After a misspelt option, this word is most likely its value.
            problems += [] if problems and not str(given["toml"]).endswith(".toml") else error.problems
    _put(tables, flags)
    try:
        search_config(**tables)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    # Only now: this may look up a base model on the hub, and mistakes are reported without waiting for it.
    config = search_config(**tables, is_static=_is_static)
    return SearchRequest(config), parsed


def _is_static(name: str) -> bool:
    from tune.embed.base_models import is_static

    return is_static(name)


def plain_request(parser: Parser, arguments: Sequence[str]) -> tuple[SearchConfig, argparse.Namespace]:
    """Return the configuration from flags alone, and all that was parsed. Raises ConfigError with every problem."""
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ConfigError(unknown_problems(unknown, parser))
    tables = Tables(search={}, data={}, closed={}, space=[{}])
    _put(tables, {name: value for name, value in vars(parsed).items() if name in OPTIONS})
    return search_config(**tables), parsed


def _put(tables: Tables, flags: Mapping[str, Any]) -> None:
    """Set options, each in its table. An axis applies to all alternatives; `freeze` and `train` choose among them."""
    flags = dict(flags)
    for name in ("freeze", "train"):
        if name in flags and len(tables["space"]) > 1 and (chosen := _chosen(tables["space"], name, flags[name])):
            tables["space"] = chosen
            del flags[name]
    one: dict[str, dict[str, Any]] = {name: tables[name] for name in ("search", "data", "closed")}
    for name, value in flags.items():
        of = OPTIONS[name][0]
        for table in tables["space"] if of == "space" else [one[of]]:
            table[name] = value


def _chosen(spaces: list[dict[str, Any]], name: str, value: Any) -> list[dict[str, Any]]:
    """Return the alternatives with one of the flag's values, reduced to those values; [] if there are none.

    Otherwise a file's settings for whole models would also apply to frozen ones, for which `train` means nothing.
    """
    wanted = {part.strip().lower() for part in str(value).split(",")}
    chosen = []
    for table in spaces:
        given = table.get(name, Space.model_fields[name].default)
        values = [str(one).lower() for one in (given if isinstance(given, list | tuple) else str(given).split(","))]
        kept = [one for one in values if one in wanted]
        frozen = name == "train" and "false" not in str(table.get("freeze", True)).lower()
        if kept or frozen:
            chosen.append({**table, name: table.get(name, values) if frozen else kept})
    return chosen


def _resumed(name: str, flags: dict[str, Any], given: dict[str, Any], begun: Callable[[Path], Path]) -> SearchConfig:
    trusted = _trusted(flags)
    refused = [flag(option) for option in flags if option not in (*RESUMABLE, "trust_remote_code")]
    refused += [str(given[name]) for name in ("toml", "preset") if given.get(name) is not None]
    if refused:
        fixed = ", ".join(refused)
        raise ConfigError([f"--resume {name}: {fixed} cannot be changed; a search resumes with its own options"])
    results = Path(flags.get("results", SearchConfig().search.results))
    if "/" in name or name in (".", ".."):
        raise ResultsError(f"--resume {name}: give the search's name only, and its parent folder with --results")
    tables = read_resolved(begun(results / name))
    begun_with = _trusted(tables["search"])
    _put(tables, {**flags, "results": results, "name": name, "trust_remote_code": begun_with})
    if begun_with and not trusted:
        # The folder may be somebody else's, so its word is not enough.
        raise ConfigError(
            [
                f"--resume {name}: this search lets base models run their own code; read it, then allow it again with "
                "--trust-remote-code true"
            ]
        )
    if trusted and not begun_with:
        raise ConfigError([f"--resume {name}: --trust-remote-code cannot be changed; leave it out"])
    return search_config(**tables)


def _extended(name: str, flags: dict[str, Any], given: dict[str, Any], begun: Callable[[Path], Path]) -> SearchConfig:
    """Return the configuration of a search with more trials than the one of that name."""
    more = str(given["extend"])
    if not more.isdecimal() or int(more) < 1:
        raise ConfigError([f"--extend {more}: give the number of trials to add, 1 or more"])
    config = _resumed(name, {key: value for key, value in flags.items() if key != "name"}, given, begun)
    options = config.search
    if options.search == "grid":
        raise ConfigError([f"--extend: {name} is a grid, which has tried its whole space; start a larger one"])
    own = search_config({"name": flags.get("name")}).search.name
    more_trials = options.model_copy(update={"name": own, "trials": options.trials + int(more)})
    return config.model_copy(update={"search": more_trials})


def _trusted(given: Mapping[str, Any]) -> bool:
    """Return whether base models may run their own code, by the flags or a table [search] with these options."""
    value = given.get("trust_remote_code", False)
    return search_config({"trust_remote_code": value}).search.trust_remote_code
