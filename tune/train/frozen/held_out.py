"""The out-of-fold scores at every report of a trial, kept if all pairs are in folds.

The report with the best AUC was chosen on these pairs, so a judgement on them must repeat that choice.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune.train.directory import OUT_OF_FOLD as FILE
from tune.train.stream import Report


def keep_scores(trial: Path, number: int, scores: NDArray[np.float64]) -> None:
    """Write the scores [n] of report `number` into the trial's directory, before the report itself is written.

    A trial that resumes writes the same scores to the same place again.
    """
    path = trial / FILE
    with open(path, "r+b" if path.exists() else "w+b") as handle:
        handle.seek((number - 1) * scores.size * np.dtype(np.float32).itemsize)
        handle.write(scores.astype(np.float32).tobytes())


def kept_scores(trial: Path, reports: list[Report], pairs: int) -> NDArray[np.float32]:
    """Return the scores at each report, [reports, pairs], in the order of `View.train_and_val`.

    Raises OSError if there are none, ValueError if they are not those of these reports.
    """
    scores = np.fromfile(trial / FILE, dtype=np.float32)
    if scores.size < len(reports) * pairs or not np.isfinite(scores[: len(reports) * pairs]).all():
        raise ValueError(f"{trial / FILE} does not hold {len(reports)} reports on {pairs} pairs")
    return scores[: len(reports) * pairs].reshape(len(reports), pairs)
