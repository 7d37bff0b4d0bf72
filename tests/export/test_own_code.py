"""Base models with code of their own: refused by a line that names the option; with it, trained and exported."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bases import save_own_code
from tests.helpers.exported_trials import FROZEN, WHOLE, exported_trial, st_auc
from tests.helpers.tiny import save_tiny_bert, topic_pairs
from tune.config.search import search_config
from tune.config.trial import TrialConfig, trial_config
from tune.embed.base_models import check_source
from tune.embed.own_code import own_classes
from tune.embed.sources import load_source
from tune.errors import ModelError
from tune.events import Message

SIDES = {"train": topic_pairs(200, 0), "val": topic_pairs(200, 1), "test": topic_pairs(200, 2)}
REFUSAL = r"runs its own code \(modeling_own.OwnModel\); read it, then allow it with --trust-remote-code true, or give"


def test_it_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    folder = str(save_own_code(tmp_path / "own"))
    with pytest.raises(ModelError, match=REFUSAL):
        check_source(folder)
    check_source(folder, trust_remote_code=True)
    source = load_source(folder, trust_remote_code=True)
    assert source.remarks(("", "")) == ["runs its own code (OwnModel), as --trust-remote-code allows"]
    code = tmp_path / "own" / "modeling_own.py"
    code.write_text(code.read_text().replace("self.words(input_ids)", "2 * self.words(input_ids)"))
    changed = load_source(folder, trust_remote_code=True)
    assert changed.weights == source.weights and changed.fingerprint != source.fingerprint


def test_a_module_class_from_elsewhere_is_own_code_too(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path)
    modules = folder / "modules.json"
    modules.write_text(modules.read_text().replace("sentence_transformers.", "custom_st."))
    with pytest.raises(ModelError, match=r"runs its own code \(custom_st\..*--trust-remote-code true"):
        check_source(str(folder))


def test_the_option_alone_changes_nothing_of_other_models(tmp_path: Path) -> None:
    bert = str(save_tiny_bert(tmp_path))
    trusted = load_source(bert, trust_remote_code=True)
    assert own_classes(trusted.model) == [] and trusted.remarks(("", "")) == []
    assert trusted.fingerprint == load_source(bert).fingerprint


@pytest.mark.parametrize("axes", [FROZEN, WHOLE], ids=["frozen", "whole"])
def test_the_export_brings_the_code_and_its_card_says_so(tmp_path: Path, axes: dict[str, Any]) -> None:
    folder = save_own_code(tmp_path / "own")
    right = st_auc(folder, SIDES["test"], trust_remote_code=True)
    done = exported_trial(str(folder), SIDES, tmp_path, {**axes, "trust_remote_code": True})
    assert done.untouched["test"]["auc"] == pytest.approx(right, abs=1e-4)
    assert any("runs its own code (OwnModel)" in event.text for event in done.said if isinstance(event, Message))
    shutil.rmtree(folder)
    card = (done.model / "README.md").read_text()
    assert 'SentenceTransformer("PATH/OF/THIS/DIRECTORY", trust_remote_code=True)' in card
    assert "runs code of its own (`trust_remote_code`)" in card
    auc = st_auc(done.model, SIDES["test"], trust_remote_code=True)
    assert auc == pytest.approx(done.final["test"]["auc"], abs=1e-4)
    with pytest.raises(ModelError, match="runs its own code"):
        check_source(str(done.model))


def test_only_trials_that_load_the_base_have_the_option() -> None:
    config = search_config({"trust_remote_code": "true"})
    axes = {"base_model": "any", "dims": 8, "loss": "mnr", "learning_rate": 1e-3}
    options = config.search.trial_options()
    frozen, whole = (trial_config({**axes, "freeze": freeze}, options) for freeze in (True, False))
    assert (frozen.trust_remote_code, whole.trust_remote_code) == (False, True)
    assert frozen.digest("d") == TrialConfig(**axes).digest("d")
    assert not search_config().search.trust_remote_code
