"""Base models with a PEFT adapter: whole and frozen trials are exported as whole models."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bases import save_adapted
from tests.helpers.exported_trials import FROZEN, LORA, WHOLE, exported_trial, st_auc
from tests.helpers.tiny import save_tiny_bert, topic_pairs
from tune.events import Message

SIDES = {"train": topic_pairs(200, 0), "val": topic_pairs(200, 1), "test": topic_pairs(200, 2)}


@pytest.mark.parametrize("axes", [FROZEN, WHOLE, LORA], ids=["frozen", "whole", "lora"])
def test_the_export_is_whole_and_scores_as_reported(tmp_path: Path, axes: dict[str, Any]) -> None:
    bases = tmp_path / "bases"
    folder = save_adapted(bases / "adapted", save_tiny_bert(bases / "bert"))
    right = st_auc(folder, SIDES["test"])
    done = exported_trial(str(folder), SIDES, tmp_path, {**axes, "learning_rate": 2e-3})
    assert done.untouched["test"]["auc"] == pytest.approx(right, abs=1e-4)
    assert any("its adapter is merged" in event.text for event in done.remarks if isinstance(event, Message))
    shutil.rmtree(bases)
    assert not list(done.model.rglob("adapter_*")), "PEFT's files"
    assert st_auc(done.model, SIDES["test"]) == pytest.approx(done.final["test"]["auc"], abs=1e-4)
