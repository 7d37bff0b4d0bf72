"""StreamTrainable: a stream of reports as a Ray Tune trainable, wherever the stream comes from.

One actor runs many trials one after the other (reuse), so a trial of seconds pays neither a process nor its imports.
"""

from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune.result import TIMESTEPS_TOTAL

from tune.config.trial import TrialConfig, trial_config
from tune.train.stream import Reports, TrialFailed, TrialOpener


class TrialDirectories:
    """Which directory each configuration has: trials/DIGEST, with the digest of the data its base model sees.

    options: what all trials of the search share, see `trial_config`.
    """

    def __init__(self, trials: Path, views: dict[str, str], options: dict[str, Any]) -> None:
        self.trials = trials
        self._views = views
        self._options = options

    def config(self, axes: dict[str, Any]) -> TrialConfig:
        """The configuration of a point of the space."""
        return trial_config(axes, self._options)

    def digest(self, axes: dict[str, Any]) -> str:
        """The name of the trial's directory."""
        config = self.config(axes)
        return config.digest(self._views[config.base_model])

    def directory(self, axes: dict[str, Any]) -> Path:
        """The trial's directory."""
        return self.trials / self.digest(axes)


class StreamTrainable(ray_tune.Trainable):
    """Every step is one report. setup and reset_config only note the configuration; the first step opens the stream."""

    def setup(self, config: dict[str, Any], opener: TrialOpener, directories: TrialDirectories) -> None:  # type: ignore[override]
        self._opener = opener
        self._directories = directories
        self._axes = dict(config)
        self._stream: Reports | None = None
        self._last: dict[str, Any] = {}

    def step(self) -> dict[str, Any]:
        """The next report; with `failed` (the reason) where the trial cannot be trained.

        A failed trial ends like any other for Ray: raising would cost the actor, and Ray would try again what ends
        the same.
        """
        if self._stream is None:
            self._stream = self._opener(self._directories.config(self._axes), self._directories.directory(self._axes))
        try:
            report = next(self._stream, None)
        except TrialFailed as error:
            return {"failed": str(error), "done": True}
        if report is None:
            # A stopped trial, drawn again, has no more reports than it had.
            return {**self._last, "done": True}
        # TensorBoard's axis: trials with fewer reports would else seem to have ended early.
        self._last = {**report.metrics(), TIMESTEPS_TOTAL: report.sixteenth}
        if report.last:
            self._close()
        return {**self._last, "done": report.last}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ends the old trial and takes the next."""
        self._close()
        self._axes, self._last = dict(new_config), {}
        return True

    def cleanup(self) -> None:
        """Ends the trial."""
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the trial's directory is the checkpoint. Ray ends a class without this method as an error."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: the directory is found again by its name."""

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
