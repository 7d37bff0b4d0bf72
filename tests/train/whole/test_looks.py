"""How often trials that train their base validate, and on which pairs."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.whole_trials import Topics
from tune.config.trial import TrialConfig
from tune.embed.view import PairRows
from tune.train.whole.looks import Looks, plan_looks


def looks(eval_pairs: int | None, planned: int, seed: int = 0, val: int = 5000, train: str = "full") -> Looks:
    """Plan the looks of a trial over `planned` training pairs; one val pair in a thousand is positive."""
    rows = np.arange(val)
    config = TrialConfig(
        base_model="x", dims=None, loss="cosent", learning_rate=1, eval_pairs=eval_pairs, seed=seed, train=train
    )
    return plan_looks(PairRows(rows, rows, (rows % 1000 == 7).astype(np.int8)), config, planned)


def test_looks_score_a_prefix_of_one_order_with_both_classes() -> None:
    assert [len(looks(eval_pairs, 9).index) for eval_pairs in (0, 4500)] == [5000, 4500], "as configured"
    shortest = looks(1, 9)
    assert set(shortest.index % 1000 == 7) == {True, False}, "extended until it holds both classes"
    assert (looks(3000, 9).index[: len(shortest.index)] == shortest.index).all()
    assert (looks(0, 9, seed=1).index[:9] != shortest.index[:9]).any()
    assert len(shortest.marks) == 16, "as often as any trial"


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("val", [200, 5000])
def test_looks_take_a_small_share_of_trials_of_any_length(train: str, val: int) -> None:
    """Counted in forward passes; training on a pair costs three, or two with LoRA."""
    counts = []
    for planned in (10_000, 20_000, 30_000, 60_000, 300_000, 3_000_000):
        found = looks(None, planned, val=val, train=train)
        passes = len(found.marks) * len(found.index)
        assert passes / (passes + planned * (3 if train == "full" else 2)) < 0.15
        assert len(found.index) <= min(val, 4000) and len(found.index) >= min(val, 500)
        assert {1, 4, 16} <= set(found.marks), "ASHA's rungs"
        counts.append(len(found.marks))
    assert counts == sorted(counts) and counts[-1] == 16
    short = looks(None, 300, val=val, train=train)
    assert short.marks == (16,) and len(short.index) >= 200, "a look at too few pairs is worthless"
    assert looks(None, 2500, train=train).marks == (1, 4, 16)


def test_a_short_trial_reports_less_often(bert: Topics, tmp_path: Path) -> None:
    """2 epochs of 480 pairs can afford 430 passes over pairs, so one look at all of val; 8 epochs can afford more."""
    val = len(bert.view.val)
    reports = bert.run(tmp_path / "short", eval_pairs=None, epochs=2)
    assert [report.budget for report in reports] == [1.0] and reports[0].val_pairs == val
    reports = bert.run(tmp_path / "longer", eval_pairs=None, epochs=8)
    assert [report.number for report in reports] == list(range(1, len(reports) + 1))
    assert [report.budget for report in reports] == pytest.approx([k / 16 for k in (1, 4, 8, 12, 16)], abs=0.01)
    assert [report.sixteenth for report in reports] == [1, 4, 8, 12, 16]
    config = bert.config(eval_pairs=None, epochs=8)
    assert bert.loaded_auc(tmp_path / "longer", config) == pytest.approx(reports[-1].best_auc, abs=1e-6)
