"""How often a test side has been looked at: every run that opened it, and what that means for its numbers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune.results.layout import ResultsFolder

_SHOWN = 6
"""Names in the sentence; the summary has all."""


@dataclass(frozen=True, order=True)
class Look:
    """A run that opened a test side. opened: when (UTC). kind: search, challenge or baselines."""

    opened: str
    name: str
    kind: str

    def to_json(self) -> dict[str, str]:
        """Return plain values by field name."""
        return asdict(self)


def looks_at(split_hash: str, parents: Iterable[Path], recorded: Iterable[Mapping[str, Any]] = ()) -> list[Look]:
    """Return the looks at a test side, the earliest first.

    split_hash: of the split. parents: folders whose results folders are searched for it. recorded: looks that were
    written down (`Look.to_json`), for folders that have moved since. A copy of a folder is the same look.
    """
    found = {
        (look.opened, look.name): look
        for parent in {parent.resolve() for parent in parents}
        for path in sorted(parent.glob("*/summary.json"))
        if (look := _look(ResultsFolder(path.parent), split_hash))
    }
    for one in recorded:
        look = Look(str(one["opened"]), str(one["name"]), str(one["kind"]))
        found[look.opened, look.name] = look
    return sorted(found.values())


def _look(folder: ResultsFolder, split_hash: str) -> Look | None:
    """Return the look of a run; None if it has not opened this test side, or cannot be read."""
    try:
        summary = json.loads(folder.summary.read_text())
        if summary["data"]["split_hash"] != split_hash or not folder.test.is_file():
            return None
        opened = (summary.get("test") or {}).get("opened") or json.loads(folder.test.read_text()).get("opened")
        kind = "baselines" if summary.get("search") == "baselines" else "search"
        kind = "challenge" if summary.get("challenge") else kind
        return Look(str(opened), str(summary.get("name") or folder.name), kind) if opened else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def looks_sentence(looks: list[Look]) -> str:
    """Return how often the test side has been looked at, and what that means, without a full stop."""
    names = [look.name for look in looks]
    shown = names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], f"{len(names) - _SHOWN + 1} more"]
    times = {1: "once", 2: "twice"}.get(len(looks), f"{len(looks)} times")
    return (
        f"this test side has now been looked at {times} ({', '.join(shown)}): the more looks, the more the best of them"
        " owes to luck, and the less a small advantage means"
    )
