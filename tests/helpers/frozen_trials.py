"""Frozen trials for tests: train one in a process that is killed half-way, and score its weights without torch."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows

KILLED_AFTER = 6
"""Number of reports of a trial in `train_until_killed`."""

_SCRIPT = f"""
import os, signal, sys
from pathlib import Path
from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.train import directory
from tune.train.frozen.trial import open_frozen_trial
directory.STATE_SECONDS = float(sys.argv[4])
config = TrialConfig.model_validate_json(sys.argv[1])
for report in open_frozen_trial(config, Path(sys.argv[2]), View.open(Path(sys.argv[3]))):
    if report.number == {KILLED_AFTER}:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def train_until_killed(config: TrialConfig, directory: Path, view: Path, state_seconds: float) -> None:
    """Train a trial in another process, which kills itself (-9) after KILLED_AFTER reports.

    view: directory of the view. state_seconds: STATE_SECONDS there.
    """
    arguments = [config.model_dump_json(), str(directory), str(view), str(state_seconds)]
    killed = subprocess.run([sys.executable, "-c", _SCRIPT, *arguments], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL


def numpy_cosine(
    weights: Path, vectors: NDArray[np.float32], pairs: PairRows, dims: int, prefix: str = ""
) -> NDArray[np.float64]:
    """Return the pairs' cosine similarity at `dims`, computed from a weights file in float64.

    vectors: [texts, dims]. prefix: of the tensors' names; "i." for fold i.
    """
    tensors = load_file(weights)
    embedded = vectors.astype(np.float64) @ tensors[f"{prefix}linear.weight"].T.astype(np.float64)
    embedded = (embedded + tensors.get(f"{prefix}linear.bias", 0))[:, :dims]
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    cosine: NDArray[np.float64] = (unit[pairs.a] * unit[pairs.b]).sum(1)
    return cosine
