"""DataConfig: where the labelled pairs come from and how they are read and split.

Names, types and defaults of the options of the `[data]` table.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

SplitMode = Literal["components", "queries", "queries-a", "queries-b", "cut"]
"""How pairs are split without a given split."""

GENERAL = "general"
"""The guard set that comes with embedtune."""
NO_GUARD = "none"


def _written(value: Any) -> Any:
    """Return a TOML number, boolean or list as it would be typed in a flag."""
    if isinstance(value, list):
        return ",".join(str(_written(one)) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _listed(value: Any) -> Any:
    """Return a flag's comma list as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class DataConfig(BaseModel):
    """The `[data]` table. Without `data`, the embedded demo pairs are used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[
        str | None,
        Field(
            description="csv, csv.gz, tsv, jsonl or parquet file, its address (https://, s3://), folder, pattern, or"
            " hub dataset NAME[:CONFIG]"
        ),
    ] = None
    text_a: Annotated[str | None, Field(description="column of the first text")] = None
    text_b: Annotated[str | None, Field(description="column of the second text")] = None
    label: Annotated[str | None, Field(description="column of the label")] = None
    positive_label: Annotated[
        str | None,
        BeforeValidator(_written),
        Field(
            description="the label value that means the two texts belong together, such as 0, same or entailment (or"
            " several: a,b); all others are negative"
        ),
    ] = None
    positive_from: Annotated[
        float | None, Field(description="the label is a graded score; pairs with at least this score are positive")
    ] = None
    score: Annotated[
        str | None,
        Field(
            description="column of a graded score, higher is more alike: cosent, angle and cosine train on it, and"
            " Spearman is reported; with --positive-from it is the label too"
        ),
    ] = None
    score_min: Annotated[
        float | None, Field(allow_inf_nan=False, description="lowest possible score (default: the lowest found)")
    ] = None
    score_max: Annotated[
        float | None, Field(allow_inf_nan=False, description="highest possible score (default: the highest found)")
    ] = None
    split_column: Annotated[
        str | None, Field(description="column with an existing split: train, val|dev|validation, test")
    ] = None
    split: Annotated[
        SplitMode,
        Field(
            description="components: keep linked texts together; queries: keep the texts of one column apart, the one"
            " whose texts repeat less (or -a, -b: first, second), and share the other; cut: split by text, drop"
            " crossing pairs"
        ),
    ] = "components"
    prompt_a: Annotated[str | None, Field(description="prompt put before every first text")] = None
    prompt_b: Annotated[str | None, Field(description="prompt put before every second text")] = None
    max_length: Annotated[int | None, Field(ge=1, description="maximum tokens per text")] = None
    guard: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_listed),
        Field(
            description="pairs on which training should cost nothing: files or whatever --data takes (several: a,b),"
            " general (everyday pairs that come with embedtune), or none (default: general for the demo pairs, else"
            " none)"
        ),
    ] = None

    @property
    def guards(self) -> tuple[str, ...]:
        """The guard sets of a search, each once: by default `general` for the demo pairs, else none."""
        if self.guard is None:
            return (GENERAL,) if self.data is None else ()
        return tuple(name for name in dict.fromkeys(self.guard) if name.casefold() != NO_GUARD)

    @field_validator("guard")
    @classmethod
    def _named(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Refuse an empty list, and none beside a guard set."""
        if value is not None and not value:
            raise ValueError("names no pairs; give files, general or none")
        if value is not None and len(value) > 1 and NO_GUARD in (name.casefold() for name in value):
            raise ValueError("none cannot be combined with guard sets; give one or the other")
        return value

    @field_validator("positive_from")
    @classmethod
    def _alone(cls, value: float | None, info: ValidationInfo) -> float | None:
        """Refuse two ways to say which pairs are positive."""
        if value is not None and info.data.get("positive_label") is not None:
            raise ValueError("cannot be combined with positive_label; give one of them")
        return value

    @field_validator("score_min", "score_max")
    @classmethod
    def _limits_a_score(cls, value: float | None, info: ValidationInfo) -> float | None:
        """Refuse a limit without scores, and limits that leave no range."""
        if value is not None and info.data.get("score") is None:
            raise ValueError("limits graded scores: name their column with --score")
        low = info.data.get("score_min")
        if info.field_name == "score_max" and value is not None and low is not None and value <= low:
            raise ValueError(f"must be above score_min ({low:g})")
        return value
