"""What a trial is expected to cost, by its configuration alone: the same on every machine.

A search that decides in a logical order runs its clock by this. Wrong costs change no result; trials only wait longer
for each other.
"""

from dataclasses import dataclass

from tune.config.trial import TrialConfig
from tune.train.kinds import kind_of


@dataclass(frozen=True)
class PlannedCost:
    """Of one trial, in seconds of a core. opening: before it trains. training: of the whole plan, with validation."""

    opening: float
    training: float


# Measured on frozen trials over 256 and 384 dims; only their ratios matter.
_OPENING = 0.1
_REPORTS = 0.1
_STEP = 1.5e-4
_PAIR = 4e-6
_PAIR_AND_WEIGHT = 1.4e-10
# A base model of 384 dims trains some 70 pairs a second on a core, and one of 768 dims a fifth of that.
_WHOLE_PAIR, _WHOLE_DIMS, _WHOLE_POWER = 0.014, 384, 2.4


def planned_cost(config: TrialConfig, base_dims: int, train_pairs: int) -> PlannedCost:
    """Return the cost of a trial. base_dims: of its base model. train_pairs: on the train side of the search."""
    pairs = min(config.train_size or train_pairs, train_pairs) * config.epochs
    if kind_of(config).trains_base:
        return PlannedCost(_OPENING, pairs * _WHOLE_PAIR * (base_dims / _WHOLE_DIMS) ** _WHOLE_POWER)
    dims = (config.dims or base_dims) * max(1, len(config.all_dims)) ** 0.5
    folds = max(1, config.folds)
    step = _STEP * pairs / config.batch_size
    return PlannedCost(_OPENING, _REPORTS + folds * (step + pairs * (_PAIR + _PAIR_AND_WEIGHT * base_dims * dims)))
