"""Weights that are let go while a search runs are never those of a finalist, whatever happens afterwards."""

from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.tiny import Prepared
from tune.config.trial import TrialConfig
from tune.evaluate.finalists import SPARE, contenders_among, releasable
from tune.train.outcomes import Status, TrialOutcome
from tune.train.stream import Report
from tune.train.trained import Models

GROUPS = [{"dims": dims, "freeze": freeze} for dims in (4, 8) for freeze in (True, False)]


@dataclass(frozen=True)
class Drawn:
    """A search: (AUC, group, status) of each trial in the order in which they end; how many finalists; its rules."""

    trials: list[tuple[float, int, Status]]
    count: int
    grid: bool
    val_pairs: int


STATUSES: list[Status] = ["done", "done", "stopped", "failed", "halfway"]
SEARCHES = st.builds(
    Drawn,
    st.lists(
        st.tuples(
            st.integers(0, 50).map(lambda step: step / 50), st.integers(0, len(GROUPS) - 1), st.sampled_from(STATUSES)
        ),
        max_size=30,
    ),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([0, 0, 40, 200]),
)
OFTEN = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcomes_of(drawn: Drawn, prepared: Prepared) -> list[TrialOutcome]:
    """Return the trials; val_pairs > 0: they reported on so many pairs of val."""
    found = []
    for number, (auc, group, status) in enumerate(drawn.trials):
        values = prepared.config(val_sample="sample" if drawn.val_pairs else "").model_dump() | GROUPS[group]
        report = Report(1, 1.0, auc, auc, 0.5, 0.5, 1.0, 9.0, 1.0, val_pairs=drawn.val_pairs)
        found.append(TrialOutcome(f"{number:03}", Path("none"), TrialConfig(**values), status, [report], ""))
    return found


@OFTEN
@given(drawn=SEARCHES)
def test_no_finalist_is_let_go(prepared: Prepared, drawn: Drawn) -> None:
    models = Models({prepared.base.name: prepared.base}, prepared.cache, None)
    outcomes, kept, gone = outcomes_of(drawn, prepared), list[TrialOutcome](), set[str]()
    for outcome in outcomes:
        if outcome.status not in ("done", "stopped"):
            continue
        kept.append(outcome)
        let_go = {one.trial for one in releasable(kept, models, drawn.count, drawn.grid)}
        kept, gone = [one for one in kept if one.trial not in let_go], gone | let_go
    if not drawn.val_pairs:
        groups = {(one.config.dims, one.config.freeze) if drawn.grid else one.config.freeze for one in kept}
        good = all(auc > 0.5 for auc, _, _ in drawn.trials)
        assert not good or len(kept) <= drawn.count + SPARE + (1 + SPARE) * max(len(groups) - 1, 0)
    candidates = [one for one in outcomes if one.status != "failed"]
    for damaged in [None, *(one.trial for one in candidates)]:
        left = [one for one in candidates if one.trial != damaged]
        contenders = {one.trial for one in contenders_among(left, models, drawn.count, drawn.grid)}
        assert not contenders & gone, damaged


def test_a_sample_that_cannot_tell_trials_apart_keeps_them(prepared: Prepared) -> None:
    models = Models({prepared.base.name: prepared.base}, prepared.cache, None)
    near = Drawn([(auc, 0, "done") for auc in (0.8, 0.79, 0.78, 0.77, 0.5)], 1, False, 40)
    assert [one.trial for one in releasable(outcomes_of(near, prepared), models, 1, False)] == ["004"]
    exact = Drawn(near.trials, 1, False, 0)
    assert [one.trial for one in releasable(outcomes_of(exact, prepared), models, 1, False)] == ["002", "003", "004"]
