"""Nothing that a report says or draws changes unseen: `python -m tests.report.golden` shows what did."""

from pathlib import Path

from tests.report.golden import FOLDER, golden_report


def test_the_golden_report(tmp_path: Path) -> None:
    markdown, specs = golden_report(tmp_path)
    assert markdown == (FOLDER / "report.md").read_text()
    assert specs == (FOLDER / "figures.json").read_text()
