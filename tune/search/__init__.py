"""Ray Tune over any `TrialOpener`: the search algorithms, the driver's callbacks, the Ray cluster.

Importing this package sets environment variables that Ray reads on import, so import it before Ray. `run.run_trials`
is the entry point; nothing is re-exported, because most modules load Ray (not points.py, rung_rule.py, ray_place.py).
"""

import os

# Otherwise Ray changes into the trial's directory, which breaks relative paths.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# A failed trial ends without the metric; see StreamTrainable.step.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Trials keep their reports, and callbacks.RunLogs writes them for TensorBoard, under names a person would choose.
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
# Seconds between two copies of Ray's experiment state, which holds all trials so far; see run.py. Never but at the end.
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # see interrupt.py
# A trial that requests no GPU must not see one: on a workstation, all trials would share it.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
# Under `uv run`, Ray would copy the working folder for its workers, which run this very environment.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# A hidden switch of Ray, with which a new cluster would be addressed as a remote one.
os.environ["RAY_CLIENT_MODE"] = "0"
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
