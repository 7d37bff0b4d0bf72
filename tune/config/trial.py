"""TrialConfig: one point of the space, everything that a trial's numbers depend on besides its data.

Its `digest` names the trial's directory, so equal configurations share one directory on every machine.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Loss = Literal["online_contrastive", "contrastive", "cosine", "cosent", "angle", "mnr"]
RANKING_LOSSES: frozenset[Loss] = frozenset(["mnr"])
"""Losses that learn from positive pairs alone: the others of a batch are their negatives."""

Scheduler = Literal["constantlr", "warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts"]
Activation = Literal["identity", "tanh"]
Train = Literal["full", "lora"]

# Options that came after the first results: left out of the digest where they have their default, so that the
# directories of before keep their names.
_LATER = (
    "train",
    "lora_rank",
    "lora_alpha",
    "matryoshka",
    "folds",
    "eval_pairs",
    "accumulation",
    "checkpointing",
    "chunk_size",
)


class TrialConfig(BaseModel):
    """What one trial trains. The names are those of the axes, plus options of the search and `seed`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str
    dims: Annotated[int | None, Field(ge=1)]
    """None: the base's own dimension, without a Dense layer (freeze=False alone)."""
    loss: Loss
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 8
    warmup: Annotated[float, Field(ge=0)] = 0.1
    scheduler: Scheduler = "warmuplinear"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    activation: Activation = "identity"
    train_size: Annotated[int, Field(ge=0)] = 0
    """Labelled pairs to train on, a prefix of the seeded order of the train side; 0 means all of them."""
    freeze: bool = True
    train: Train = "full"
    """Of a base that is not frozen: all of its weights, or LoRA matrices beside those of its attention layers."""
    lora_rank: Annotated[int, Field(ge=1)] = 16
    lora_alpha: Annotated[float, Field(gt=0)] = 32.0
    matryoshka: tuple[int, ...] = ()
    """Smaller dims, ascending, that the first components must serve as well (Matryoshka); () means none."""
    folds: Annotated[int, Field(ge=0)] = 0
    """Text-disjoint folds of train and val (frozen bases alone); 0: val is the validation side."""
    eval_pairs: Annotated[int | None, Field(ge=0)] = None
    """Val pairs that a report of a base that is not frozen looks at; 0: all of them; None: by the trial's length."""
    accumulation: Annotated[int, Field(ge=1)] = 1
    """Batches per step of the optimizer (freeze=False)."""
    checkpointing: bool = False
    """Activations are computed again instead of kept (freeze=False): less memory, more time."""
    chunk_size: Annotated[int, Field(ge=0)] = 0
    """Pairs at a time through the model for mnr with larger batches (freeze=False); 0 means the whole batch."""
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def positives_only(self) -> bool:
        """Whether it learns from positive pairs alone."""
        return self.loss in RANKING_LOSSES

    @property
    def all_dims(self) -> tuple[int | None, ...]:
        """The dims that the trial is judged at, ascending; None (the base's own) last. The first is the smallest."""
        return (*self.matryoshka, self.dims)

    def digest(self, data: str) -> str:
        """12 hex digits that name the trial's directory.

        `data` identifies what the trial reads (vectors and labelled pairs), so that a directory is never
        taken for the same trial on other data.
        """
        defaults = {name: type(self).model_fields[name].default for name in _LATER}
        values = {name: value for name, value in self.model_dump().items() if defaults.get(name, ...) != value}
        return hashlib.sha256(f"{data}\n{json.dumps(values, sort_keys=True)}".encode()).hexdigest()[:12]


_OF_THE_BASE = ("eval_pairs", "accumulation", "checkpointing", "chunk_size")


def trial_config(axes: dict[str, Any], options: dict[str, Any]) -> TrialConfig:
    """The trial of one point of the space (axis name -> value), with the options that all trials of a search share.

    Those that mean nothing to this trial are left out, so that they cannot make it another.
    """
    without = _OF_THE_BASE if axes.get("freeze", True) else ("folds",)
    return TrialConfig(**axes, **{name: value for name, value in options.items() if name not in without})
