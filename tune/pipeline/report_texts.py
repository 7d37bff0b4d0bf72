"""The texts that a report shows: of a search's own pairs, or read again from the files that its search.toml names.

Nothing is fetched for it: pairs that are not on this machine have no texts in a report.
"""

import logging
from collections.abc import Mapping, Set

import numpy as np

from tune.config.search import search_config
from tune.config.toml import read_resolved
from tune.data.local_files import is_here
from tune.data.pairs import Pairs, read_pairs
from tune.data.split import read_split_rows, row_hashes
from tune.errors import UserError
from tune.logs import only_from
from tune.results.layout import ResultsFolder

Wanted = Set[tuple[int, int]]
"""Row number in the data, and label."""
Found = dict[tuple[int, int], list[tuple[str, str]]]
"""The texts of pairs by row and label: several pairs for a triplet with several negatives."""

LEFT_OUT = "Texts were left out, so that this report can be shared."
_ELSEWHERE = "Texts are not shown: the pairs are not on this machine."
_CHANGED = "Texts are not shown: the pairs have changed since the search."


def texts_of(pairs: Pairs, wanted: Wanted) -> Found:
    """Return the texts of these rows."""
    found: Found = {}
    rows = np.fromiter({row for row, _ in wanted}, np.int64)
    for i in np.flatnonzero(np.isin(pairs.row, rows)).tolist():
        key = int(pairs.row[i]), int(pairs.label[i])
        if key in wanted:
            found.setdefault(key, []).append((pairs.text_a[i], pairs.text_b[i]))
    return found


def texts_again(folder: ResultsFolder, wanted: Wanted) -> tuple[Found, str]:
    """Read the texts of these rows from the data of a search; return them, or why there are none, as a sentence.

    The rows must be those that the search saw: their hashes are compared with split.parquet.
    """
    if not wanted:
        return {}, ""
    try:
        config = search_config(**read_resolved(folder.config)).data
    except (UserError, TypeError):
        return {}, "Texts are not shown: search.toml, which says where the pairs are, cannot be read."
    if not is_here(config.data):
        return {}, _ELSEWHERE
    try:
        # The search has said what reading the data says.
        with only_from(logging.ERROR, "tune.data"):
            pairs = read_pairs(config)
    except (UserError, OSError):
        return {}, _CHANGED
    kept = np.isin(pairs.row, np.fromiter({row for row, _ in wanted}, np.int64))
    found = _as_seen(pairs.take(np.flatnonzero(kept)), wanted, _hashes(folder))
    return (found, "") if set(found) == set(wanted) else ({}, _CHANGED)


def _as_seen(pairs: Pairs, wanted: Wanted, hashes: Mapping[int, Set[str]]) -> Found:
    """Return the texts of the pairs whose hash the search wrote down for their row."""
    same = [
        i
        for i, (row, own) in enumerate(zip(pairs.row.tolist(), row_hashes(pairs), strict=True))
        if own in hashes.get(row, ())
    ]
    return texts_of(pairs.take(np.array(same, dtype=np.int64)), wanted)


def _hashes(folder: ResultsFolder) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    split = read_split_rows(folder.split)
    for row, own in zip(split.row.tolist(), split.row_hash, strict=True) if split else ():
        found.setdefault(row, set()).add(own)
    return found
