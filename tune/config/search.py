"""SearchConfig: every option of `python -m tune search`, checked as a whole.

`search_config` raises all problems at once; each names the key and the fix.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tune.config.closed import ClosedConfig, provider_of
from tune.config.data import DataConfig
from tune.config.space import AXES, Space
from tune.config.space_rules import is_packaged_static, space_problems, with_defaults
from tune.config.train_sizes import Doubling, listed
from tune.config.trial import SHARED_OPTIONS
from tune.errors import ConfigError

DEFAULT_CACHE = Path("~/.cache/embedtune")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class SearchOptions(BaseModel):
    """The `[search]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: Annotated[Literal["grid", "random", "optuna", "asha"], Field(description="search algorithm")] = "asha"
    trials: Annotated[int, Field(ge=1, description="trials to run; a grid runs all its points")] = 40
    jobs: Annotated[int | None, Field(ge=1, description="trials at the same time (default: usable CPU cores)")] = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, description="seed of the split, the draws and the training")] = 0
    deterministic: Annotated[
        bool | None,
        Field(
            description="asha, optuna: decide in an order that the plans of the trials give, so that the same seed and "
            "jobs repeat the search; false: as reports arrive (default: true for frozen base models on this machine)"
        ),
    ] = None
    max_usd: Annotated[
        float | None,
        Field(gt=0, description="end the search once closed models' vectors and Modal's GPUs have cost this many USD"),
    ] = None
    max_hours: Annotated[float | None, Field(gt=0, description="end the search after this many hours")] = None
    target_auc: Annotated[
        float | None, Field(gt=0.5, le=1, description="end the search once a trial reports this validation AUC")
    ] = None
    max_failures: Annotated[
        int | None,
        Field(
            ge=0,
            description="end the search once more trials than this have failed (default: if the first five that end "
            "fail for one reason)",
        ),
    ] = None
    gpu_usd_per_hour: Annotated[
        float | None, Field(gt=0, description="on Modal: price of a trial's GPU for --max-usd (default: list price)")
    ] = None
    finalists: Annotated[int, Field(ge=1, description="best trials by validation to score on test")] = 5
    keep_weights: Annotated[
        Literal["finalists", "all"],
        Field(
            description="with freeze=false, on this machine: finalists deletes the weights of trials that have ended "
            "and cannot be finalists; all keeps them, for export --trial"
        ),
    ] = "finalists"
    guard_loss: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="with freeze=false: AUC that training may cost on the guard sets; if it costs more, the trained"
            " weights are merged with the base model's",
        ),
    ] = 0.01
    precision: Annotated[
        Literal["fp32", "bf16", "int8"],
        Field(
            description="weights of base models for embedding; int8: by OpenVINO on the CPU, for frozen transformers "
            "(extra openvino)"
        ),
    ] = "fp32"
    trust_remote_code: Annotated[
        bool,
        Field(description="let open base models run code of their own, from their folder or the hub; read it first"),
    ] = False
    report: Annotated[bool, Field(description="write report.html, report.md and plots/ at the end")] = True
    cache: Annotated[Path, Field(description="folder for embedded texts")] = DEFAULT_CACHE
    results: Annotated[Path, Field(description="parent of the results folders")] = Path("results")
    name: Annotated[
        str | None, Field(pattern=NAME_PATTERN, description="name of the results folder (default: generated)")
    ] = None
    ray_address: Annotated[
        str | None, Field(description="join the Ray cluster at this address instead of starting one")
    ] = None
    gpus_per_trial: Annotated[
        float | None,
        Field(ge=0, description="GPUs per trial, such as 0.25 (default: 1 with freeze=false if there is one, else 0)"),
    ] = None
    folds: Annotated[
        int,
        Field(
            ge=0,
            description="number of text-disjoint cross-validation folds over train and val (0: none); if test would be"
            " too small, all pairs go into the folds and are judged out of fold (needs 20 pairs of either class)",
        ),
    ] = 0
    eval_pairs: Annotated[
        int | None,
        Field(
            ge=0,
            description="with freeze=false: validation pairs that all trials of the search are compared on before the "
            "last stage (0: all; default: all for static base models, else 1000 to 4000)",
        ),
    ] = None
    accumulation: Annotated[int, Field(ge=1, description="with freeze=false: batches per optimizer step")] = 1
    checkpointing: Annotated[bool, Field(description="with freeze=false: recompute activations to save memory")] = False
    chunk_size: Annotated[
        int, Field(ge=0, description="with freeze=false and mnr: pairs of a batch at a time through the model (0: all)")
    ] = 0

    def trial_options(self) -> dict[str, Any]:
        """Return the options that all trials share, as `trial_config` takes them."""
        return {name: getattr(self, name) for name in SHARED_OPTIONS}


class SearchConfig(BaseModel):
    """A whole search: algorithm, data, and spaces (alternatives; a trial is a point of one of them)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: SearchOptions = SearchOptions()
    data: DataConfig = DataConfig()
    closed: ClosedConfig = ClosedConfig()
    spaces: Annotated[tuple[Space, ...], Field(min_length=1)] = (Space(),)

    @property
    def base_models(self) -> tuple[str, ...]:
        """Base models of all alternatives, each once, in order."""
        return tuple(dict.fromkeys(name for space in self.spaces for name in space.base_model))

    @property
    def closed_models(self) -> tuple[str, ...]:
        """Closed base models, for which vectors are bought."""
        return tuple(name for name in self.base_models if provider_of(name) is not None)

    @property
    def train_sizes(self) -> tuple[int, ...]:
        """Train sizes of all alternatives, each once; without those that only the data decide (`sizes_by_data`)."""
        return tuple(dict.fromkeys(size for space in self.spaces for size in listed(space.train_size)))

    @property
    def sizes_by_data(self) -> bool:
        """Whether train sizes, and with them the trials of a grid, depend on how many pairs there are (LOW:all)."""
        return any(isinstance(space.train_size, Doubling) for space in self.spaces)

    @property
    def whole(self) -> bool:
        """Whether any trial trains its base model itself."""
        return any(False in space.freeze for space in self.spaces)

    def trained(self, base_model: str) -> bool:
        """Whether any trial trains this base model itself, and so needs texts."""
        return any(base_model in space.base_model and False in space.freeze for space in self.spaces)

    def trained_by_lora(self, base_model: str) -> bool:
        """Whether any trial trains this base model with LoRA."""
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
"""Option name -> (table of the TOML file, model). Option names are unique across tables and are also the flags."""


RESUMABLE = (
    "results", "report", "jobs", "keep_weights", "deterministic", "max_usd", "max_hours", "target_auc",
    "max_failures", "gpu_usd_per_hour", "cache", "ray_address", "gpus_per_trial",
    "texts_per_request", "max_in_flight", "request_timeout", "request_retries", "max_embed_usd", "price_per_million",
)  # fmt: skip
"""Options that may be given together with --resume: they change no trial's numbers."""


def flag(name: str) -> str:
    """Return the command-line flag of an option."""
    return "--" + name.replace("_", "-")


def _sentence(key: str, error: ErrorDetails, known: tuple[str, ...]) -> str:
    if error["type"] == "extra_forbidden":
        return f"{key}: no such option; choose from {', '.join(known)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        message = "use up to 100 letters, digits, '.', '_' and '-', starting with a letter or digit"
    if error["type"] == "value_error":
        return f"{key} {message}" if message[:1].islower() else f"{key}: {message}"
    return f"{key}: {message[:1].lower()}{message[1:]}, not {error['input']!r}"


def _section(
    table: str, model: type[BaseModel], values: dict[str, Any], problems: list[str]
) -> tuple[BaseModel, set[str]]:
    """Return the model built from the valid values, and the names of the invalid ones; adds a line each to problems."""
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


def _option_problems(options: SearchOptions, spaces: Sequence[Space]) -> list[str]:
    """Return a line for each option that contradicts another, or a space."""
    problems = []
    if options.folds == 1:
        problems.append("[search] folds: 1 fold is not cross-validation; use 2 or more, or 0 for one validation side")
    if options.precision == "int8" and any(False in space.freeze for space in spaces):
        problems.append(
            "[search] precision: int8 is for layers on frozen base models, and with freeze=false models are trained in "
            "fp32; leave out --precision"
        )
    if options.deterministic and options.ray_address is not None:
        problems.append(
            "[search] deterministic: a joined cluster may run fewer trials at a time than the order needs; leave out "
            "--ray-address or --deterministic"
        )
    return problems


def search_config(
    search: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    space: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
    closed: dict[str, Any] | None = None,
    is_static: Callable[[str], bool] = is_packaged_static,
) -> SearchConfig:
    """Build the configuration from plain values (flags or TOML) and fill in the defaults that depend on others.

    space: one table, or several as alternatives. is_static: whether a base model is static vectors, on which default
    learning rates depend; asked at most once per name, and only for whole models without a learning rate. Raises
    ConfigError with every problem found.
    """
    is_static = cache(is_static)
    problems: list[str] = []
    options, bad_options = _section("search", SearchOptions, search or {}, problems)
    pairs, _ = _section("data", DataConfig, data or {}, problems)
    closed_options, _ = _section("closed", ClosedConfig, closed or {}, problems)
    assert isinstance(options, SearchOptions) and isinstance(pairs, DataConfig)
    assert isinstance(closed_options, ClosedConfig)
    algorithm = None if "search" in bad_options else options.search
    demo = pairs.data is None and "data" not in (data or {})
    tables = [space] if isinstance(space, dict) else list(space or [{}])
    spaces: list[Space] = []
    for number, table in enumerate(tables, start=1):
        name = "space" if len(tables) == 1 else f"space {number}"
        for axes in with_defaults(table, algorithm, demo, is_static):
            found: list[str] = []
            checked, bad = _section(name, Space, axes, found)
            assert isinstance(checked, Space)
            found += [f"[{name}] {problem}" for problem in space_problems(checked, algorithm, options.folds, bad)]
            # with_defaults may split one table into several that share a problem.
            problems += [problem for problem in found if problem not in problems]
            spaces.append(checked)
    problems += _option_problems(options, spaces)
    config = SearchConfig(search=options, data=pairs, closed=closed_options, spaces=tuple(dict.fromkeys(spaces)))
    if algorithm in ("asha", "optuna") and (config.sizes_by_data or len(config.train_sizes) > 1):
        problems.append(
            f"[space] train_size: {algorithm} takes one size (it would stop small ones for being small); "
            "compare sizes with --search grid"
        )
    if problems:
        raise ConfigError(problems)
    return config


__all__ = ["AXES", "OPTIONS", "RESUMABLE", "SearchConfig", "SearchOptions", "flag", "search_config"]
