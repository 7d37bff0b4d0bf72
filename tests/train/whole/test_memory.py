"""A whole trial whose batches do not fit into memory: it goes on with halves, and says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor

from tests.helpers.conformance import same_numbers
from tests.helpers.whole_trials import Topics
from tune.train import directory as directory_module
from tune.train import progress as progress_module
from tune.train.outcomes import trial_outcomes
from tune.train.stream import TrialFailed
from tune.train.whole.trial import open_whole_trial

BATCH = 16


class Memory:
    """A model's memory, which holds so many texts at a time in training; more raise `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.holds = 10**9
        self.exceeded = 0

    def forward(self, module: Any, features: dict[str, Tensor], *given: Any, **named: Any) -> Any:
        texts = len(features["offsets"] if "offsets" in features else features["input_ids"])
        if torch.is_grad_enabled() and texts > self.holds:
            self.exceeded += 1
            raise type(self.error)(*self.error.args)
        return self.forward_all(module, features, *given, **named)

    forward_all: Any = staticmethod(StaticEmbedding.forward)


ERRORS = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory"))


@pytest.fixture(params=ERRORS, ids=["gpu", "cpu"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    memory = Memory(request.param)
    monkeypatch.setattr(StaticEmbedding, "forward", lambda *given, **named: memory.forward(*given, **named))
    yield memory


@pytest.mark.parametrize("loss", ["cosine", "contrastive"])
def test_halves_train_what_the_whole_batch_would(static: Topics, tmp_path: Path, memory: Memory, loss: str) -> None:
    whole = static.run(tmp_path / "trials" / "whole", loss=loss, batch_size=BATCH + 1)
    memory.holds = BATCH
    parts = static.run(tmp_path / "trials" / "parts", loss=loss, batch_size=BATCH + 1)
    assert memory.exceeded == 1, "later steps are in halves at once"
    assert not whole[-1].halved and all(report.halved for report in parts)
    for one, other in zip(whole, parts, strict=True):
        assert one.auc == pytest.approx(other.auc, abs=1e-4) and one.loss == pytest.approx(other.loss, rel=1e-4)
    notes = {one.trial: one.note for one in trial_outcomes(tmp_path / "trials", tmp_path / "asha.json")}
    assert notes == {"whole": "", "parts": "out of memory: trained with half the batch and twice the accumulation"}


def test_a_loss_within_the_batch_says_that_it_is_not_the_same(static: Topics, tmp_path: Path, memory: Memory) -> None:
    memory.holds = BATCH - 1
    reports = static.run(tmp_path / "trials" / "one", loss="mnr")
    assert memory.exceeded == 1 and reports[-1].last
    [outcome] = trial_outcomes(tmp_path / "trials", tmp_path / "asha.json")
    assert outcome.note.endswith("accumulation, which is not the same for mnr: it compares fewer pairs at a time")


def test_a_resumed_trial_goes_on_in_halves(
    static: Topics, tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    monkeypatch.setattr(progress_module, "STATE_SHARE", 1.0)
    memory.holds = BATCH - 1
    expected = [same_numbers(report) for report in static.run(tmp_path / "whole")]
    stream = open_whole_trial(static.config(), tmp_path / "parts", static.view)
    for _ in range(6):
        next(stream)
    stream.close()
    before = memory.exceeded
    assert [same_numbers(report) for report in static.run(tmp_path / "parts")] == expected
    assert memory.exceeded == before, "it knows from its state"


def test_memory_that_does_not_hold_half_a_batch_ends_the_trial(static: Topics, tmp_path: Path, memory: Memory) -> None:
    memory.holds = 2
    with pytest.raises((TrialFailed, torch.OutOfMemoryError), match="memory"):
        static.run(tmp_path / "one")
    assert memory.exceeded == 2, "once whole, once in halves"
