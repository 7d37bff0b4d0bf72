"""Figures of scores: what titles count, that thinned curves are the curves, and what is said with few pairs."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_scores
from tune.metrics.precision import PrecisionAtRecall
from tune.report.figures.roc import OTHERS, POINTS, precision_recall, roc, thinned
from tune.report.figures.separation import groups, histograms, reliability
from tune.report.scored import Side, side_of
from tune.report.story import Story, read_story
from tune.report.theme import Figure
from tune.results.layout import ResultsFolder
from tune.results.scores import Scores, read_scores, write_scores

FOLDERS = {"few": (100, 0.4, False), "some": (2000, 0.4, False), "rare": (2000, 0.1, False), "folds": (300, 0.4, True)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("scored")
    return {
        name: with_scores(made_up_folder(root / name, 1), pairs, share=share, others=("tf-idf", "minilm"), folds=folds)
        for name, (pairs, share, folds) in FOLDERS.items()
    }


def of(folder: Path) -> tuple[Story, Side]:
    story = read_story(ResultsFolder(folder))
    side = side_of(story, ("test", "folds"))
    assert side is not None
    return story, side


def rows(figure: Figure) -> list[dict[str, Any]]:
    return [row for data in figure.spec("light")["datasets"].values() for row in data]


def test_the_title_counts_errors_at_the_thresholds_of_validation(folders: dict[str, Path]) -> None:
    story, side = of(folders["some"])
    scores = read_scores(story.folder)
    assert scores is not None and story.winner is not None
    test = scores.on("test")
    thresholds = {line.trial or "baseline:wordllama": line.get("threshold") for line in story.lines[:2]}
    before, after = (
        (test.models[key] >= thresholds[key]) != (test.label == 1) for key in ("baseline:wordllama", story.winner.trial)
    )
    figure = histograms(story, side)
    repaired, new = int((before & ~after).sum()), int((after & ~before).sum())
    errors = f"repairs {repaired:,} of {int(before.sum()):,} errors and makes {new:,} new ones"
    assert errors in figure.title and "fitted on validation" in figure.subtitle
    drawn = json.dumps(figure.spec("light"))
    assert all(f"threshold {value:.3f}" in drawn for value in thresholds.values())
    for pairs in ("positives", "negatives"):
        shares = [row["share"] for row in rows(figure) if row.get("pairs") == pairs]
        assert sum(shares) == pytest.approx(2, abs=0.01), "each class adds up to 1, before and after"


def farthest(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.int64]) -> float:
    """Return how far a point of a curve is from the lines that are drawn through some of its points."""
    piece = np.clip(np.searchsorted(at, np.arange(len(x))), 1, len(at) - 1)
    start, end = at[piece - 1], at[piece]
    dx, dy = x[end] - x[start], y[end] - y[start]
    length = np.maximum(np.hypot(dx, dy), 1e-12)
    return float((np.abs(dx * (y - y[start]) - dy * (x - x[start])) / length).max())


@pytest.mark.parametrize("n", [100, 3000, 100_000])
def test_thinned_curves_are_the_curves(n: int) -> None:
    generator = np.random.default_rng(n)
    label = (generator.random(n) < 0.3).astype(int)
    scores = generator.normal(size=n) + 1.5 * label
    false, true, _ = roc_curve(label, scores)
    precision, recall, _ = precision_recall_curve(label, scores)
    kept = recall >= 0.02
    for x, y in ((false, true), (recall[kept][::-1], precision[kept][::-1])):
        at = thinned(x, y)
        assert len(at) <= POINTS and at[0] == 0 and at[-1] == len(x) - 1
        # Less than a pixel of a panel of 400.
        assert farthest(x, y, at) < 1 / 400
        assert np.trapezoid(y[at], x[at]) == pytest.approx(np.trapezoid(y, x), abs=0.001)


def test_curves_carry_the_numbers_of_the_leaderboard_and_the_base_rate(folders: dict[str, Path]) -> None:
    story, side = of(folders["rare"])
    texts = {row["text"] for row in rows(roc(story, side)) if "text" in row}
    scored = [line for line in story.lines if line.is_baseline or line is story.winner]
    assert texts == {f"{line.base_model} ({line.trains})  {line.get('test_auc'):.3f}" for line in scored}
    figure = precision_recall(story, side)
    assert "base rate 10%" in {row.get("text") for row in rows(figure)}
    curve, found, _ = precision_recall_curve(side.positive, side.before.scores)
    best = curve[found >= 0.9].max()
    assert f"wordllama (untouched)  {best:.2f}" in {row.get("text") for row in rows(figure)}
    assert re.fullmatch(rf"Precision at 90% recall rises from {best:.2f} to 0\.\d\d", figure.title)
    assert re.search(r"difference \+0\.\d\d \[0\.\d\d, 0\.\d\d\]", figure.subtitle)


def test_few_pairs_do_not_support_a_change_in_precision(folders: dict[str, Path]) -> None:
    story, side = of(folders["few"])
    assert precision_recall(story, side).title.endswith("no clear change")
    assert len(groups(side, side.before)) == 4


def test_more_untouched_models_than_can_be_told_apart_are_not_drawn(tmp_path: Path) -> None:
    names = [f"model-{letter}" for letter in "abcdef"]
    folder = with_scores(made_up_folder(tmp_path, 1), 200, others=tuple(names))
    story, side = of(folder)
    texts = [row["text"] for row in rows(roc(story, side)) if "text" in row]
    assert len(texts) == 2 + OTHERS and "best by validation" in roc(story, side).subtitle


def test_out_of_fold_no_auc_stands_beside_a_curve(folders: dict[str, Path]) -> None:
    story, side = of(folders["folds"])
    figure = roc(story, side)
    assert figure.title == "ROC curves out of fold" and "chosen on the same pairs" in figure.subtitle
    assert not [row for row in rows(figure) if re.search(r"\d\.\d", str(row.get("text")))]
    assert "fitted on these pairs" in histograms(story, side).subtitle
    assert "difference" not in precision_recall(story, side).subtitle


def test_reliability_groups_are_equal_and_keep_equal_scores_together(folders: dict[str, Path]) -> None:
    story, side = of(folders["some"])
    assert side.after is not None
    found = groups(side, side.after)
    assert len(found) == 20 and {row["pairs"] for row in found} == {100}
    assert all(0 <= row["low"] <= row["share"] <= row["high"] <= 1 for row in found)
    assert all(row["high"] > row["low"] for row in found), "a share of 0 or 1 has an interval too"
    top = side.after.positive[np.argsort(-side.after.scores)[:200]].mean()
    assert f"{top:.0%} are positive after training" in reliability(story, side).title
    tied = Side(side.name, side.row, None, side.before, None, [])
    object.__setattr__(tied.before, "scores", np.round(tied.before.scores))
    assert sum(row["pairs"] for row in groups(tied, tied.before)) == 2000
    assert len(groups(tied, tied.before)) == len(np.unique(tied.before.scores))


def test_linked_pairs_widen_the_intervals(folders: dict[str, Path]) -> None:
    _, side = of(folders["some"])
    label = np.repeat(np.arange(1000) % 2 == 0, 2)
    model = type(side.before)(side.before.line, np.repeat(np.linspace(0, 1, 1000), 2), label)
    widths = [
        np.mean([row["high"] - row["low"] for row in groups(Side("test", side.row, component, model, None, []), model)])
        for component in (None, np.repeat(np.arange(1000), 2))
    ]
    assert widths[1] > 1.3 * widths[0]


def test_inverted_labels_are_not_praised(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 200)
    summary = json.loads((folder / "summary.json").read_text())
    summary["inverted"] = {"sentence": "the labels look inverted", "confirmed": False}
    (folder / "summary.json").write_text(json.dumps(summary))
    story, side = of(folder)
    titles = [draw(story, side).title for draw in (histograms, roc, precision_recall, reliability)]
    assert not [title for title in titles if re.search(r"repairs|rises|are positive", title)]


def test_scores_that_are_no_numbers_or_of_one_class_are_left_out(tmp_path: Path) -> None:
    results = ResultsFolder(with_scores(made_up_folder(tmp_path, 1), 200, others=("tf-idf",)))
    scores = read_scores(results)
    assert scores is not None
    broken = {**scores.models, "baseline:tf-idf": np.full_like(scores.models["baseline:tf-idf"], np.nan)}
    write_scores(results, Scores(scores.row, scores.side, scores.label, broken))
    assert of(results.root)[1].others == []
    write_scores(results, Scores(scores.row, scores.side, np.zeros_like(scores.label), scores.models))
    assert side_of(read_story(results), ("test",)) is None


def test_many_pairs_are_a_small_page(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 30_000, others=("minilm", "tf-idf", "text-embedding-3-small"))
    story, side = of(folder)
    drawn = [draw(story, side).spec() for draw in (histograms, roc, precision_recall, reliability)]
    assert len(json.dumps(drawn)) < 200_000


def test_precision_at_recall_counts_rows_as_often_as_they_weigh() -> None:
    generator = np.random.default_rng(0)
    scores, positive = np.round(generator.normal(size=200), 1), generator.random(200) < 0.3
    weights = generator.integers(0, 4, 200)
    found = PrecisionAtRecall(scores, positive).weighted(weights.astype(float))
    precision, recall, _ = precision_recall_curve(np.repeat(positive, weights), np.repeat(scores, weights))
    assert found == pytest.approx(precision[recall >= 0.9].max())


def test_pairs_that_all_share_a_text_say_little_of_a_share(folders: dict[str, Path]) -> None:
    _, side = of(folders["some"])
    few = Side("test", side.row, np.zeros(len(side), np.int64), side.before, None, [])
    assert min(row["high"] - row["low"] for row in groups(few, few.before)) > 0.5
