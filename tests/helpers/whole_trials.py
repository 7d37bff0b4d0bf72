"""Trials that train a tiny base model for a second, and a check that their weights score as they reported."""

from pathlib import Path
from typing import Any

from tests.helpers.tiny import Prepared, prepare_topics
from tune.config.trial import TrialConfig
from tune.metrics.score import roc_auc
from tune.train.stream import Report
from tune.train.whole.model import load_whole_model, whole_model_scores
from tune.train.whole.trial import open_whole_trial


class Topics:
    """Topic pairs prepared for a base model, and configurations of short trials that learn them."""

    def __init__(self, folder: Path, base_model: str | Path, prompts: tuple[str, str] = ("", "")) -> None:
        self.prepared: Prepared = prepare_topics(folder, str(base_model), prompts)
        self.view = self.prepared.view

    def config(self, **changes: Any) -> TrialConfig:
        """Return a trial of about a second that learns."""
        values = {
            "dims": 16, "batch_size": 16, "epochs": 1, "learning_rate": 5e-3, "freeze": False, "eval_pairs": 200,
        }  # fmt: skip
        return self.prepared.config(**(values | changes))

    def run(self, directory: Path, **changes: Any) -> list[Report]:
        """Train such a trial; return its reports."""
        return list(open_whole_trial(self.config(**changes), directory, self.view))

    def loaded_auc(self, directory: Path, config: TrialConfig, dims: int | None = None) -> float:
        """Return the AUC of the model loaded from a trial's directory, on the pairs that its reports scored."""
        model = load_whole_model(config, directory / "best.safetensors", config.base_model, None)
        val = self.view.val.take(self.view.sample_index(config.val_sample))
        [scores] = whole_model_scores(model, self.view.texts(), val, [dims]).values()
        return roc_auc(scores, val.label)
