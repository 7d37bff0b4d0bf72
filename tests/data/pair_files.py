"""Labelled pairs as files of every format, and what reading them returns or refuses."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune.config.data import DataConfig
from tune.data._columns import Columns
from tune.data.pairs import Pairs, check_data, read_pairs
from tune.errors import DataError

ROWS = [
    ("how do I pay", "ways of paying", 1),
    ("how do I pay", "where are you", 0),
    ("opening hours", "when open", 1),
]


def table(
    rows: list[tuple[str, str, Any]],
    delimiter: str = ",",
    newline: str = "\n",
    header: str = "text1 text2 label",
) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline)
    writer.writerow(header.split())
    writer.writerows(rows)
    return out.getvalue()


def jsonl(rows: list[tuple[str, str, Any]], header: str = "text1 text2 label") -> str:
    return "".join(json.dumps(dict(zip(header.split(), row, strict=True))) + "\n" for row in rows)


def parquet(path: Path, rows: list[tuple[str, str, Any]], header: str = "text1 text2 label") -> None:
    pq.write_table(pa.table(dict(zip(header.split(), zip(*rows, strict=True), strict=True))), path)


def pairs_of(rows: list[tuple[str, str, int]], side: list[str] | None = None) -> Pairs:
    """Pairs in memory, with the given split."""
    return Pairs(
        text_a=[row[0] for row in rows],
        text_b=[row[1] for row in rows],
        label=np.array([row[2] for row in rows], np.int8),
        row=np.arange(len(rows)),
        side=side,
        columns=Columns("a", "b", "label"),
        source="test",
    )


def put(path: Path, content: str | bytes) -> Path:
    """Write the file, gzipped if its name ends in .gz."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write(folder: Path, suffix: str, rows: list[tuple[str, str, Any]]) -> Path:
    """Write the rows as pairs{suffix}, in the suffix's format."""
    path = folder / f"pairs{suffix}"
    if suffix == ".parquet":
        parquet(path, rows)
        return path
    if "json" in suffix:
        return put(path, jsonl(rows))
    return put(path, table(rows, "\t" if ".tsv" in suffix else ","))


def read(path: Path | str, **options: Any) -> Pairs:
    """Check, then read."""
    config = DataConfig(data=str(path), **options)
    check_data(config)
    return read_pairs(config)


def triples(pairs: Pairs) -> list[tuple[str, str, int]]:
    return list(zip(pairs.text_a, pairs.text_b, pairs.label.tolist(), strict=True))


def refusal(path: Path | str, **options: Any) -> str:
    """The one-line error of reading."""
    config = DataConfig(data=str(path), **options)
    with pytest.raises(DataError) as refused:
        read_pairs(config)
    line = str(refused.value)
    assert "\n" not in line and "\r" not in line and 20 < len(line) < 600, line
    assert ": " in line
    return line


def refused_early(path: Path | str, **options: Any) -> str:
    """The same, if check_data already raises that error."""
    config = DataConfig(data=str(path), **options)
    with pytest.raises(DataError) as refused:
        check_data(config)
    assert str(refused.value) == refusal(path, **options)
    return str(refused.value)
