"""Errors worth reading: which pairs are listed, whose texts are shown, and that texts are data."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from tests.helpers.command import tune_here
from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_data, with_scores
from tests.report.test_page import Cells
from tune.pipeline.report_texts import LEFT_OUT, texts_again
from tune.report.errors import LONGEST, Texts, errors, lists_of, wanted
from tune.report.page import Report
from tune.report.scored import side_of
from tune.report.story import Story, read_story
from tune.results.layout import ResultsFolder
from tune.results.scores import Scores, read_scores, write_scores

HOSTILE = (
    "<script>alert(1)</script> a | b `code` **bold**",
    "![x](https://example.invalid/x.png)\n| --- |\r\nsee @all",
)
BACKWARDS = ("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u202ereversed")
LONG = ("x" * 1000, "many words " * 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_scores(made_up_folder(tmp_path, 1), 200)


def story_of(folder: Path) -> Story:
    return read_story(ResultsFolder(folder))


def shown(folder: Path) -> Report:
    """Return the report with the texts that `python -m tune report` reads."""
    story = story_of(folder)
    return Report.of([story], [Texts(*texts_again(story.folder, wanted(story)))])


def listed(folder: Path) -> dict[str, list[int]]:
    """Return the rows in each list, by the beginning of its heading."""
    side = side_of(story_of(folder), ("val", "folds"))
    assert side is not None
    return {one.heading.partition(",")[0]: side.row[one.index].tolist() for one in lists_of(side)}


def test_the_lists_are_the_most_confident_errors_of_validation(folder: Path) -> None:
    story = story_of(folder)
    scores = read_scores(story.folder)
    assert scores is not None and story.winner is not None
    val = scores.on("val")
    after = val.models[story.winner.trial] - story.winner.get("threshold")
    before = val.models["baseline:wordllama"] - story.baselines[0].get("threshold")
    called, was = after >= 0, before >= 0
    order = np.argsort(-after)
    highest = [int(val.row[i]) for i in order if called[i] and val.label[i] == 0]
    lowest = [int(val.row[i]) for i in order[::-1] if not called[i] and val.label[i] == 1]
    found = listed(folder)
    assert found["False positives after training"] == highest[:10]
    assert found["False negatives after training"] == lowest[:10]
    right, was_right = called == (val.label == 1), was == (val.label == 1)
    repaired, broken = val.row[right & ~was_right], val.row[~right & was_right]
    assert set(found["Repaired by training"]) <= set(repaired.tolist())
    assert set(found["Broken by training"]) <= set(broken.tolist())
    [counts, why] = errors(story, Texts()).lines
    assert f"Of 200 validation pairs, {int((~was_right).sum())} (" in counts
    assert f"and {int((~right).sum())} (" in counts
    assert f"Training repaired {len(repaired)} errors and made {len(broken)} new one" in counts
    assert "not from test" in why
    tested = set(scores.on("test").row.tolist())
    assert not tested & {row for row, _ in wanted(story)}


def test_rows_carry_label_scores_and_row_number(folder: Path) -> None:
    table = errors(story_of(folder), Texts()).tables[0]
    assert table.columns == ["label", "score before", "score after", "row"] and not table.texts
    scores = read_scores(ResultsFolder(folder))
    assert scores is not None
    place = scores.row.tolist().index(int(table.rows[0].cells[3].text))
    assert table.rows[0].cells[1].text == f"{scores.models['baseline:wordllama'][place]:.4f}"


def test_texts_of_users_are_data_on_the_page_and_in_markdown(folder: Path, tmp_path: Path) -> None:
    rows = listed(folder)["False positives after training"]
    with_data(folder, {rows[0]: HOSTILE, rows[1]: BACKWARDS, rows[2]: LONG}, tmp_path / "pairs.csv")
    report = shown(folder)
    page = report.html()
    assert page.count("<script") == 3 and "&lt;script&gt;alert(1)" in page
    assert f'<td class="text" dir="auto">{BACKWARDS[0]}</td>' in page
    cells = Cells(page).texts
    assert "x" * (LONGEST - 1) + "…" in cells and "x" * LONGEST not in page
    drawn = MarkdownIt().enable("table").render(report.markdown())
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt; a | b `code` **bold**</td>" in drawn
    assert not re.search(r"<(img|script|code|a)\b|<td>[^<]*<strong", drawn)
    assert drawn.count(f"<td>first of {rows[3]}</td>\n<td>second of {rows[3]}</td>") >= 1
    assert "@all" not in drawn, "nobody is notified"


def test_without_texts_none_are_in_any_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "a distinctive secret"
    rows = listed(folder)
    every = {row: (secret, secret) for one in rows.values() for row in one}
    with_data(folder, every, tmp_path / "pairs.csv")
    assert secret in shown(folder).html() and secret in shown(folder).markdown()
    assert tune_here(capsys, "report", folder, "--no-texts").code == 0
    files = [folder / "report.html", folder / "report.md", *(folder / "plots").iterdir()]
    assert len(files) > 4 and not [path for path in files if b"distinctive" in path.read_bytes()]
    assert LEFT_OUT in (folder / "report.md").read_text() and "Training repaired" in (folder / "report.md").read_text()


@pytest.mark.parametrize("case", ["gone", "changed", "elsewhere", "hub", "no search.toml", "no split.parquet"])
def test_what_is_not_the_searchs_data_is_not_shown(case: str, folder: Path, tmp_path: Path) -> None:
    path = with_data(folder, {}, tmp_path / "pairs.csv")
    reason = "the pairs are not on this machine"
    if case == "gone":
        path.unlink()
    elif case == "changed":
        row = listed(folder)["False negatives after training"][0]
        path.write_text(path.read_text().replace(f"second of {row},", f"rewritten {row},"))
        reason = "the pairs have changed"
    elif case == "no search.toml":
        (folder / "search.toml").unlink()
        reason = "search.toml"
    elif case == "no split.parquet":
        (folder / "split.parquet").unlink()
        reason = "the pairs have changed"
    else:
        name = "https://example.invalid/pairs.csv" if case == "elsewhere" else "owner/pairs"
        (folder / "search.toml").write_text(f'[data]\ndata = "{name}"\n')
    text = shown(folder).markdown()
    assert f"Texts are not shown: {reason}" in text and "Training repaired" in text
    assert "first of" not in text and "| label | score before | score after | row |" in text


def test_rows_that_were_added_since_do_no_harm(folder: Path, tmp_path: Path) -> None:
    path = with_data(folder, {}, tmp_path / "pairs.csv")
    with open(path, "a") as handle:
        handle.write("a new pair,of new texts,1\n")
    row = listed(folder)["False positives after training"][0]
    assert f"| first of {row} | second of {row} |" in shown(folder).markdown()


def test_the_pairs_of_a_triplet_are_told_apart_by_their_label(folder: Path, tmp_path: Path) -> None:
    results = ResultsFolder(folder)
    scores = read_scores(results)
    assert scores is not None
    texts = {(row, label): [("anchor", f"of {label}")] for row, label in wanted(story_of(folder))}
    several = next(iter(texts))
    texts[several] = [("anchor", "one"), ("anchor", "other")]
    text = Report.of([story_of(folder)], [Texts(texts)]).markdown()
    assert "| anchor | one of&#58; one / other |" in text and "| anchor | of 1 | 1 |" in text


def test_without_a_test_side_the_folds_are_read(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 200, folds=True)
    lines = errors(story_of(folder), Texts()).lines
    assert "Of 200 out-of-fold pairs" in lines[0] and "models of the folds" in lines[1].replace("a model", "models")
    assert "test" not in lines[1]


def test_a_search_without_scores_has_no_such_section(tmp_path: Path) -> None:
    report = Report.of([story_of(made_up_folder(tmp_path, 1))])
    assert not {"errors", "scores"} & {section.id for section in report.pages[0].sections}


def test_untouched_models_alone_have_their_errors_listed(tmp_path: Path) -> None:
    folder = with_scores(made_up_folder(tmp_path, 1), 200)
    summary = json.loads((folder / "summary.json").read_text()) | {"winner": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    section = errors(story_of(folder), Texts())
    assert [table.title.partition(",")[0] for table in section.tables] == [
        "False positives with the untouched model",
        "False negatives with the untouched model",
    ]


def test_a_model_that_makes_no_error_has_empty_lists(folder: Path) -> None:
    results = ResultsFolder(folder)
    scores = read_scores(results)
    assert scores is not None
    perfect = {key: np.where(scores.label == 1, 9, -9).astype(np.float32) for key in scores.models}
    write_scores(results, Scores(scores.row, scores.side, scores.label, perfect))
    section = errors(story_of(folder), Texts())
    assert section.tables == [] and "0 (0 false positives, 0 false negatives" in section.lines[0]
