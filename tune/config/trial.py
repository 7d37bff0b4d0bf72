"""TrialConfig: one point of the space, with everything besides data that determines a trial's numbers.

Its `digest` names the trial's directory, so equal configurations share a directory on every machine.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Loss = Literal["online_contrastive", "contrastive", "cosine", "cosent", "angle", "mnr"]
RANKING_LOSSES: frozenset[Loss] = frozenset(["mnr"])
"""Losses that learn from positive pairs only, with the other texts of a batch as negatives."""

Scheduler = Literal["constantlr", "warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts"]
Activation = Literal["identity", "tanh"]
Train = Literal["full", "lora"]
TrainedSide = Literal["both", "query"]
"""Which texts go through the trained layer: those of both sides of a pair, or the first ones alone."""

_WHOLE_ONLY = ("eval_pairs", "accumulation", "checkpointing", "chunk_size", "trust_remote_code")
SHARED_OPTIONS = ("seed", "folds", *_WHOLE_ONLY)
"""Options that all trials of a search share; not axes of the space."""

# Options added after the first results: left out of the digest at their defaults, so that existing directories keep
# their names.
_LATER = (
    "hard_negatives", "train", "lora_rank", "lora_alpha", "matryoshka", "bias", "side", "folds", "val_sample",
    *_WHOLE_ONLY,
)  # fmt: skip


class TrialConfig(BaseModel):
    """What one trial trains: the axes, options of the search, and `seed`, by the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str
    dims: Annotated[int | None, Field(ge=1)]
    """None: the base model's own dimension: with freeze=False no Dense layer, with side="query" a square one."""
    loss: Loss
    hard_negatives: bool = False
    """Contrast anchors with texts labelled 0 as well (ranking losses only); see tune/train/negatives.py."""
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 8
    warmup: Annotated[float, Field(ge=0)] = 0.1
    scheduler: Scheduler = "warmuplinear"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    activation: Activation = "identity"
    bias: bool = True
    """Whether the Dense layer has a bias. True, as in all results of earlier versions; a space chooses (`auto`)."""
    side: TrainedSide = "both"
    """query: the layer maps first texts alone and starts as the identity; second texts keep the base's own vectors."""
    train_size: Annotated[int, Field(ge=0)] = 0
    """Labelled pairs to train on, a prefix of the train side's seeded order; 0 means all."""
    freeze: bool = True
    train: Train = "full"
    """With freeze=False: train all weights, or LoRA matrices beside the attention layers."""
    lora_rank: Annotated[int, Field(ge=1)] = 16
    lora_alpha: Annotated[float, Field(gt=0)] = 32.0
    matryoshka: tuple[int, ...] = ()
    """Smaller dims, ascending, that the first components must also serve (Matryoshka); () means none."""
    folds: Annotated[int, Field(ge=0)] = 0
    """Text-disjoint folds of train and val (freeze=True only); 0: validate on the val side."""
    eval_pairs: Annotated[int | None, Field(ge=0)] = None
    """As the user chose (freeze=False): then sixteen reports; None: as many as the trial can afford."""
    val_sample: str = ""
    """Name of the sample of val in the view that reports score, the same for all trials of a search; "": all of val."""
    accumulation: Annotated[int, Field(ge=1)] = 1
    """Batches per optimizer step (freeze=False)."""
    checkpointing: bool = False
    """Recompute activations instead of keeping them (freeze=False): less memory, more time."""
    chunk_size: Annotated[int, Field(ge=0)] = 0
    """Pairs at a time through the model for mnr with large batches (freeze=False); 0: the whole batch."""
    trust_remote_code: bool = False
    """Whether the base model may run code of its own when it is loaded (freeze=False)."""
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def positives_only(self) -> bool:
        """Whether the loss learns from positive pairs only."""
        return self.loss in RANKING_LOSSES

    @property
    def all_dims(self) -> tuple[int | None, ...]:
        """The dims that the trial is evaluated at, ascending; None (the base model's own) last."""
        return (*self.matryoshka, self.dims)

    def digest(self, data: str) -> str:
        """Return the 12 hex digits that name the trial's directory.

        data: identifies what the trial reads (vectors and labelled pairs), so that the same configuration on other data
        gets another directory.
        """
        defaults = {name: type(self).model_fields[name].default for name in _LATER}
        values = {name: value for name, value in self.model_dump().items() if defaults.get(name, ...) != value}
        return hashlib.sha256(f"{data}\n{json.dumps(values, sort_keys=True)}".encode()).hexdigest()[:12]


def trial_config(axes: dict[str, Any], options: dict[str, Any]) -> TrialConfig:
    """Build the trial at a point of the space (axis name -> value) from it and the options that all trials share.

    Options that do not apply to this trial are left out, so that they cannot change its digest.
    """
    without = _WHOLE_ONLY if axes.get("freeze", True) else ("folds",)
    return TrialConfig(**axes, **{name: value for name, value in options.items() if name not in without})
