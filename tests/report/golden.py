"""The golden report: tables and figures of a fixed made-up search, to see every change of what a report says and draws.

`python -m tests.report.golden` writes the files again; look at the difference before committing it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_scores
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder

FOLDER = Path(__file__).parent / "golden"
_DIGITS = 5


def golden_report(root: Path) -> tuple[str, str]:
    """Return report.md, and the figures' specifications as JSON with rounded numbers."""
    folder = with_scores(made_up_folder(root, 0, grid=True), 100, others=("tf-idf",))
    report = Report.of([read_story(ResultsFolder(folder))])
    specs = {figure.name: rounded(figure.spec("light")) for page in report.pages for figure in page.figures}
    return report.markdown(), json.dumps(specs, indent=1, sort_keys=True) + "\n"


def rounded(value: Any) -> Any:
    """Return plain data with floats rounded, and data sets named by their place, since their names are hashes."""
    if isinstance(value, dict):
        names = {name: f"data-{place}" for place, name in enumerate(value.get("datasets", {}))}
        cleaned = {key: rounded(one) for key, one in value.items()}
        return json.loads(_renamed(json.dumps(cleaned), names)) if names else cleaned
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def _renamed(text: str, names: dict[str, str]) -> str:
    for name, short in names.items():
        text = text.replace(name, short)
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        markdown, specs = golden_report(Path(root))
    (FOLDER / "report.md").write_text(markdown)
    (FOLDER / "figures.json").write_text(specs)
