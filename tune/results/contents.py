"""What the files of a finished search held when it ended: their SHA-256, for `python -m tune check`."""

from collections.abc import Mapping

from tune.files import sha256_of
from tune.results.layout import ResultsFolder


def contents(folder: ResultsFolder, before: Mapping[str, str] | None) -> dict[str, str]:
    """Return the SHA-256 of the files of a search by name.

    before: what an earlier run has recorded; it holds for files that are written only once, damaged since or not.
    """
    # The rows of scores.parquet follow those of split.parquet, which is not written again once they exist.
    once = (folder.config, folder.test, folder.scores, *([folder.split] if folder.scores.exists() else []))
    again = (folder.split, folder.leaderboard, folder.asha, folder.order)
    known = {path.name: (before or {})[path.name] for path in once if path.name in (before or {})}
    return {path.name: sha256_of(path) for path in (*once, *again) if path.is_file()} | known
