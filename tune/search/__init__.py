"""Ray Tune over any opener of trials: the algorithms, the driver's callbacks, the cluster.

Importing this package sets what Ray reads from the environment, so it comes before any import of Ray.
"""

import os

# Ray would change into the trial's directory, and relative paths would point elsewhere.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# A failed trial ends without the metric; see StreamTrainable.step.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # see callbacks.Interrupt
# A trial without a GPU must not see one: on a workstation all trials would crowd onto it.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
