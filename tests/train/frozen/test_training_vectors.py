"""The vectors to train on: a copy of few rows trains as the whole view does."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.train.frozen.test_losses import CPU, config, pairs_view
from tune.train.frozen import fit
from tune.train.frozen.fit import Fit, TrainingVectors


@pytest.mark.parametrize("changes", [{"loss": "cosent"}, {"loss": "mnr", "hard_negatives": True}])
def test_few_rows_are_copied_and_train_alike(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    view, train = pairs_view()
    train = train.prefix(60)
    used = len(np.unique(np.concatenate([train.a, train.b])))
    weights = []
    for few, kept in ((1.0, used), (0.0, len(view.vectors))):
        monkeypatch.setattr(fit, "_FEW", few)
        vectors = TrainingVectors(view, train, CPU)
        assert len(vectors.vectors) == kept
        trained = Fit(config(**changes), vectors, train)
        trained.train_until(1.0)
        weights.append(trained.dense.state_dict())
    assert used < len(view.vectors)
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
