"""Base models with code of their own: refused by a line that names the option; with it, trained and exported."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bases import save_adapted, save_own_code, save_router
from tests.helpers.exported_trials import FROZEN, WHOLE, exported_trial, st_auc
from tests.helpers.tiny import save_tiny_bert, topic_pairs
from tests.report.folders import made_up_folder
from tune.cli.main import main
from tune.cli.options import search_parser, search_request
from tune.config.search import search_config
from tune.config.trial import TrialConfig, trial_config
from tune.embed.base_models import check_lora, check_source
from tune.embed.own_code import own_classes
from tune.embed.prepare import PreparedBase
from tune.embed.sources import load_source
from tune.errors import ConfigError, ModelError
from tune.events import Message
from tune.train.whole.model import load_whole_model

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


def test_a_changed_helper_of_the_code_is_another_model(tmp_path: Path) -> None:
    folder = save_own_code(tmp_path / "own")
    code, helper = folder / "modeling_own.py", folder / "helper.py"
    code.write_text("from .helper import SCALE\n" + code.read_text().replace("self.words(in", "SCALE * self.words(in"))
    helper.write_text("SCALE = 1\n")
    source = load_source(str(folder), trust_remote_code=True)
    helper.write_text("SCALE = -1\n")
    changed = load_source(str(folder), trust_remote_code=True)
    assert changed.weights == source.weights and changed.fingerprint != source.fingerprint


def leaves_a_mark(folder: Path, config: dict[str, Any]) -> Path:
    """Write a model with code that creates a file when it runs, as `own` in the config's auto_map; return that file."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"x")
    mark = folder / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
    return mark


@pytest.mark.parametrize("part", [None, "text_config"])
def test_code_of_a_type_without_a_model_class_is_refused_and_never_asked_about(
    tmp_path: Path, part: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`align_text_model` has settings in transformers, but no class of AutoModel."""
    code = {"auto_map": {"AutoModel": "modeling_own.Own"}, "_name_or_path": str(tmp_path)}
    own = {"model_type": "align_text_model", **code}
    mark = leaves_a_mark(tmp_path, own if part is None else {"model_type": "llava", part: own})
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with pytest.raises(ModelError, match=r"runs its own code \(modeling_own.Own\); read it, then allow it"):
        check_source(str(tmp_path))
    # A model on the hub may first be seen here.
    check_lora(str(tmp_path))
    assert not mark.exists()


def test_code_that_transformers_ignores_is_not_refused(tmp_path: Path) -> None:
    leaves_a_mark(tmp_path, {"model_type": "bert", "auto_map": {"AutoModel": "modeling_own.Own"}})
    check_source(str(tmp_path))


def test_code_of_routes_and_of_an_adapter_s_base_is_refused(tmp_path: Path) -> None:
    routes = save_router(tmp_path / "router")
    settings = routes / "router_config.json"
    settings.write_text(settings.read_text().replace("sentence_transformers.", "custom_st."))
    with pytest.raises(ModelError, match=r"runs its own code \(custom_st\."):
        check_source(str(routes))
    adapted = save_adapted(tmp_path / "adapted", save_tiny_bert(tmp_path / "bert"))
    adapter = next(adapted.rglob("adapter_config.json"))
    own = str(save_own_code(tmp_path / "own"))
    adapter.write_text(json.dumps({**json.loads(adapter.read_text()), "base_model_name_or_path": own}))
    with pytest.raises(ModelError, match=REFUSAL):
        check_source(str(adapted))


def test_export_runs_code_only_if_allowed_by_its_own_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of somebody else says that code may run."""
    own, folder = save_own_code(tmp_path / "own"), made_up_folder(tmp_path, 1, name="theirs")
    code, mark = own / "modeling_own.py", tmp_path / "ran"
    code.write_text(f"open({str(mark)!r}, 'w')\n{code.read_text()}")
    trial = next(folder.glob("trials/*/trial.json"))
    trial.write_text(json.dumps({**json.loads(trial.read_text()), "base_model": str(own)}))
    base = PreparedBase(str(own), 16, "f", "f", "w", "", "", "d", 0, 0, 0.0, trusted=True)
    facts = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**facts, "bases": {str(own): base.to_json()}}))
    command = ["export", str(folder), "--trial", trial.parent.name, "--to", str(tmp_path / "to")]
    assert main(command) == 2
    assert re.search(REFUSAL, capsys.readouterr().err) and not mark.exists()
    assert main([*command, "--trust-remote-code", "true"]) == 2
    assert "has different weights now" in capsys.readouterr().err and mark.exists()


def test_a_whole_model_runs_code_only_if_its_caller_allows_it(tmp_path: Path) -> None:
    own = str(save_own_code(tmp_path / "own"))
    config = TrialConfig(base_model=own, loss="mnr", **WHOLE, trust_remote_code=True)
    with pytest.raises(ModelError, match=REFUSAL):
        load_whole_model(config, tmp_path / "best.safetensors", own, None)


@pytest.mark.parametrize("begun", [True, False])
def test_a_resumed_search_needs_the_option_again(tmp_path: Path, begun: bool) -> None:
    settings = tmp_path / "search.toml"
    settings.write_text(f"[search]\ntrust_remote_code = {str(begun).lower()}\n")

    def resumed(*flags: str) -> bool:
        request, _ = search_request(search_parser(), ["--resume", "theirs", *flags], lambda folder: settings)
        return request.config.search.trust_remote_code

    given = ("--trust-remote-code", "true")
    assert resumed(*(given if begun else ())) is begun
    with pytest.raises(ConfigError, match="allow it again with --trust-remote-code true" if begun else "leave it out"):
        resumed(*(() if begun else given))


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
    assert any("runs its own code (OwnModel)" in event.text for event in done.remarks if isinstance(event, Message))
    shutil.rmtree(folder)
    card = (done.model / "README.md").read_text()
    assert 'SentenceTransformer("PATH/OF/THIS/DIRECTORY", trust_remote_code=True)' in card
    assert "It runs custom code from its base model (`trust_remote_code`); read that code before loading." in card
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
