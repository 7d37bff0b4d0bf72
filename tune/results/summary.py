"""summary.json: what a search was, found and cost. Written several times; each write adds facts and is atomic."""

import json
from pathlib import Path
from typing import Any

from tune.errors import ResultsError
from tune.files import read_object, write_atomic


class Summary:
    """The summary on disk. A fact once written stays unless it is set again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.facts: dict[str, Any] = read_object(path) if path.exists() else {}
        except ValueError:
            raise ResultsError(f"{path} is damaged; restore a copy of it, or start a new search") from None

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    def get(self, name: str) -> Any:
        """Return the fact, or None."""
        return self.facts.get(name)

    def update(self, **facts: Any) -> None:
        """Add facts and write the file."""
        self.facts.update(facts)
        write_atomic(self.path, json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n")
