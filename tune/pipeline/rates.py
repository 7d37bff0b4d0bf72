"""The learning rates that a search tries, by kind of trial and base model, as a line for people. Loads no torch."""

from tune.config.search import SearchConfig
from tune.config.space import Range, Space
from tune.embed.base_models import is_static
from tune.events import Emit, Message
from tune.train.kinds import FROZEN, TrialKind, kind_by_axes


def report_rates(config: SearchConfig, emit: Emit) -> None:
    """Report the learning rates of each kind of trial, if any trial trains its base model."""
    if config.whole:
        emit(Message(f"learning rate: {'; '.join(_parts(config))}"))


def _parts(config: SearchConfig) -> list[str]:
    """Return a part per kind and rates; it names the base models if those of the kind differ, or are static."""
    models: dict[tuple[TrialKind, str], dict[str, None]] = {}
    for space in config.spaces:
        for kind in _kinds(space):
            models.setdefault((kind, _shown(space.learning_rate)), {}).update(dict.fromkeys(space.base_model))
    kinds = [kind for kind, _ in models]
    parts = []
    for (kind, rates), names in models.items():
        static = kind.trains_base and all(map(is_static, names))
        label = "layers" if kind == FROZEN else kind.label
        if static or kinds.count(kind) > 1:
            label = f"{', '.join(names)} {label}"
        elif kind.label == "whole":
            label = "whole models"
        parts.append(f"{label} {rates}{' (static vectors)' if static else ''}")
    return parts


def _kinds(space: Space) -> list[TrialKind]:
    frozen = [FROZEN] if True in space.freeze else []
    return frozen + [kind_by_axes(False, train) for train in space.train if False in space.freeze]


def _shown(rates: Range | tuple[float, ...]) -> str:
    """Return a list or range as one types it, such as 1e-4:1e-2."""
    if isinstance(rates, Range):
        return f"{_number(rates.low)}:{_number(rates.high)}"
    return ",".join(map(_number, rates))


def _number(value: float) -> str:
    digits, _, exponent = f"{value:e}".partition("e")
    return f"{value:g}" if value >= 0.1 else f"{float(digits):g}e{int(exponent)}"
