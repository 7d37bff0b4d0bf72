"""DataConfig: where the labelled pairs come from and how they are read and split.

Names, types and defaults of the options of the `[data]` table.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class DataConfig(BaseModel):
    """The `[data]` table. Without `data`, the embedded demo pairs are used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[
        str | None,
        Field(description="csv, csv.gz, tsv, jsonl or parquet file, folder, or hub dataset NAME[:CONFIG]"),
    ] = None
    text_a: Annotated[str | None, Field(description="column of the first text")] = None
    text_b: Annotated[str | None, Field(description="column of the second text")] = None
    label: Annotated[str | None, Field(description="column of the label")] = None
    positive_from: Annotated[
        float | None, Field(description="the label is a graded score; pairs with at least this score are positive")
    ] = None
    split_column: Annotated[
        str | None, Field(description="column with an existing split: train, val|dev|validation, test")
    ] = None
    split: Annotated[
        Literal["components", "cut"],
        Field(description="components: keep linked texts together; cut: split by text, drop crossing pairs"),
    ] = "components"
    prompt_a: Annotated[str | None, Field(description="prompt put before every first text")] = None
    prompt_b: Annotated[str | None, Field(description="prompt put before every second text")] = None
    max_length: Annotated[int | None, Field(ge=1, description="maximum tokens per text")] = None
