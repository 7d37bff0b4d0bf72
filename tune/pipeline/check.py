"""Verifies a results folder without changing it: what is damaged or missing, and what `--resume` would make again.

It needs neither torch nor Ray, nor the pairs or the cache of the search.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from tune.config.search import SearchConfig, search_config
from tune.config.toml import read_resolved
from tune.data.split import stored_digest
from tune.errors import ResultsError, UserError
from tune.export.about import damage, read_about
from tune.files import read_object, sha256_of
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard
from tune.results.rungs import damaged_rungs
from tune.results.scores import read_scores
from tune.train.directory import OUT_OF_FOLD, TrialDirectory

AGAIN = "--resume makes it again"
COPY = "it cannot be made again; restore a copy"
_TEST_ONCE = f"test is scored only once, so {COPY}"
_APART = ("models", "comparisons", "verdicts", "correction", "quantised")
"""What the summary holds of test.json beside its `test`, or not at all."""
_STATE = {"a file": "has a file that is missing or cut short"}
_WEIGHTS = ("best.safetensors", OUT_OF_FOLD)
"""Of a trial; with Modal they may have stayed on the Volume."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file, and what can be done. file: its path in the results folder."""

    file: str
    problem: str
    remedy: str

    @property
    def line(self) -> str:
        """All of it, for people."""
        return f"{self.file} {self.problem}: {self.remedy}"


@dataclass(frozen=True)
class Checked:
    """What was found in a results folder. trials: how many have begun. notes: sentences on what is not wrong."""

    folder: str
    trials: int
    findings: list[Finding]
    notes: list[str]

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"whole": self.whole, **asdict(self)}


def check_folder(root: Path) -> Checked:
    """Verify the results of a search or of `baselines`.

    Raises ResultsError if the folder holds neither, or a search is writing to it.
    """
    folder = ResultsFolder(root)
    if not folder.config.is_file() and not folder.summary.is_file():
        raise ResultsError(f"{root} is not a results folder (it has neither search.toml nor summary.json)")
    check = _Check(folder)
    if (root / ".lock").exists():
        with folder.locked():
            findings = list(check.findings())
    else:
        findings = list(check.findings())
    return Checked(str(root), len(check.trials), findings, check.notes)


class _Check:
    """The check of one folder. notes: filled by `findings`."""

    def __init__(self, folder: ResultsFolder) -> None:
        self.folder = folder
        self.trials = sorted(path for path in folder.trials.glob("*") if path.is_dir())
        self.notes: list[str] = []

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, in the order in which a search writes its files."""
        yield from self._config()
        yield from self._summary()
        yield from self._split()
        yield from self._trials()
        yield from self._decisions()
        yield from self._test()
        yield from self._scores()
        yield from self._leaderboard()
        yield from self._best()
        yield from self._report()
        if self.facts and not self.baselines and not self.facts.finished:
            self.notes.append("the search has not ended; --resume continues it")

    @cached_property
    def facts(self) -> "_Facts | None":
        """What the summary says; None if it cannot be read."""
        try:
            facts = _Facts.model_validate_json(self.folder.summary.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        # What a search writes first.
        return facts if facts.data else None

    @property
    def known(self) -> "_Facts":
        """What the summary says; nothing if it cannot be read."""
        return self.facts or _Facts()

    @property
    def baselines(self) -> bool:
        return self.known.search == "baselines"

    @property
    def over(self) -> bool:
        """Whether the winner is fixed, so that no trial runs any more."""
        return self.known.winner is not None

    @cached_property
    def config(self) -> SearchConfig | None:
        """The configuration; None if it cannot be read."""
        try:
            return search_config(**read_resolved(self.folder.config))
        except (OSError, UserError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def _changed(self, path: Path) -> bool:
        """Return whether a file is not the one that the search ended with, as far as that was recorded."""
        recorded = self.known.files.get(path.name)
        return recorded is not None and path.is_file() and sha256_of(path) != recorded

    def _wrong(self, path: Path, remedy: str, sound: bool, expected: bool) -> Iterator[Finding]:
        """Yield what is wrong with a file. sound: whether it can be read; expected: whether there must be one."""
        if not path.exists():
            if expected or path.name in self.known.files:
                yield Finding(path.name, "is missing", remedy)
        elif not sound or self._changed(path):
            yield Finding(path.name, "is damaged", remedy)

    def _remedy(self, of_search: str) -> str:
        return "run baselines again under another --name" if self.baselines else of_search

    def _config(self) -> Iterator[Finding]:
        sound, expected = self.config is not None, not self.baselines
        yield from self._wrong(self.folder.config, f"without it nothing resumes, and {COPY}", sound, expected)

    def _summary(self) -> Iterator[Finding]:
        path = self.folder.summary
        if not path.exists():
            lost = "versions, times and when the winner was fixed are lost"
            yield Finding(path.name, "is missing", f"--resume makes another, but {lost}; restore a copy")
        elif self.facts is None:
            yield Finding(path.name, "is damaged", COPY)

    def _split(self) -> Iterator[Finding]:
        path, data = self.folder.split, self.known.data
        try:
            sound = pq.read_table(path).num_rows == sum(data.split.rows.values()) if data else True
        except (OSError, pa.ArrowException):
            sound = False
        if sound and data and data.columns.get("score") is None:
            sound = stored_digest(path) == data.split_hash
        order = f"it says which pairs the rows of {self.folder.scores.name} are; restore a copy"
        again = order if self.folder.scores.exists() else f"{AGAIN}, from the pairs"
        yield from self._wrong(path, self._remedy(again), sound, data is not None)
        if not self.baselines:
            self.notes.append("not checked: whether the pairs are still those of the search; --resume does that")

    def _trials(self) -> Iterator[Finding]:
        trained = "the winner is fixed, so it is not trained again; restore a copy"
        remedy = trained if self.over else "--resume trains it again"
        elsewhere = 0
        for path in self.trials:
            for finding in self._trial(path, remedy):
                name = Path(finding.file).name
                if self.known.modal and name in _WEIGHTS and finding.problem == "is missing":
                    elsewhere += 1
                else:
                    yield finding
        known = {path.name for path in self.trials}
        for name in dict.fromkeys([*self.known.finalists, *self._listed()]):
            if name not in known:
                yield Finding(f"trials/{name}", "is missing", remedy)
        if elsewhere:
            self.notes.append(f"weights of {elsewhere} trials are not in this copy; they may be on Modal's Volume")

    def _trial(self, path: Path, remedy: str) -> Iterator[Finding]:
        directory, name = TrialDirectory(path), f"trials/{path.name}"
        config, log = directory.config(), path / "reports.jsonl"
        if config is None:
            # Without any files it was made by a process that was killed before it could begin.
            if any(file.name != ".lock" for file in path.iterdir()):
                yield Finding(f"{name}/trial.json", "is missing or damaged", remedy)
        elif (base := self.known.bases.get(config.base_model)) and config.digest(base.digest) != path.name:
            yield Finding(f"{name}/trial.json", "is not the one of this trial", remedy)
        for file in ("failed.json", "lost.json"):
            if (path / file).exists() and not _is_object(path / file):
                yield Finding(f"{name}/{file}", "is damaged", "why the trial failed is lost; it still counts as failed")
        if damaged := directory.damage():
            file, _, state = damaged.rpartition(" is ")
            yield Finding(name if file == "a file" else f"{name}/{file}", _STATE.get(file, f"is {state}"), remedy)
        elif not (directory.done or directory.stopped) and _unreadable(log, len(directory.reports())):
            yield Finding(f"{name}/{log.name}", "is damaged", remedy)

    def _listed(self) -> list[str]:
        """Return the trials in the leaderboard, if it can be read."""
        try:
            rows = read_leaderboard(self.folder.leaderboard)
            return [row["trial"] for row in rows if row["status"] != "baseline"]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _decisions(self) -> Iterator[Finding]:
        rungs, damaged = self.folder.asha, damaged_rungs(self.folder.asha)
        asha = self.config is not None and self.config.search.search == "asha" and self.known.trials is not None
        forgotten = "the table no longer tells stopped trials apart" if self.over else "stopped trials may resume"
        remedy = f"it cannot be made again, and {forgotten}; restore a copy"
        yield from self._wrong(rungs, remedy, rungs.name not in damaged, asha)
        yield from (Finding(name, "is damaged", remedy) for name in damaged if name != rungs.name)
        try:
            ordered = isinstance(read_object(self.folder.order).get("jobs"), int)
        except (FileNotFoundError, ValueError):
            ordered = False
        late = "the search is over and needs it no more" if self.over else "--resume decides as reports arrive"
        yield from self._wrong(self.folder.order, late, ordered, False)

    def _test(self) -> Iterator[Finding]:
        path, shown = self.folder.test, self.known.test or {}
        try:
            test = read_object(path)
            sound = not shown or {name: value for name, value in test.items() if name not in _APART} == shown
        except (FileNotFoundError, ValueError):
            sound = False
        remedy = _TEST_ONCE if path.exists() else "--resume would score test a second time; restore a copy"
        yield from self._wrong(path, remedy, sound, bool(shown.get("opened")))

    def _scores(self) -> Iterator[Finding]:
        try:
            scores = read_scores(self.folder)
            sound = scores is not None and bool(len(scores.row)) and bool(scores.models)
        except (ResultsError, ValueError, TypeError):
            sound = False
        # Results of earlier versions have none.
        yield from self._wrong(self.folder.scores, _TEST_ONCE, sound, False)

    def _leaderboard(self) -> Iterator[Finding]:
        path, winner = self.folder.leaderboard, self.known.winner
        try:
            rows = read_leaderboard(path)
            named = {row["trial"] for row in rows}
            sound = bool(rows) and None not in rows[-1].values() and (winner is None or winner.trial in named)
        except (OSError, ValueError, KeyError):
            sound = False
        yield from self._wrong(path, self._remedy(AGAIN), sound, bool(self.known.finished))

    def _best(self) -> Iterator[Finding]:
        best, winner, again = self.folder.best, self.known.winner, "--resume exports it again"
        if not best.exists():
            if winner and self.known.finished:
                yield Finding(best.name, "is missing", again)
        elif damaged := damage(best):
            file, _, state = damaged.rpartition(" is ")
            yield Finding(f"{best.name}/{file}", f"is {state}", again)
        elif winner and (trial := read_about(best).get("trial")) != winner.trial:
            yield Finding(best.name, f"holds trial {trial}, not the winner", f"remove it, and {again}")

    def _report(self) -> Iterator[Finding]:
        path = self.folder.report
        wanted = self.config is not None and self.config.search.report and bool(self.known.finished)
        sound = path.is_file() and path.read_bytes().rstrip().endswith(b"</html>")
        yield from self._wrong(path, "python -m tune report makes it again", sound, wanted)


class _Base(BaseModel):
    digest: str


class _Winner(BaseModel):
    trial: str


class _Rows(BaseModel):
    rows: dict[str, int]


class _Data(BaseModel):
    split: _Rows
    split_hash: str
    columns: dict[str, Any] = {}


class _Facts(BaseModel):
    """What is read of summary.json."""

    search: str = ""
    data: _Data | None = None
    bases: dict[str, _Base] = {}
    trials: dict[str, int] | None = None
    winner: _Winner | None = None
    finalists: list[str] = []
    test: dict[str, Any] | None = None
    files: dict[str, str] = {}
    modal: dict[str, Any] | None = None
    finished: str | None = None


def _is_object(path: Path) -> bool:
    try:
        read_object(path)
    except ValueError:
        return False
    return True


def _unreadable(path: Path, reports: int) -> bool:
    """Return whether lines follow the readable reports; a torn last line is what a kill leaves."""
    return path.exists() and path.read_bytes().count(b"\n") > reports
