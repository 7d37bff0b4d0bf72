"""LocalOpener: trials of either kind in this process; a kind is imported when it is wanted."""

from dataclasses import dataclass
from pathlib import Path

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.train.stream import Reports


@dataclass(frozen=True)
class LocalOpener:
    """Opens trials in this process. views: base model -> directory of its view."""

    views: dict[str, Path]

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        return open_local(config, directory, View.open(self.views[config.base_model]), after)


def open_local(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """The reports of a trial of either kind; see `TrialOpener` for the contract.

    A kind is imported when it is wanted.
    """
    if config.freeze:
        from tune.train.frozen.trial import open_adapter

        return open_adapter(config, directory, view, after)
    from tune.train.whole.trial import open_finetune

    return open_finetune(config, directory, view, after)
