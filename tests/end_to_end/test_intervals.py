"""Intervals and verdicts as a user sees them where test pairs share texts: terminal, summary, leaderboard, card."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import Ran, leaderboard, summary, tune_inside
from tests.helpers.tiny import topic_pairs

pytestmark = pytest.mark.usefixtures("warm_ray")

SIZES = {"train": 600, "val": 260, "test": 300}
GRID = ("--search", "grid", "--base-model", "wordllama", "--dims", 16, "--loss", "cosent", "--learning-rate", "1e-2")


def search(folder: Path, name: str, catalogue: int | None) -> tuple[Ran, Path]:
    """Search on topic pairs, each with an article out of so many; None for one article in all of them."""
    rng = np.random.default_rng(0)
    with open(folder / f"{name}.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["ticket", "article", "label", "side"])
        for seed, (side, count) in enumerate(SIZES.items()):
            made = topic_pairs(count, seed)
            for place, (ticket, label) in enumerate(zip(made.text_a, made.label, strict=True)):
                # The only article, or one of two numbers that the label decides: a model can learn it.
                number = 0 if catalogue is None else 2 * int(rng.integers(catalogue // 2)) + int(label)
                writer.writerow([f"{side} {place}: {ticket} {label}", f"article {number}", label, side])
    ran = tune_inside(
        "search", *GRID, "--data", folder / f"{name}.csv", "--split-column", "side", "--epochs", 2, "--finalists", 1,
        "--jobs", 1, "--results", folder, "--name", name, "--cache", folder / "cache",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return ran, folder / name


def lines_with(words: str, ran: Ran) -> list[str]:
    return [line for line in ran.out.splitlines() if words in line]


def test_a_catalogue_in_one_component_has_finite_intervals(tmp_path: Path) -> None:
    ran, folder = search(tmp_path, "catalogue", catalogue=30)
    [line] = lines_with("Intervals: ", ran)
    assert line.startswith(
        "Intervals: two-way bootstrap over texts; shared texts form 30 components, the largest holds "
    )
    made = summary(folder)["test"]["intervals"]
    assert (made["method"], made["components"], made["reason"]) == ("two-way", 30, "")
    assert 0.03 < made["largest_share"] < 0.1
    for row in leaderboard(folder):
        low, auc, high = (float(row[f"test_auc{end}"]) for end in ("_low", "", "_high"))
        assert 0 < low < auc < high < 1 and high - low < 0.4
    card = (folder / "best" / "README.md").read_text()
    assert "(95% interval, two-way bootstrap over texts)" in card
    facts = summary(folder)
    assert facts["verdict"]["family"] == "primary" and facts["correction"] == "" and "Holm" not in ran.out
    assert ran.err == ""


def test_one_text_in_every_pair_gives_the_reason_in_place_of_an_interval(tmp_path: Path) -> None:
    ran, folder = search(tmp_path, "one", catalogue=None)
    reason = "one text is in 100% of the test pairs, so nothing shows what the result would be with another"
    assert lines_with("No intervals", ran) == [f"No intervals can be given: {reason}."]
    facts = summary(folder)
    points = f"{100 * facts['verdict']['delta']:+.1f}"
    said = " ".join(ran.out.split())
    assert (
        "Verdict: No interval can be given for the winner (wordllama, cosent) against the untouched wordllama"
        f" ({points} points): {reason}." in said
    )
    assert not any(word in said for word in ("is level with", " beats ", "[0.0000", "[-100"))
    assert (facts["verdict"]["outcome"], facts["verdict"]["low"]) == ("unknown", None)
    assert (facts["test"]["intervals"]["method"], facts["test"]["intervals"]["reason"]) == (None, reason)
    for row in leaderboard(folder):
        assert float(row["test_auc"]) and row["test_auc_low"] == row["test_auc_high"] == ""
        assert row["over_base_low"] == row["over_base_high"] == ""
    assert f"(no interval: {reason})" in (folder / "best" / "README.md").read_text()
