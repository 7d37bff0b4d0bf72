"""Trials with text-disjoint folds: one fit per fold, their numbers, recovery from a kill, and the refit."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.helpers.conformance import Place, TestStream, lock_is_free, same_numbers
from tests.helpers.frozen_trials import KILLED_AFTER, numpy_cosine, train_until_killed
from tests.helpers.tiny import Prepared
from tune.config.search import search_config
from tune.config.space import LOSSES
from tune.config.trial import TrialConfig
from tune.data.clean import normalise
from tune.data.sides import LabelledPairs
from tune.data.split import labelled_sides
from tune.embed.prepare import ViewOptions, prepare_base
from tune.embed.sources import load_source
from tune.embed.view import PairRows, View, write_folds, write_view
from tune.errors import DataError
from tune.events import ignore
from tune.metrics.score import fit_thresholds
from tune.pipeline.pairs import read_split
from tune.train import directory as directory_module
from tune.train.directory import TrialDirectory
from tune.train.frozen.dense import load_dense
from tune.train.frozen.held_out import FILE, kept_scores
from tune.train.frozen.refit import mean_best_budget, out_of_fold, refit
from tune.train.frozen.trial import open_frozen_trial
from tune.train.local import LocalOpener
from tune.train.stream import Report, TrialFailed
from tune.train.trained import base_val

__all__ = ["TestStream"]

FOLDS, SEEDS = 3, (0, 1, 2)


@pytest.fixture(scope="module")
def sides() -> dict[str, LabelledPairs]:
    split, _ = read_split(search_config(space={"base_model": "wordllama"}), ignore)
    return labelled_sides(split, 0)


def add_folds(prepared: Prepared, sides: dict[str, LabelledPairs], seed: int) -> str:
    prompts = (prepared.base.prompt_a, prepared.base.prompt_b)
    view = ViewOptions(folds=FOLDS, seed=seed)
    return prepare_base(load_source(prepared.base.name), sides, prepared.cache, prompts, view).digest


@pytest.fixture(scope="module", autouse=True)
def folded(prepared: Prepared, sides: dict[str, LabelledPairs]) -> None:
    """Add folds to the session's view, for the seeds that the tests use."""
    assert {add_folds(prepared, sides, seed) for seed in SEEDS} == {prepared.base.digest}, "the view is the same"


@pytest.fixture(params=[(), (8, 16)], ids=["plain", "matryoshka"])
def place(prepared: Prepared, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Trials with folds in this process; each takes as long as several trials, so they are short."""
    changes = {"folds": FOLDS, "matryoshka": request.param, "learning_rate": 1e-2}
    return Place(
        open=LocalOpener({prepared.base.name: prepared.view_path}),
        config=lambda **more: prepared.config(**(changes | more)),
        directory=lambda config: tmp_path / config.digest(prepared.base.digest),
        idle=lambda: all(lock_is_free(lock) for lock in tmp_path.glob("**/.lock")),
    )


def fold_view(view: View, own: int, folds: int = FOLDS, seed: int = 0) -> View:
    """Return the view with which a plain trial equals the fit of one fold."""
    pairs, fold = view.train_and_val(), view.folds(folds, seed)
    return View(view.vectors, pairs.take(fold != own), pairs.take(fold == own), f"fold {own}")


def best_of(reports: list[Report]) -> Report:
    return max(reports, key=lambda report: report.auc)


def test_no_text_is_in_two_folds_of_a_view(prepared: Prepared, sides: dict[str, LabelledPairs]) -> None:
    train, val = sides["train"], sides["val"]
    fold = prepared.view.folds(FOLDS, 0)
    assert fold.dtype == np.int8 and len(fold) == len(prepared.view.train_and_val()) == len(train) + len(val)
    seen: dict[str, int] = {}
    for a, b, own in zip(train.text_a + val.text_a, train.text_b + val.text_b, fold.tolist(), strict=True):
        assert seen.setdefault(normalise(a), own) == own and seen.setdefault(normalise(b), own) == own
    pairs = prepared.view.train_and_val()
    rows = [set(np.concatenate([pairs.a[fold == own], pairs.b[fold == own]]).tolist()) for own in range(FOLDS)]
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
    assert set(np.unique(fold[: len(train)])) == set(np.unique(fold[len(train) :])) == set(range(FOLDS))


@pytest.mark.parametrize("options", [{"dropout": 0.1}, {"train_size": 300}, {"matryoshka": (8,)}], ids=str)
def test_a_report_combines_those_of_plain_trials_on_each_fold(
    prepared: Prepared, tmp_path: Path, options: dict[str, object]
) -> None:
    reports = list(open_frozen_trial(prepared.config(folds=FOLDS, **options), tmp_path / "folds", prepared.view))
    parts = [
        list(open_frozen_trial(prepared.config(**options), tmp_path / str(own), fold_view(prepared.view, own)))
        for own in range(FOLDS)
    ]
    for report, *of_fold in zip(reports, *parts, strict=True):
        assert report.fold_aucs == tuple(part.auc for part in of_fold)
        assert report.auc == pytest.approx(np.mean(report.fold_aucs), abs=1e-12)
        assert report.auc_std == pytest.approx(np.std(report.fold_aucs, ddof=1), abs=1e-12)
        assert report.budget == pytest.approx(np.mean([part.budget for part in of_fold]))
        assert report.loss == pytest.approx(np.mean([part.loss for part in of_fold]))
        for dims, auc in report.auc_by_dims.items():
            at_dims = [part.auc_by_dims[dims] for part in of_fold]
            assert auc == pytest.approx(np.mean(at_dims))
            assert report.auc_std_by_dims[dims] == pytest.approx(np.std(at_dims, ddof=1), abs=1e-12)
        assert bool(report.auc_by_dims) == bool(report.auc_std_by_dims) == ("matryoshka" in options)


def test_reports_of_an_earlier_version_are_read() -> None:
    """Those of 0.1.0 have the spread over the folds at the smallest dims alone."""
    now = report(1, 0.5, 0.6, 0.5, 0.7)
    earlier = {name: value for name, value in json.loads(now.to_line()).items() if name != "auc_std_by_dims"}
    assert Report.from_line(json.dumps(earlier)) == now and now.auc_std_by_dims == {}


def test_untouched_base_models_are_scored_on_the_pairs_and_folds_of_the_trials(
    prepared: Prepared, sides: dict[str, LabelledPairs]
) -> None:
    prompts = (prepared.base.prompt_a, prepared.base.prompt_b)
    source = load_source(prepared.base.name)
    base = prepare_base(source, sides, prepared.cache, prompts, ViewOptions(folds=FOLDS, seed=1))
    untouched = base_val(base, prepared.cache)
    pairs, fold = prepared.view.train_and_val(), prepared.view.folds(FOLDS, 1)
    vectors = prepared.view.vectors.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (unit[pairs.a] * unit[pairs.b]).sum(1)
    aucs = [roc_auc_score(pairs.label[fold == own], scores[fold == own]) for own in range(FOLDS)]
    assert untouched.val_auc == pytest.approx(np.mean(aucs), abs=1e-5)
    assert untouched.val_auc_std == pytest.approx(np.std(aucs, ddof=1), abs=1e-5)
    fitted = fit_thresholds(scores, pairs.label)
    assert untouched.threshold == pytest.approx(fitted.accuracy, abs=1e-5)
    assert untouched.logistic_threshold == pytest.approx(fitted.logistic, abs=1e-4)
    plain = base_val(prepared.base, prepared.cache)
    val = roc_auc_score(prepared.view.val.label, scores[len(prepared.view.train) :])
    assert plain.val_auc == pytest.approx(val, abs=1e-5) and plain.val_auc_std is None
    assert plain.val_auc != untouched.val_auc


def without_val(view: View, root: Path) -> View:
    """Return a view with all pairs in train, in the same folds."""
    pairs, fold = view.train_and_val(), view.folds(FOLDS, 0)
    path = write_view(root, "all", np.array(view.vectors), pairs, pairs.take(slice(0, 0)))
    write_folds(path, fold, FOLDS, 0)
    return View.open(path)


@pytest.mark.parametrize("smaller", [(), (8,)], ids=["plain", "matryoshka"])
def test_without_val_the_out_of_fold_scores_of_every_report_are_kept(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smaller: tuple[int, ...]
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    view, config = without_val(prepared.view, tmp_path), prepared.config(folds=FOLDS, matryoshka=smaller)
    reports = list(open_frozen_trial(config, tmp_path / "whole", view))
    scores = kept_scores(tmp_path / "whole", reports, len(view.train))
    fold, label = view.folds(FOLDS, 0), view.train.label
    for report, row in zip(reports, scores, strict=True):
        aucs = [roc_auc_score(label[fold == own], row[fold == own]) for own in range(FOLDS)]
        assert aucs == pytest.approx(report.fold_aucs, abs=1e-4)
    best = best_of(reports).number - 1
    expected, _ = out_of_fold(config, tmp_path / "whole" / "best.safetensors", view, config.all_dims[0])
    assert np.allclose(scores[best], expected, atol=1e-6)
    # Killed before a report's line was written, its scores are written to the same place again.
    stream = open_frozen_trial(config, tmp_path / "parts", view)
    begun = [next(stream) for _ in range(5)]
    stream.close()
    TrialDirectory(tmp_path / "parts").keep_reports(begun[:3])
    assert [same_numbers(one) for one in open_frozen_trial(config, tmp_path / "parts", view)] == [
        same_numbers(one) for one in reports
    ]
    assert np.array_equal(kept_scores(tmp_path / "parts", reports, len(view.train)), scores)
    with pytest.raises(ValueError, match="does not hold"):
        kept_scores(tmp_path / "parts", [*reports, reports[-1]], len(view.train))
    list(open_frozen_trial(config, tmp_path / "with val", prepared.view))
    assert not (tmp_path / "with val" / FILE).exists(), "a test side judges such trials"


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(prepared: Prepared, tmp_path: Path, loss: str) -> None:
    # The angle loss is slow to learn, see test_matryoshka.
    config = prepared.config(loss=loss, epochs=8 if loss == "angle" else 4, folds=FOLDS, matryoshka=(8,))
    reports = list(open_frozen_trial(config, tmp_path, prepared.view))
    assert reports[-1].best_auc > 0.6 and all(len(report.fold_aucs) == FOLDS for report in reports)


@pytest.mark.parametrize("smaller", [(), (8, 16)], ids=["plain", "matryoshka"])
def test_the_kept_weights_score_the_held_out_pairs_as_reported(
    prepared: Prepared, tmp_path: Path, smaller: tuple[int, ...]
) -> None:
    config = prepared.config(
        loss="mnr", learning_rate=0.1, scheduler="constantlr", epochs=20, folds=FOLDS, matryoshka=smaller
    )
    reports = list(open_frozen_trial(config, tmp_path, prepared.view))
    best = best_of(reports)
    assert best.number < 16, "the trial must get worse towards its end"
    weights, pairs = tmp_path / "best.safetensors", prepared.view.train_and_val()
    fold = prepared.view.folds(FOLDS, 0)
    for dims in (*smaller, 32):
        scores, label = out_of_fold(config, weights, prepared.view, dims)
        assert scores.dtype == np.float64 and label.dtype == np.int8 and np.array_equal(label, pairs.label)
        aucs = [roc_auc_score(label[fold == own], scores[fold == own]) for own in range(FOLDS)]
        if dims == config.all_dims[0]:
            assert aucs == pytest.approx(best.fold_aucs, abs=1e-9)
            assert ((scores >= best.threshold) == (label == 1)).mean() == pytest.approx(best.accuracy)
        if smaller:
            assert np.mean(aucs) == pytest.approx(best.auc_by_dims[str(dims)], abs=1e-9)
        for own in range(FOLDS):
            held_out = numpy_cosine(weights, prepared.view.vectors, pairs.take(fold == own), dims, f"{own}.")
            assert np.allclose(scores[fold == own], held_out, atol=1e-5)
    whole, _ = out_of_fold(config, weights, prepared.view)
    assert np.array_equal(whole, scores), "without dims, all components"


def test_kill_9_half_way_ends_as_if_never_killed(prepared: Prepared, tmp_path: Path) -> None:
    config = prepared.config(dropout=0.1, folds=FOLDS, matryoshka=(8,))
    expected = list(open_frozen_trial(config, tmp_path / "whole", prepared.view))
    train_until_killed(config, tmp_path / "killed", prepared.view_path, 0.0)
    trial = TrialDirectory(tmp_path / "killed")
    assert len(trial.reports()) == KILLED_AFTER and trial.state.exists() and not trial.done
    resumed = list(open_frozen_trial(config, tmp_path / "killed", prepared.view))
    assert [same_numbers(r) for r in resumed] == [same_numbers(r) for r in expected]
    assert trial.done and trial.reports() == resumed
    files = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


def closed_and_resumed(view: View, config: TrialConfig, directory: Path, after: int) -> list[Report]:
    stream = open_frozen_trial(config, directory, view)
    seen = [next(stream) for _ in range(after)]
    stream.close()
    resumed = list(open_frozen_trial(config, directory, view))
    assert resumed[:after] == seen
    return resumed


@pytest.mark.parametrize("state", ["with-state", "without-state", "state-of-an-earlier-version"])
def test_closed_half_way_ends_as_if_never_closed(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 1e9 if state == "without-state" else 0.0)
    config = prepared.config(dropout=0.1, folds=FOLDS)
    expected = [same_numbers(r) for r in open_frozen_trial(config, tmp_path / "whole", prepared.view)]
    if state == "state-of-an-earlier-version":
        save = torch.save
        monkeypatch.setattr(torch, "save", lambda values, part: save({"step": 3, "dense": {}}, part))
    resumed = closed_and_resumed(prepared.view, config, tmp_path / "parts", 9)
    assert [same_numbers(r) for r in resumed] == expected


def uneven_view(prepared: Prepared, root: Path) -> View:
    """Return a view with two folds of 130 and 100 pairs: plans of two and three batches of 50 per epoch."""
    pairs = prepared.view.train_and_val().prefix(230)
    train, val = pairs.prefix(200), pairs.take(np.arange(200, 230))
    path = write_view(root, "uneven", np.array(prepared.view.vectors), train, val)
    write_folds(path, np.repeat(np.array([0, 1], np.int8), [130, 100]), 2, 0)
    return View.open(path)


def test_folds_with_plans_of_different_lengths_line_up(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    view = uneven_view(prepared, tmp_path)
    config = prepared.config(folds=2, batch_size=50, epochs=3)
    reports = list(open_frozen_trial(config, tmp_path / "whole", view))
    short, long = (
        list(
            open_frozen_trial(
                prepared.config(batch_size=50, epochs=3), tmp_path / str(own), fold_view(view, own, folds=2)
            )
        )
        for own in range(2)
    )
    assert (len(short), len(long), len(reports)) == (6, 9, 9)
    for number, report in enumerate(reports, 1):
        parts = (short[min(number, 6) - 1], long[number - 1])
        assert report.fold_aucs == tuple(part.auc for part in parts)
        assert report.budget == pytest.approx((parts[0].budget + parts[1].budget) / 2)
        assert report.loss == pytest.approx((parts[0].loss + parts[1].loss) / 2)
        assert report.last == (number == 9)
    assert reports[-1].budget == 1.0
    for after in (3, 7):
        resumed = closed_and_resumed(view, config, tmp_path / f"parts-{after}", after)
        assert [same_numbers(r) for r in resumed] == [same_numbers(r) for r in reports]


def test_a_refit_repeats_itself_and_stops_at_its_budget(prepared: Prepared, tmp_path: Path) -> None:
    pairs = prepared.view.train_and_val()
    together = View(prepared.view.vectors, pairs, prepared.view.val, "together")
    for options in ({"dropout": 0.1}, {"loss": "mnr", "train_size": 3300}, {"matryoshka": (8,)}):
        folder = tmp_path / str(options)
        plain = prepared.config(**options)
        stream = open_frozen_trial(plain, folder / "plain", together)
        for _ in range(6):
            report = next(stream)
            assert report.auc == report.best_auc, "the weights on disk are those of the latest report"
        stream.close()
        config = prepared.config(folds=FOLDS, **options)
        refit(config, prepared.view, report.budget, folder / "refit.safetensors")
        first = (folder / "refit.safetensors").read_bytes()
        assert first == (folder / "plain" / "best.safetensors").read_bytes()
        refit(config, prepared.view, report.budget, folder / "refit.safetensors")
        assert (folder / "refit.safetensors").read_bytes() == first
        refit(config, prepared.view, 1.0, folder / "refit.safetensors")
        assert (folder / "refit.safetensors").read_bytes() != first
        assert load_dense(config, folder / "refit.safetensors", prepared.base.dims).linear.weight.shape[0] == 32


def report(number: int, budget: float, auc: float, *fold_aucs: float) -> Report:
    return Report(number, budget, auc, auc, 0.5, 0.5, 1.0, 1.0, 1.0, fold_aucs=fold_aucs)


def test_the_mean_best_budget_averages_each_folds_own_best() -> None:
    reports = [report(1, 0.2, 0.6, 0.5, 0.7), report(2, 0.6, 0.6, 0.6, 0.6), report(3, 1.0, 0.6, 0.6, 0.6)]
    assert mean_best_budget(reports) == pytest.approx((0.6 + 0.2) / 2)
    assert mean_best_budget([report(1, 0.3, 0.6), report(2, 0.7, 0.8), report(3, 1.0, 0.7)]) == 0.7
    with pytest.raises(ValueError, match="no reports"):
        mean_best_budget([])


def test_invalid_folds_and_refits_are_refused(
    prepared: Prepared, sides: dict[str, LabelledPairs], tmp_path: Path
) -> None:
    source, prompts = load_source(prepared.base.name), (prepared.base.prompt_a, prepared.base.prompt_b)
    bare = {side: replace(pairs, component=None) for side, pairs in sides.items()}
    with pytest.raises(ValueError, match="components"):
        prepare_base(source, bare, tmp_path, prompts, ViewOptions(folds=3))
    one = {side: replace(pairs, component=np.zeros(len(pairs), np.int64)) for side, pairs in sides.items()}
    with pytest.raises(DataError, match="leave --folds out"):
        prepare_base(source, one, tmp_path, prompts, ViewOptions(folds=3))
    assert not any(tmp_path.iterdir()), "before anything is embedded"
    for budget in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="budget"):
            refit(prepared.config(folds=FOLDS), prepared.view, budget, tmp_path / "refit")
    negatives = prepared.view.train.take(prepared.view.train.label == 0)
    nothing = View(prepared.view.vectors, negatives, PairRows(*(np.zeros(0, np.int64),) * 2, np.zeros(0, np.int8)), "")
    with pytest.raises(TrialFailed, match="positive"):
        refit(prepared.config(loss="mnr"), nothing, 1.0, tmp_path / "refit")
    with pytest.raises(TrialFailed, match="learning rate"):
        refit(prepared.config(learning_rate=3e38, scheduler="constantlr"), prepared.view, 1.0, tmp_path / "refit")
    with pytest.raises(FileNotFoundError):
        list(open_frozen_trial(prepared.config(folds=7), tmp_path / "never-made", prepared.view))
    list(open_frozen_trial(prepared.config(epochs=1), tmp_path / "plain", prepared.view))
    with pytest.raises(ValueError, match="not a weight of 3 folds"):
        out_of_fold(prepared.config(folds=FOLDS), tmp_path / "plain" / "best.safetensors", prepared.view)
    list(open_frozen_trial(prepared.config(epochs=1, folds=FOLDS), tmp_path / "folds", prepared.view))
    with pytest.raises(RuntimeError):
        load_dense(prepared.config(), tmp_path / "folds" / "best.safetensors", prepared.base.dims)


def test_existing_folds_stay_and_damaged_ones_are_rebuilt(prepared: Prepared, sides: dict[str, LabelledPairs]) -> None:
    path = prepared.view_path / f"folds-{FOLDS}-2.npy"
    whole, before = path.read_bytes(), os.stat(path).st_mtime_ns
    add_folds(prepared, sides, 2)
    assert os.stat(path).st_mtime_ns == before
    for damage in (b"", whole[:-9], b"garbage"):
        path.write_bytes(damage)
        add_folds(prepared, sides, 2)
        assert path.read_bytes() == whole
