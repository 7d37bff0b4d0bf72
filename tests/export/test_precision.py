"""--precision bf16: trials read bf16 vectors, and test is what the exported model (fp32 weights) gives."""

from pathlib import Path

import pytest

from tests.helpers.exported import exported_auc
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.data.split import labelled_sides
from tune.embed.orders import embed_bases
from tune.embed.view import View
from tune.evaluate.final_test import open_test
from tune.events import ignore
from tune.export.facts import ExportFacts
from tune.export.write import write_model
from tune.pipeline.pairs import read_split
from tune.train.frozen.trial import open_frozen_trial
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models


def test_bf16_scores_test_as_the_exported_model_does(tmp_path: Path) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        config = search_config({"precision": precision}, space={"base_model": "wordllama"})
        split, _ = read_split(config, ignore)
        base = embed_bases(config, split, tmp_path / "cache", ignore)[0]["wordllama"]
        found[precision] = base
    base = found["bf16"]
    assert base.fingerprint != found["fp32"].fingerprint == base.test_fingerprint
    assert base.weights == found["fp32"].weights

    trial = TrialConfig(base_model="wordllama", dims=16, loss="cosent", learning_rate=5e-3, epochs=2)
    folder = tmp_path / "trials" / trial.digest(base.digest)
    list(open_frozen_trial(trial, folder, View.open(base.view(tmp_path / "cache"))))
    outcomes = trial_outcomes(tmp_path / "trials", tmp_path / "asha.json")
    test = labelled_sides(split, 0)["test"]
    models = Models({"wordllama": base}, tmp_path / "cache", None)
    scored = open_test([models.of(outcome) for outcome in outcomes], models, test, 0).result
    final = scored["models"][folder.name]

    facts = ExportFacts(folder.name, trial, base, {16: final}, {})
    write_model(models.of(outcomes[0]), facts, tmp_path / "model")
    auc = exported_auc(tmp_path / "model", test.text_a, test.text_b, test.label.tolist())
    assert auc == pytest.approx(final["test"]["auc"], abs=1e-4)
