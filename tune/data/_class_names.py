"""Names of a label's classes (`ClassLabel` of the `datasets` library), where a source keeps them.

`datasets` writes its features into the schema of a parquet file; a loaded dataset has them.
"""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tune.data._files import DataFile

ClassNames = Mapping[str, list[str]]
"""Column -> the names of its values 0, 1, ..."""

_KEY = b"huggingface"


def of_file(file: DataFile) -> ClassNames:
    """Return the class names in a parquet file's schema; {} for other files and schemas that cannot be read."""
    if file.kind != "parquet":
        return {}
    try:
        features = json.loads((pq.read_schema(file.path).metadata or {})[_KEY])["info"]["features"]
        # A feature that is a list of values is written as a list in JSON.
        found: dict[str, Any] = {
            name: feature.get("names") for name, feature in features.items() if isinstance(feature, dict)
        }
    except (OSError, pa.ArrowException, LookupError, ValueError, TypeError, AttributeError):
        # Whatever is wrong with the file, reading its columns reports.
        return {}
    return {column: names for column, names in found.items() if _are_names(names)}


def of_dataset(rows: Any) -> ClassNames:
    """Return the class names of a `datasets.Dataset`."""
    found: dict[str, Any] = {column: getattr(feature, "names", None) for column, feature in rows.features.items()}
    return {column: names for column, names in found.items() if _are_names(names)}


def _are_names(names: object) -> bool:
    return isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)
