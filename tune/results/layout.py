"""ResultsFolder: every path under results/NAME in one place; creates and locks the folder."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.errors import ResultsError
from tune.files import locked, read_object


@dataclass(frozen=True)
class ResultsFolder:
    """Paths of one search's results."""

    root: Path

    @property
    def name(self) -> str:
        """The search's name."""
        return self.root.name

    @property
    def label(self) -> str:
        """The folder as a short path, for others to read: without a container's folders, or a person's own."""
        return str(Path(self.root.parent.name, self.root.name) if self.root.is_absolute() else self.root)

    @property
    def config(self) -> Path:
        """The resolved configuration, as TOML."""
        return self.root / "search.toml"

    @property
    def split(self) -> Path:
        """Which row is on which side; no texts."""
        return self.root / "split.parquet"

    @property
    def trials(self) -> Path:
        """A directory for every trial, named by its digest."""
        return self.root / "trials"

    @property
    def asha(self) -> Path:
        """ASHA's rungs."""
        return self.root / "asha.json"

    @property
    def order(self) -> Path:
        """By which order the search decides; absent: by the order in which reports arrive."""
        return self.root / "order.json"

    @property
    def journal(self) -> Path:
        """The Optuna study, for optuna-dashboard."""
        return self.root / "optuna.journal"

    @property
    def experiment(self) -> Path:
        """Ray's experiment: its own state, which is never read back."""
        return self.root / "ray"

    @property
    def runs(self) -> Path:
        """TensorBoard's logs, a run per trial."""
        return self.root / "runs"

    @property
    def test(self) -> Path:
        """The scores on test: written once."""
        return self.root / "test.json"

    @property
    def scores(self) -> Path:
        """The cosines of single pairs by the winner and the untouched base models; no texts."""
        return self.root / "scores.parquet"

    @property
    def leaderboard(self) -> Path:
        """The table of all trials and baselines."""
        return self.root / "leaderboard.csv"

    @property
    def summary(self) -> Path:
        """Counts, winner, verdict, versions."""
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        """The page on the search."""
        return self.root / "report.html"

    @property
    def best(self) -> Path:
        """The winner as a SentenceTransformer."""
        return self.root / "best"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises ResultsError if another process is writing to it."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.root / ".lock", wait=False))
            except BlockingIOError:
                raise ResultsError(
                    f"{self.root} is being written by another search; wait for it, or choose another --name"
                ) from None
            yield

    def sweep(self) -> None:
        """Remove what killed processes have left half written. Only while the folder is locked, and nothing trains."""
        for directory in (self.root, *self.trials.glob("*/")):
            for left in directory.glob(".*.part"):
                left.unlink(missing_ok=True)
        for left in self.root.glob(f".{self.best.name}.*"):
            shutil.rmtree(left, ignore_errors=True)


def check_results(parent: Path, name: str | None) -> None:
    """Check that a new results folder can be created, without creating it. Raises ResultsError if not."""
    if name is not None and (parent / name).exists():
        begun = (parent / name / "search.toml").is_file()
        resume = f", or resume it with --resume {name}" if begun else ""
        raise ResultsError(f"{parent / name} is taken; choose another --name{resume}")
    existing = next(folder for folder in (parent, *parent.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ResultsError(f"{parent}: results folder is not writable ({existing}); choose another --results")


def new_folder(parent: Path, name: str | None, stem: str) -> ResultsFolder:
    """Create the results folder; without a name, one named by `stem` and the time. Raises ResultsError if it cannot."""
    if name is None:
        made_up = f"{stem}-{time.strftime('%Y%m%d-%H%M')}"
        candidates = [made_up, *(f"{made_up}-{number}" for number in range(2, 100))]
    else:
        candidates = [name]
    for candidate in candidates:
        root = parent / candidate
        try:
            root.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ResultsError(f"cannot create {root} ({error.strerror}); choose another --results") from None
        return ResultsFolder(root)
    raise ResultsError(f"{parent / candidates[-1]} is taken; choose another --name")


def existing_folder(path: Path) -> ResultsFolder:
    """Return the results folder of a search that has begun. Raises ResultsError if there is none."""
    folder = ResultsFolder(path)
    if not folder.config.is_file():
        present = sorted(entry.parent.name for entry in path.parent.glob("*/search.toml"))
        known = f"; there are {', '.join(present[-5:])}" if present else ""
        raise ResultsError(f"{path} is not a results folder (it has no search.toml){known}")
    return folder


def read_test(folder: ResultsFolder) -> dict[str, Any]:
    """Read the scores on test. Raises ResultsError if the file is damaged: test is not opened twice."""
    try:
        return read_object(folder.test)
    except ValueError:
        raise ResultsError(f"{folder.test} is damaged, and test is scored only once; restore a copy of it") from None
