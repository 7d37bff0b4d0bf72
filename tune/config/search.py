"""SearchConfig: everything that `python -m tune search` can be told, checked as a whole.

`search_config` raises all problems at once, each naming the key and the mend.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tune.config.data import DataConfig
from tune.config.space import AXES, DEMO_BASE_MODELS, GRID_LEARNING_RATES, Space
from tune.errors import ConfigError

DEFAULT_CACHE = Path("~/.cache/embedtune")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class SearchOptions(BaseModel):
    """The `[search]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: Annotated[Literal["grid", "random", "optuna", "asha"], Field(description="how the space is searched")] = (
        "asha"
    )
    trials: Annotated[int, Field(ge=1, description="trials to run; a grid runs all of its own")] = 40
    jobs: Annotated[int | None, Field(ge=1, description="trials at the same time (default: cores)")] = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, description="of the split, the draws and the training")] = 0
    max_hours: Annotated[float | None, Field(gt=0, description="stop the search after that many hours")] = None
    finalists: Annotated[int, Field(ge=1, description="best trials by validation that test is opened for")] = 5
    precision: Annotated[Literal["fp32", "bf16"], Field(description="weights of the base models while embedding")] = (
        "fp32"
    )
    cache: Annotated[Path, Field(description="where embedded texts are kept")] = DEFAULT_CACHE
    results: Annotated[Path, Field(description="folder of the results folders")] = Path("results")
    name: Annotated[
        str | None, Field(pattern=NAME_PATTERN, description="name of the results folder (default: made up)")
    ] = None
    ray_address: Annotated[
        str | None, Field(description="join the Ray cluster at this address instead of starting one")
    ] = None
    gpus_per_trial: Annotated[float, Field(ge=0, description="GPUs of a trial, such as 0.25 (needs a GPU machine)")] = (
        0.0
    )


class SearchConfig(BaseModel):
    """A whole search: how, on what, and over which space."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: SearchOptions = SearchOptions()
    data: DataConfig = DataConfig()
    space: Space = Space()


OPTIONS: dict[str, tuple[str, type[BaseModel]]] = {
    name: (table, model)
    for table, model in (("search", SearchOptions), ("data", DataConfig), ("space", Space))
    for name in model.model_fields
}
"""Option name -> (table of the TOML file, model). Every option's name is unique, and is also its flag."""


def flag(name: str) -> str:
    """The command line's spelling of an option."""
    return "--" + name.replace("_", "-")


def _sentence(key: str, error: ErrorDetails, known: tuple[str, ...]) -> str:
    if error["type"] == "extra_forbidden":
        return f"{key}: no such option; known are {', '.join(known)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        message = "takes letters, digits, '.', '_' and '-', at most 100, and begins with a letter or digit"
    if error["type"] == "value_error":
        return f"{key} {message}" if message[:1].islower() else f"{key}: {message}"
    return f"{key}: {message[:1].lower()}{message[1:]}, not {error['input']!r}"


def _section(
    table: str, model: type[BaseModel], values: dict[str, Any], problems: list[str]
) -> tuple[BaseModel, set[str]]:
    """The model made of the values that are sound, and the names of those that are not."""
    try:
        return model(**values), set()
    except ValidationError as error:
        bad: dict[str, None] = {}
        for detail in error.errors():
            key = str(detail["loc"][0])
            if key not in bad:
                problems.append(_sentence(f"[{table}] {key}", detail, tuple(model.model_fields)))
            bad[key] = None
        return model(**{key: value for key, value in values.items() if key not in bad}), set(bad)


def search_config(
    search: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    space: dict[str, Any] | None = None,
) -> SearchConfig:
    """The configuration of plain values (flags or TOML), with the defaults that depend on one another.

    Raises ConfigError with every problem found.
    """
    problems: list[str] = []
    options, bad_options = _section("search", SearchOptions, search or {}, problems)
    pairs, _ = _section("data", DataConfig, data or {}, problems)
    axes = dict(space or {})
    assert isinstance(options, SearchOptions) and isinstance(pairs, DataConfig)
    algorithm = None if "search" in bad_options else options.search
    if "base_model" not in axes and pairs.data is None and "data" not in (data or {}):
        axes["base_model"] = list(DEMO_BASE_MODELS)
    if "learning_rate" not in axes and algorithm == "grid":
        axes["learning_rate"] = list(GRID_LEARNING_RATES)
    checked, bad_axes = _section("space", Space, axes, problems)
    assert isinstance(checked, Space)
    if algorithm == "grid":
        problems += [
            f"[space] {name}: a grid takes a list, no range; write the values, or use --search random"
            for name in checked.ranges()
            if name not in bad_axes
        ]
    if algorithm in ("asha", "optuna") and len(checked.train_size) > 1 and "train_size" not in bad_axes:
        problems.append(
            f"[space] train_size: {algorithm} takes one size (small ones would be stopped for being small); "
            "compare sizes with --search grid"
        )
    if problems:
        raise ConfigError(problems)
    return SearchConfig(search=options, data=pairs, space=checked)


__all__ = ["AXES", "OPTIONS", "SearchConfig", "SearchOptions", "flag", "search_config"]
