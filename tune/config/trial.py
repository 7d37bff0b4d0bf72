"""TrialConfig: one point of the space, everything that a trial's numbers depend on besides its data.

Its `digest` names the trial's directory, so equal configurations share one directory on every machine.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Loss = Literal["online_contrastive", "contrastive", "cosine", "cosent", "angle", "mnr"]
Scheduler = Literal["constantlr", "warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts"]
Activation = Literal["identity", "tanh"]


class TrialConfig(BaseModel):
    """What one trial trains. The names are those of the axes, plus `freeze` and `seed`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str
    dims: Annotated[int, Field(ge=1)]
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
    freeze: Literal[True] = True
    seed: Annotated[int, Field(ge=0)] = 0

    def digest(self, data: str) -> str:
        """12 hex digits that name the trial's directory.

        `data` identifies what the trial reads (vectors and labelled pairs), so that a directory is never
        taken for the same trial on other data.
        """
        canonical = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(f"{data}\n{canonical}".encode()).hexdigest()[:12]


def trial_config(axes: dict[str, Any], seed: int) -> TrialConfig:
    """The trial of one point of the space (axis name -> value)."""
    return TrialConfig(**axes, seed=seed)
