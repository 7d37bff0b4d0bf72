"""SearchConfig: everything that `python -m tune search` can be told, checked as a whole.

`search_config` raises all problems at once, each naming the key and the mend.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tune.config.closed import ClosedConfig, provider_of
from tune.config.data import DataConfig
from tune.config.space import AXES, Space
from tune.config.space_rules import space_problems, with_defaults
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
    gpus_per_trial: Annotated[
        float | None,
        Field(ge=0, description="GPUs of a trial, such as 0.25 (default: 1 with freeze=false, if there are, else 0)"),
    ] = None
    folds: Annotated[
        int, Field(ge=0, description="text-disjoint folds of train and val instead of one val side (0: none)")
    ] = 0
    eval_pairs: Annotated[
        int | None,
        Field(
            ge=0,
            description="validation pairs at each of the sixteen reports of a trial with freeze=false (0: all; "
            "default: as many, and reports as often, as keep validation under 15% of the trial)",
        ),
    ] = None
    accumulation: Annotated[int, Field(ge=1, description="batches per step of the optimizer, with freeze=false")] = 1
    checkpointing: Annotated[
        bool, Field(description="with freeze=false: compute activations again, for less memory")
    ] = False
    chunk_size: Annotated[
        int, Field(ge=0, description="with freeze=false and mnr: pairs at a time of a larger batch (0: all of it)")
    ] = 0

    def trial_options(self) -> dict[str, Any]:
        """What all trials share, as TrialConfig names it."""
        names = ("seed", "folds", "eval_pairs", "accumulation", "checkpointing", "chunk_size")
        return {name: getattr(self, name) for name in names}


class SearchConfig(BaseModel):
    """A whole search: how, on what, and over which spaces (alternatives; a trial is a point of one of them)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: SearchOptions = SearchOptions()
    data: DataConfig = DataConfig()
    closed: ClosedConfig = ClosedConfig()
    spaces: Annotated[tuple[Space, ...], Field(min_length=1)] = (Space(),)

    @property
    def base_models(self) -> tuple[str, ...]:
        """Of all alternatives, each once, in their order."""
        return tuple(dict.fromkeys(name for space in self.spaces for name in space.base_model))

    @property
    def closed_models(self) -> tuple[str, ...]:
        """The base models whose vectors are bought."""
        return tuple(name for name in self.base_models if provider_of(name) is not None)

    @property
    def train_sizes(self) -> tuple[int, ...]:
        """Of all alternatives, each once."""
        return tuple(dict.fromkeys(size for space in self.spaces for size in space.train_size))

    @property
    def whole(self) -> bool:
        """Whether some trial trains its base model itself."""
        return any(False in space.freeze for space in self.spaces)

    def trained(self, base_model: str) -> bool:
        """Whether some trial trains that base model itself, so that it has to read texts."""
        return any(base_model in space.base_model and False in space.freeze for space in self.spaces)

    def trained_by_lora(self, base_model: str) -> bool:
        """Whether some trial does so with LoRA."""
        return any(base_model in space.base_model and "lora" in space.train for space in self.spaces)


OPTIONS: dict[str, tuple[str, type[BaseModel]]] = {
    name: (table, model)
    for table, model in (
        ("search", SearchOptions),
        ("data", DataConfig),
        ("closed", ClosedConfig),
        ("space", Space),
    )
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
    space: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    closed: dict[str, Any] | None = None,
) -> SearchConfig:
    """The configuration of plain values (flags or TOML), with the defaults that depend on one another.

    space: a table, or several that are alternatives. Raises ConfigError with every problem found.
    """
    problems: list[str] = []
    options, bad_options = _section("search", SearchOptions, search or {}, problems)
    pairs, _ = _section("data", DataConfig, data or {}, problems)
    asked, _ = _section("closed", ClosedConfig, closed or {}, problems)
    assert isinstance(options, SearchOptions) and isinstance(pairs, DataConfig) and isinstance(asked, ClosedConfig)
    algorithm = None if "search" in bad_options else options.search
    demo = pairs.data is None and "data" not in (data or {})
    tables = [space] if isinstance(space, dict) else list(space or [{}])
    spaces: list[Space] = []
    for number, table in enumerate(tables, start=1):
        name = "space" if len(tables) == 1 else f"space {number}"
        for axes in with_defaults(table, algorithm, demo):
            found: list[str] = []
            checked, bad = _section(name, Space, axes, found)
            assert isinstance(checked, Space)
            found += [f"[{name}] {problem}" for problem in space_problems(checked, algorithm, options.folds, bad)]
            # A table without a learning rate becomes several, which may have the same problems.
            problems += [problem for problem in found if problem not in problems]
            spaces.append(checked)
    if options.folds == 1:
        problems.append("[search] folds: 1 is no cross-validation; give 2 or more, or 0 for one validation side")
    config = SearchConfig(search=options, data=pairs, closed=asked, spaces=tuple(dict.fromkeys(spaces)))
    if algorithm in ("asha", "optuna") and len(config.train_sizes) > 1:
        problems.append(
            f"[space] train_size: {algorithm} takes one size (small ones would be stopped for being small); "
            "compare sizes with --search grid"
        )
    if problems:
        raise ConfigError(problems)
    return config


__all__ = ["AXES", "OPTIONS", "SearchConfig", "SearchOptions", "flag", "search_config"]
