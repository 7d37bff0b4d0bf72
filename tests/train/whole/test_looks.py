"""How often trials that train their base validate, and on which pairs."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.whole_trials import Topics
from tune.config.trial import TrialConfig
from tune.embed.view import write_sample
from tune.train.whole.looks import plan_looks

SIXTEEN = tuple(range(1, 17))


def looks(pairs: int, planned: int, **changes: object) -> tuple[int, ...]:
    """Plan the looks of a trial of `planned` training pairs at `pairs` val pairs each."""
    values = {"base_model": "minilm", "dims": None, "loss": "cosent", "learning_rate": 1, "freeze": False}
    return plan_looks(TrialConfig(**(values | changes)), pairs, planned)


@pytest.mark.parametrize(("train", "passes"), [("full", 3), ("lora", 2)])
def test_a_longer_trial_reports_more_often(train: str, passes: int) -> None:
    """Counted in forward passes; training on a pair costs three, or two with LoRA."""
    counts = []
    for planned in (300, 1_000, 3_000, 10_000, 20_000, 30_000, 60_000, 300_000):
        marks = looks(1000, planned, train=train)
        share = len(marks) * 1000 / (len(marks) * 1000 + planned * passes)
        assert marks == (16,) or ({1, 4, 16} <= set(marks) and share <= (0.35 if len(marks) == 3 else 0.13))
        counts.append(len(marks))
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] == 16


def test_a_static_base_and_a_user_who_insists_report_often() -> None:
    assert looks(5000, 2_000) == (16,)
    assert looks(5000, 2_000, base_model="wordllama") == (1, 4, 16)
    assert looks(5000, 40_000, base_model="wordllama") == SIXTEEN
    assert looks(5000, 2_000, eval_pairs=5000) == SIXTEEN


def test_reports_score_the_sample_and_the_best_weights_are_those_of_the_sample(bert: Topics, tmp_path: Path) -> None:
    sample = write_sample(bert.prepared.view_path, np.arange(0, len(bert.view.val), 2))
    config = bert.config(eval_pairs=None, epochs=8, val_sample=sample)
    reports = bert.run(tmp_path / "sampled", eval_pairs=None, epochs=8, val_sample=sample)
    assert {report.val_pairs for report in reports} == {100}
    assert [report.number for report in reports] == list(range(1, len(reports) + 1)) and len(reports) == 16
    assert reports[-1].budget == 1.0
    assert bert.loaded_auc(tmp_path / "sampled", config) == pytest.approx(reports[-1].best_auc, abs=1e-6)
    whole = bert.config(eval_pairs=None, epochs=8)
    assert config.digest("data") != whole.digest("data"), "another trial, in a directory of its own"


def test_a_short_trial_reports_once(bert: Topics, tmp_path: Path) -> None:
    """One epoch of 480 pairs cannot afford three looks at 200 pairs without spending 35% of its passes on them."""
    reports = bert.run(tmp_path / "short", eval_pairs=None, epochs=1, train_size=160)
    assert [report.budget for report in reports] == [1.0] and reports[0].val_pairs == len(bert.view.val)
