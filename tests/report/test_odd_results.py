"""Reports on results that are not plain: inverted labels, no test side, folds, copies, equal AUCs, equal names."""

import contextlib
import csv
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import tune_here
from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_scores
from tune.pipeline.export import picture_of
from tune.report.figures.axes import explained
from tune.report.page import Report
from tune.report.story import read_story
from tune.results.layout import ResultsFolder


def report_of(*folders: Path) -> Report:
    return Report.of([read_story(ResultsFolder(folder)) for folder in folders])


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the summary of a results folder in place."""
    summary = json.loads((folder / "summary.json").read_text())
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def rewritten(folder: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """Change every row of the leaderboard in place."""
    with open(folder / "leaderboard.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        change(row)
    with open(folder / "leaderboard.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def figures(report: Report) -> dict[str, str]:
    """Return the titles of the first search's figures by name."""
    return {figure.name: figure.title for figure in report.pages[0].figures}


def test_inverted_labels_are_not_praised(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    sentence = "the labels look inverted: rerun with --positive-label 0"
    found = {"sentence": sentence, "confirmed": False, "bases": {}}
    changed(folder, lambda summary: summary.update(inverted=found, verdicts=[sentence]))
    report = report_of(folder)
    assert figures(report)["training-pairs"] == "AUC against the number of training pairs"
    assert (
        "to beat wordllama" not in report.markdown()
        and "pairs to beat it" not in report.markdown()
        and "The labels look inverted" in report.markdown()
    )
    changed(folder, lambda summary: summary["inverted"].update(confirmed=True))
    assert f"Warning: {sentence}." in report_of(folder).markdown()
    assert "to beat wordllama" in figures(report_of(folder))["training-pairs"]


def test_a_search_without_a_test_side_shows_how_it_was_judged(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 12)
    judged = {
        "auc": 0.7654, "low": 0.7, "high": 0.82, "bases": {"wordllama": {"auc": 0.71, "low": 0.65, "high": 0.77}},
        "sentence": "judged out of fold: the choice among 12 trials was repeated", "reason": "",
    }  # fmt: skip
    empty = {"train": 300, "val": 0, "test": 0}
    changed(folder, lambda summary: summary.update(out_of_fold=judged, test={"opened": None}))
    changed(folder, lambda summary: summary["data"]["split"].update(rows=empty, out_of_fold=True))
    rewritten(folder, lambda row: row.update(test_auc="", test_auc_low="", test_auc_high=""))
    text = report_of(folder).markdown()
    assert "AUC out of fold 0.7654 [0.7000, 0.8200]" in text and "| the winner | 0.7654 [0.7000, 0.8200] |" in text
    assert "| wordllama | 0.7100 [0.6500, 0.7700] |" in text and "the choice among 12 trials was repeated" in text
    assert "300 pairs" in text and "all in folds" in text and "test 0" not in text


def test_with_folds_all_pairs_are_those_that_the_folds_leave(tmp_path: Path) -> None:
    folder = rewritten(made_up_folder(tmp_path, 0, grid=True), lambda row: row.update(folds="5"))
    rewritten(folder, lambda row: row.update(train_size="0" if row["train_size"] == "8000" else row["train_size"]))
    story = read_story(ResultsFolder(folder))
    assert {story.train_size(line) for line in story.trained} >= {(8000 + 400) * 4 // 5, 250}


def test_pairs_that_were_left_out_are_not_counted_as_scored(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    left_out = {"texts": 4, "pairs": {"train": 20, "val": 3, "test": 9}}
    changed(folder, lambda summary: summary["test"].update(pairs=491))
    changed(folder, lambda summary: summary["data"].update(left_out=left_out))
    text = report_of(folder).markdown()
    assert "on 491 test pairs" in text and "train 20, val 3, test 9" in text


def test_times_are_left_out_where_a_copy_has_lost_them(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 12)
    assert {"best-so-far", "timeline"} <= set(figures(report_of(folder)))
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert not {"best-so-far", "timeline"} & set(figures(report_of(tmp_path / "copy")))


def test_equal_aucs_explain_nothing() -> None:
    points = [{"trial": str(i), "auc": 1.0, "learning_rate": 10.0**-i, "loss": "cosent"} for i in range(12)]
    assert explained(points) == {}


def test_models_of_the_same_last_name_stay_apart(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 30)
    names = {"wordllama": "org/a/best", "minilm": "org/b/best"}
    rewritten(folder, lambda row: row.update(base_model=names[row["base_model"]]))
    assert {line.base_model for line in read_story(ResultsFolder(folder)).lines} == set(names.values())


def test_searches_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    one, two = (made_up_folder(tmp_path / part, 0, grid=True, name="same") for part in ("p", "q"))
    rewritten(two, lambda row: row["status"] == "baseline" and row.update(test_auc="0.6"))
    changed(two, lambda summary: summary["data"].update(split_hash="another"))
    [figure] = [figure for figure in report_of(one, two).pages[0].figures if figure.name == "training-pairs"]
    drawn = json.dumps(figure.spec("light"))
    assert f"[{one}]" in drawn and f"[{two}]" in drawn and "the searches have different splits" in figure.subtitle
    assert f"wordllama (untouched) [{two}]  0.600" in drawn and f"wordllama (untouched) [{one}]  0.800" in drawn


@pytest.mark.parametrize("part", ["data", "verdict", "versions", "seconds", "test"])
def test_facts_that_an_earlier_version_did_not_write_are_left_out(tmp_path: Path, part: str) -> None:
    folder = changed(made_up_folder(tmp_path, 0, grid=True), lambda summary: summary.pop(part))
    assert report_of(folder).html() and report_of(folder).markdown()


def test_damaged_files_are_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up_folder(tmp_path, 12)
    [failed, *_] = (folder / "trials").glob("*/failed.json")
    failed.write_text('{"reason": "torn')
    assert "failed" in report_of(folder).markdown()
    (folder / "summary.json").write_text("[]")
    ran = tune_here(capsys, "report", folder)
    assert ran.code == 2 and ran.err.count("\n") == 1


def test_pictures_of_an_earlier_report_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    plots = tmp_path / "plots"
    plots.mkdir()
    (plots / "old-figure-light.svg").write_text("old")
    (plots / "mine.svg").write_text("mine")
    report_of(folder).write(tmp_path / "r.html", tmp_path / "r.md", plots)
    assert not (plots / "old-figure-light.svg").exists() and (plots / "mine.svg").read_text() == "mine"
    assert (plots / "dims-dark.png").exists()


def test_commands_show_no_folders_of_a_person_or_container(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path / "results", 3)
    page = report_of(folder).html()
    assert "python -m tune export results/made-up --trial" in page and str(tmp_path) not in page


@contextlib.contextmanager
def little_address_space() -> Iterator[None]:
    """Limit the address space as `ulimit -v` does: with so little left, Vega would end the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 16 * 2**30, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_figures_that_would_end_the_process_are_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = ResultsFolder(made_up_folder(tmp_path, 5))
    winner = json.loads(folder.summary.read_text())["winner"]["trial"]
    assert picture_of(folder, winner) is not None
    with little_address_space():
        ran = tune_here(capsys, "report", folder.root)
        assert picture_of(folder, winner) is None, "a winner is exported without a picture"
    assert ran.code == 2 and ran.err.count("\n") == 1 and "figures need 72; run ulimit -v unlimited" in ran.err
    assert not folder.report.exists() and "no picture on the card: ulimit -v" in caplog.text


def test_scores_of_test_are_shown_once_test_is_opened(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 0, grid=True))
    assert "scores" in figures(report_of(folder))
    changed(folder, lambda summary: [summary.pop(part, None) for part in ("test", "finished")])
    report = report_of(folder)
    assert "scores" not in figures(report) and "Test has not been opened" in report.markdown()
