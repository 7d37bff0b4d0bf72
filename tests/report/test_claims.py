"""A report claims no more than is known: what has no interval is unknown, and figures say what the verdict says."""

import re
from pathlib import Path

import numpy as np

from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_scores
from tests.report.stored_folders import stored_folder
from tests.report.test_odd_results import changed, figures, report_of, rewritten
from tune.report.crossings import crossings_table
from tune.report.errors import Texts, errors
from tune.report.figures.card import beside
from tune.report.figures.sizes import sizes
from tune.report.figures.stored import fair, stored
from tune.report.scored import Model
from tune.report.story import Story, read_story
from tune.results.layout import ResultsFolder

ENDS = ("over_base", "over_base_low", "over_base_high")


def story_of(folder: Path) -> Story:
    return read_story(ResultsFolder(folder))


def test_a_gain_that_the_correction_takes_back_is_no_rise(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 100)
    rewritten(folder, lambda row: row.update(zip(ENDS, ("0.05", "0.01", "0.09"), strict=True)))
    story = story_of(folder)
    assert story.winner is not None
    card = beside(story, story.winner.trial)
    assert figures(report_of(folder))["roc"].startswith("ROC AUC rises from")
    assert card is not None and card.title.startswith("Training gains 5.0 points")
    entry = {"a": story.winner.trial, "b": f"baseline:{story.winner.get('base_model')}", "low": 0.01}
    changed(folder, lambda summary: summary.update(comparisons=[{**entry, "outcome": "level"}]))
    card = beside(story_of(folder), story.winner.trial)
    assert figures(report_of(folder))["roc"].endswith("no clear change")
    assert card is not None and card.title.startswith("No clear difference")


def test_without_an_interval_nothing_is_said_of_a_change(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 100)
    rewritten(folder, lambda row: row.update(dict.fromkeys(ENDS, "")))
    assert re.fullmatch(r"ROC AUC: 0\.\d{4} before, 0\.\d{4} after", figures(report_of(folder))["roc"])


def test_without_intervals_it_is_unknown_how_many_pairs_are_enough(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    ends = ("test_auc_low", "test_auc_high", "over_base_low", "over_base_high")
    rewritten(folder, lambda row: row.update(dict.fromkeys(ends, "")))
    story = story_of(folder)
    assert {row.cells[3].text for row in crossings_table([story]).rows} == {"unknown"}
    figure = sizes([story])
    assert figure is not None and figure.title == "AUC against the number of training pairs"


def test_inverted_labels_promise_no_gain_from_more_pairs(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    figure = sizes([story_of(folder)])
    assert figure is not None and "wice the pairs" in figure.subtitle
    changed(folder, lambda summary: summary.update(inverted={"sentence": "labels look inverted", "confirmed": False}))
    figure = sizes([story_of(folder)])
    assert figure is not None and "wice the pairs" not in figure.subtitle


def test_synthetic_pairs_are_named_in_the_answer(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, (64,), ("minilm",))
    changed(folder, lambda summary: summary["data"].update(synthetic=True))
    report = report_of(folder)
    assert report.pages[0].answer[0].startswith("Fine-tuning pays on these synthetic pairs: ")
    assert "(synthetic data)" in report.markdown()


def test_of_a_random_search_the_front_has_matryoshka_trials_alone(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 5)
    assert not fair(story_of(folder))
    [nested] = [line.trial for line in story_of(folder).trained if line.get("test_auc")][1:2]
    rewritten(folder, lambda row: row["trial"] == nested and row.update(matryoshka=row["dims"]))
    assert fair(story_of(folder))
    assert {one.trial for one in stored(story_of(folder)) if one.trained} == {nested}


def test_a_threshold_beyond_all_scores_is_told_in_words(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 100)
    rewritten(folder, lambda row: row["status"] == "baseline" and row.update(threshold="2.1728"))
    said = " ".join(errors(story_of(folder), Texts()).lines)
    assert "no pair is called positive" in said and "2.17" not in said
    line, scores = story_of(folder).baselines[0], np.array([0.1, 0.9])
    assert Model(line, scores + 3, np.array([True, False])).one_sided == "every pair is called positive"
    assert Model(line, scores + 2, np.array([True, False])).one_sided == ""
