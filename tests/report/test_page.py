"""The page, its tables and its pictures, from results folders of every kind."""

import csv
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import vl_convert

from tests.helpers.command import tune_here
from tests.report.folders import SIZES, made_up_folder
from tests.report.scored_folders import with_scores
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder

REFERENCE = Path(__file__).parents[2] / "results" / "quora"


class Cells(HTMLParser):
    """The text of all table cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "td"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.append(data.strip())


def report_of(*folders: Path) -> Report:
    return Report.of([read_story(ResultsFolder(folder)) for folder in folders])


def test_numbers_on_the_page_are_those_of_the_leaderboard(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    cells = Cells(report_of(folder).html()).texts
    with open(folder / "leaderboard.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["test_auc"]]
    assert len(rows) > len(SIZES)
    for row in rows:
        low, high = float(row["test_auc_low"]), float(row["test_auc_high"])
        assert f"{float(row['test_auc']):.4f} [{low:.4f}, {high:.4f}]" in cells
        assert f"{float(row['val_auc']):.4f}" in cells


def test_the_command_writes_page_tables_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    ran = tune_here(capsys, "report", folder)
    assert ran.code == 0 and str(folder / "report.html") in ran.out
    answer = (folder / "report.md").read_text()
    assert "beats the untouched wordllama by 5.0 points" in answer
    assert re.search(r"[\d,]+ pairs are enough for wordllama \(layer\) to beat wordllama \(untouched\)", answer)
    names = {path.name for path in (folder / "plots").iterdir()}
    for figure in ("training-pairs", "dims", "training-curves"):
        assert {f"{figure}-{mode}.{kind}" for mode in ("light", "dark") for kind in ("svg", "png")} <= names
    drawn = (folder / "plots" / "training-pairs-light.svg").read_text()
    assert "wordllama (layer)" in drawn and "training pairs" in drawn


def test_texts_from_outside_are_data_and_no_markup(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 3)
    summary = json.loads((folder / "summary.json").read_text())
    summary["data"]["source"] = "</script><script>alert(1)</script>.csv"
    summary["verdicts"] = ["a verdict with <b>markup</b> | and a bar"]
    (folder / "summary.json").write_text(json.dumps(summary))
    page = report_of(folder).html()
    assert "alert(1)</script>" not in page and "<b>markup" not in page
    assert page.count("<script") == 3


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    page = re.sub(r"(?s)(<script>).*?</script>", r"\1", report_of(made_up_folder(tmp_path, 5)).html())
    assert len(page) < 100_000
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", page)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_a_search_that_has_not_ended_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up_folder(tmp_path, 12, finished=False)
    assert tune_here(capsys, "report", folder).code == 0
    answer = (folder / "report.md").read_text()
    assert "has not ended" in answer and "beats" not in answer
    assert "| rank | trial |" in answer and "training-curves-light.svg" in {
        p.name for p in (folder / "plots").iterdir()
    }


@pytest.mark.parametrize("name", sorted(path.name for path in REFERENCE.iterdir() if path.is_dir()))
def test_results_of_earlier_versions_still_report(name: str) -> None:
    report = report_of(REFERENCE / name)
    [page] = report.pages
    assert page.answer and page.sections[0].id == "models"
    assert len(report.html()) > 800_000 and "test AUC" in report.markdown()


def test_several_results_are_compared_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = made_up_folder(tmp_path, 0, grid=True, name="one")
    two = made_up_folder(tmp_path, 0, grid=True, name="two")
    assert tune_here(capsys, "report", one, two, "--to", tmp_path / "both").code == 0
    answer = (tmp_path / "both" / "report.md").read_text()
    assert "## one" in answer and "## two" in answer
    drawn = (tmp_path / "both" / "plots" / "s0-training-pairs-light.svg").read_text()
    assert "wordllama (layer) [one]" in drawn and "wordllama (layer) [two]" in drawn


def test_five_hundred_trials_are_a_small_page(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 500), 5000, others=("minilm", "tf-idf"))
    began = time.process_time()
    report = report_of(folder)
    page = report.html()
    assert time.process_time() - began < 10
    assert len(page.encode()) < 3_000_000
    assert page.count("data-trial=") > 400
    # A PNG of see-through lines takes half a minute if they have an opacity in place of one of the stroke.
    began = time.process_time()
    for figure in report.pages[0].figures:
        if figure.name in ("training-curves", "parallel-coordinates"):
            vl_convert.svg_to_png(vl_convert.vegalite_to_svg(figure.spec("light")), scale=2)
    assert time.process_time() - began < 10


def test_of_thousands_of_trials_some_are_drawn_and_the_page_says_which(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 1200)
    story = read_story(ResultsFolder(folder))
    report = Report.of([story])
    figures = {figure.name: figure for figure in report.pages[0].figures}
    assert "timeline" not in figures and figures["training-curves"].title.startswith("1091 trials: ")
    for name in ("training-curves", "axes", "parallel-coordinates"):
        assert "of 1,200 trials, the best 100 are drawn and 400 others" in figures[name].subtitle
    assert "by 500 of the 1,091 trials" in figures["importances"].subtitle
    drawn = json.dumps(figures["training-curves"].spec())
    by_val = [line.trial for line in story.trained]
    assert all(trial in drawn for trial in by_val[:100])
    assert sum(trial in drawn for trial in by_val) <= 500

    rows = Cells(report.html()).texts
    assert all(trial[:8] in rows for trial in by_val[:500]) and by_val[500][:8] not in rows
    assert "The first 500 rows; 700 more are in leaderboard.csv." in report.markdown()
    assert len(report.html().encode()) < 3_000_000


def test_no_results_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = tune_here(capsys, "report", tmp_path)
    assert ran.code == 2 and "is not a results folder" in ran.err and ran.err.count("\n") == 1
    folder = made_up_folder(tmp_path, 3)
    (folder / "summary.json").write_text("{torn")
    torn = tune_here(capsys, "report", folder)
    assert torn.code == 2 and "cannot be read" in torn.err


def test_lengths_configuration_and_hardware_are_shown(tmp_path: Path) -> None:
    root = made_up_folder(tmp_path, 3)
    summary = json.loads((root / "summary.json").read_text())
    summary["data"]["lengths"] = {"texts": 40, "words": {"median": 9, "p95": 21, "longest": 1234}}
    summary["tokens"] = {"minilm": {"texts": 40, "median": 11, "p95": 30, "longest": 900, "limit": 256, "cut": 7}}
    summary |= {"cpu": "Some CPU", "cores": 6, "latency": {"machine": "Some GPU", "texts": 40, "models": {}}}
    (root / "summary.json").write_text(json.dumps(summary))
    (root / "search.toml").write_text(
        '[search]\nreport = true\ncache = "/secret"\n\n[[space]]\ndims = [64, 128]\n\n[[space]]\ndims = ["none"]\n'
    )
    tables = Report.of([read_story(ResultsFolder(root))]).markdown()
    for row in (
        "| words per text | median 9, 95% up to 21, longest 1,234 |",
        "| tokens per text (minilm) | median 11, 95% up to 30, longest 900 of 40 texts; 7 are cut at 256 |",
        "| [search] report | true |",
        "| [space 1] dims | 64, 128 |",
        "| [space 2] dims | none |",
        "| hardware | Some CPU, 6 cores, Some GPU |",
    ):
        assert row in tables
    assert "/secret" not in tables
