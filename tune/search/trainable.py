"""StreamTrainable: a stream of reports, from any opener, as a Ray Tune trainable.

Actors are reused for many trials, so a trial of a few seconds does not pay for a process start and imports.
"""

from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune.result import TIMESTEPS_TOTAL

from tune.config.trial import TrialConfig, trial_config
from tune.errors import UserError, described
from tune.search.points import point_key
from tune.train.stream import Reports, TrialFailed, TrialOpener


class TrialDirectories:
    """The trial directory of every point of a search: trials/DIGEST, named by configuration and data.

    trials: the folder of all trials. views: {base model: digest of its view}. options: what all trials of the search
    share, see `trial_config`.
    """

    def __init__(self, trials: Path, views: dict[str, str], options: dict[str, Any]) -> None:
        self.trials = trials
        self._views = views
        self._options = options
        self._digests: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the digests kept: Ray pickles this object into the state of every trial."""
        return {**self.__dict__, "_digests": {}}

    def config(self, axes: dict[str, Any]) -> TrialConfig:
        """Return the configuration at a point of the space."""
        return trial_config(axes, self._options)

    def digest(self, axes: dict[str, Any]) -> str:
        """Return the name of the trial's directory."""
        key = point_key(axes)
        if key not in self._digests:
            # Kept, since callbacks ask several times per report.
            config = self.config(axes)
            self._digests[key] = config.digest(self._views[config.base_model])
        return self._digests[key]

    def directory(self, axes: dict[str, Any]) -> Path:
        """Return the path of the trial's directory."""
        return self.trials / self.digest(axes)


class StreamTrainable(ray_tune.Trainable):
    """A trainable with one report per step; the first step opens the stream, as an opened stream may cost money."""

    def setup(self, config: dict[str, Any], opener: TrialOpener, directories: TrialDirectories) -> None:  # type: ignore[override]
        self._opener = opener
        self._directories = directories
        self._axes = dict(config)
        self._stream: Reports | None = None
        self._last: dict[str, Any] = {}

    def step(self) -> dict[str, Any]:
        """Return the next report; {"failed": reason} if the trial cannot be trained, {"paused": cause} if nothing can.

        For Ray such a trial ends like any other: raising would kill the actor, and Ray would retry in vain.
        """
        if self._stream is None:
            self._stream = self._opener(self._directories.config(self._axes), self._directories.directory(self._axes))
        try:
            report = next(self._stream, None)
        except TrialFailed as error:
            return {"failed": str(error), "done": True}
        except (OSError, UserError) as error:
            return {"paused": described(error) if isinstance(error, OSError) else str(error), "done": True}
        if report is None:
            # A stopped trial that is drawn again has no new reports.
            return {**self._last, "done": True}
        # The x axis in TensorBoard; otherwise trials with fewer reports would seem to end early.
        self._last = {**report.metrics(), TIMESTEPS_TOTAL: report.sixteenth}
        if report.last:
            self._close()
        return {**self._last, "done": report.last}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """End the current trial and switch to the next one; return True."""
        self._close()
        self._axes, self._last = dict(new_config), {}
        return True

    def cleanup(self) -> None:
        """End the trial."""
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Save nothing: the trial's directory is the checkpoint. Ray ends a class without this method with an error."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Do nothing: the trial's directory is found by its name."""

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
