"""The registry of trial kinds: everything about a kind that other rooms need to know.

Training code and models are imported on first use, so reading a label loads neither torch nor numpy.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tune.config.trial import Train, TrainedSide, TrialConfig
from tune.train.stream import Reports

if TYPE_CHECKING:
    from tune.embed.view import View

Group = Literal["frozen", "full", "lora"]


@dataclass(frozen=True)
class TrialKind:
    """One kind of trial: what it trains, how it is opened and how its model is loaded.

    group: kinds that compete as one (folds only change how a frozen base is validated). label: what is trained, in one
    word, for tables. description: a sentence for the model card, with `{base}` and `{data}` to fill in. trains_base:
    whether the base model's own weights change; if so, reports may score a sample of val, and texts must be encoded
    again. has_folds: whether val is replaced by cross-validation.
    """

    group: Group
    label: str
    description: str
    trains_base: bool = False
    has_folds: bool = False

    def open(self, config: TrialConfig, directory: Path, view: "View", after: int = 0) -> Reports:
        """Open a trial of this kind in this process; see `TrialOpener` for the contract."""
        if self.trains_base:
            from tune.train.whole.trial import open_whole_trial

            return open_whole_trial(config, directory, view, after)
        from tune.train.frozen.trial import open_frozen_trial

        return open_frozen_trial(config, directory, view, after)

    def view_files(self, config: TrialConfig) -> list[str]:
        """Return the files that a view must hold for this trial besides its arrays."""
        from tune.embed.view import ABOUT_FILE, TEXTS_FILE, folds_file, sample_file

        texts = [TEXTS_FILE] if self.trains_base else []
        folds = [folds_file(config.folds, config.seed)] if self.has_folds else []
        sample = [sample_file(config.val_sample)] if config.val_sample else []
        return [ABOUT_FILE, *texts, *folds, *sample]


_LAYER = "The base model `{base}`, unchanged, with a Dense layer trained on labelled text pairs ({data})"

FROZEN = TrialKind("frozen", "layer", _LAYER)
QUERY = TrialKind(
    "frozen",
    "query layer",
    "The base model `{base}`, unchanged, with a Dense layer for first texts (queries) alone, trained on labelled text "
    "pairs ({data})",
)
FULL = TrialKind(
    "full",
    "whole",
    "The base model `{base}`, all of its weights trained on labelled text pairs ({data})",
    trains_base=True,
)
LORA = TrialKind(
    "lora",
    "LoRA",
    "The base model `{base}`, trained with LoRA (merged) on labelled text pairs ({data})",
    trains_base=True,
)

TRAINS_BASE = (FULL, LORA)
"""The kinds that change the base model, in the order in which results list them."""


def kind_of(config: TrialConfig) -> TrialKind:
    """Return the kind of a trial."""
    kind = kind_by_axes(config.freeze, config.train, config.side)
    return replace(kind, has_folds=True) if config.folds else kind


def kind_by_axes(freeze: bool, train: Train | str | None, side: TrainedSide | str | None = None) -> TrialKind:
    """Return the kind for these values of the axes `freeze`, `train` and `side`, ignoring folds."""
    if freeze:
        return QUERY if side == "query" else FROZEN
    return LORA if train == "lora" else FULL
