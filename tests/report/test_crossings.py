"""How many pairs are enough to beat each baseline, and what several searches say together."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.report.folders import SIZES, made_up_folder
from tune.report.crossings import crossings_table
from tune.report.figures.sizes import sizes
from tune.report.story import Story, read_story
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard, write_leaderboard

CLOSED = "openai:text-embedding-3-small"


def searched(
    root: Path, name: str, gains: Mapping[int, float], *, split: str = "0123abcd", closed_auc: float = 0.81
) -> Story:
    """A grid over SIZES beside a closed baseline. gains: size -> low end of its gain over that; others have none."""
    folder = ResultsFolder(made_up_folder(root, 0, grid=True, name=name))
    rows = [dict(row) for row in read_leaderboard(folder.leaderboard)]
    [base] = [row for row in rows if row["status"] == "baseline"]
    closed = {**base, "base_model": CLOSED, "trial": f"baseline:{CLOSED}", "val_auc": "0.83", "test_auc": closed_auc}
    write_leaderboard(folder.leaderboard, [*rows, closed])
    summary = json.loads(folder.summary.read_text())
    summary["data"]["split_hash"] = split
    summary["comparisons"] = [
        {"a": row["trial"], "b": f"baseline:{CLOSED}", "low": gains.get(int(row["train_size"]), -0.01)}
        for row in rows
        if row["trial"] and row["status"] != "baseline"
    ]
    folder.summary.write_text(json.dumps(summary))
    return read_story(folder)


def enough(*stories: Story) -> dict[tuple[str, str], str]:
    return {(row.cells[0].text, row.cells[1].text): row.cells[3].text for row in crossings_table(stories).rows}


def test_every_baseline_has_its_own_number_of_pairs(tmp_path: Path) -> None:
    # A lucky small size is not enough: all larger ones must hold too.
    story = searched(tmp_path, "one", {500: 0.01, 2000: 0.01, 4000: 0.01, 8000: 0.01})
    found = enough(story)
    assert found["wordllama (layer)", f"{CLOSED} (closed)"] == "2,000"
    assert int(found["wordllama (layer)", "wordllama (untouched)"].replace(",", "")) in SIZES
    figure = sizes([story])
    assert (
        figure is not None and figure.title == f"2,000 pairs are enough for wordllama (layer) to beat {CLOSED} (closed)"
    )
    assert "2,000 pairs" in json.dumps(figure.spec("light"))


def test_a_baseline_that_is_not_beaten_is_not_claimed(tmp_path: Path) -> None:
    story = searched(tmp_path, "one", {2000: 0.01})
    assert enough(story)["wordllama (layer)", f"{CLOSED} (closed)"] == "not clear at 8,000"
    figure = sizes([story])
    assert figure is not None and figure.title.endswith("to beat wordllama (untouched)"), "the best that is beaten"
    assert f"8,000 pairs are not clearly enough to beat {CLOSED} (closed)" in figure.subtitle, (
        "and what is not, beside it"
    )


def test_other_seeds_on_the_same_split_are_taken_together(tmp_path: Path) -> None:
    sure = {4000: 0.01, 8000: 0.01}
    one, two = searched(tmp_path, "one", sure), searched(tmp_path, "two", {2000: 0.01, **sure})
    assert enough(two)["wordllama (layer)", f"{CLOSED} (closed)"] == "2,000"
    assert enough(one, two)["wordllama (layer)", f"{CLOSED} (closed)"] == "4,000", "both must beat it"
    figure = sizes([one, two])
    assert figure is not None
    drawn = json.dumps(figure.spec("light"))
    assert "wordllama (layer) [one]" in drawn and "wordllama (layer) [two]" in drawn
    assert "(untouched) [" not in drawn and f"{CLOSED} (closed)  0.810" in drawn, "a baseline of both is drawn once"


def test_searches_on_other_splits_stay_apart(tmp_path: Path) -> None:
    gains = {8000: 0.01}
    one, two = searched(tmp_path, "one", gains), searched(tmp_path, "two", gains, split="another", closed_auc=0.9)
    found = enough(one, two)
    assert found["wordllama (layer) [one]", f"{CLOSED} (closed) [one]"] == "8,000"
    assert ("wordllama (layer) [one]", f"{CLOSED} (closed) [two]") not in found


def test_a_baseline_far_below_does_not_flatten_the_lines(tmp_path: Path) -> None:
    figure = sizes([searched(tmp_path, "one", {}, closed_auc=0.3)])
    assert figure is not None
    spec = figure.spec("light")
    domains = [
        layer["encoding"]["y"]["scale"]["domain"]
        for layer in spec["layer"]
        if "scale" in layer["encoding"].get("y", {})
    ]
    assert domains and all(low > 0.6 for low, _ in domains)
    assert f"\\u2193 {CLOSED} (closed)  0.300" in json.dumps(spec)
