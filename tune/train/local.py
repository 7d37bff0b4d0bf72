"""LocalOpener: the `TrialOpener` that trains in this process."""

from dataclasses import dataclass
from pathlib import Path

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.train.kinds import kind_of
from tune.train.stream import Reports


@dataclass(frozen=True)
class LocalOpener:
    """Open trials of any kind in this process. views: base model -> directory of its view."""

    views: dict[str, Path]

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        view = View.open(self.views[config.base_model])
        return kind_of(config).open(config, directory, view, after)
