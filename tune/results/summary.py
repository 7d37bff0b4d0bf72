"""summary.json: what a search was, found and cost. Written more than once: each writing adds facts and is whole."""

import json
from pathlib import Path
from typing import Any

from tune.errors import ResultsError
from tune.files import write_atomic


class Summary:
    """The summary on disk. A fact once written stays unless it is set again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        except ValueError:
            raise ResultsError(f"{path} is damaged; bring back a copy of it, or start a new search") from None

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    def get(self, name: str) -> Any:
        """The fact, or None."""
        return self.facts.get(name)

    def update(self, **facts: Any) -> None:
        """Adds facts and writes the file."""
        self.facts.update(facts)
        write_atomic(self.path, json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n")
