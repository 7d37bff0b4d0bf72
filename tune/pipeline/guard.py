"""Keeps what the base model knew: scores guard sets, and merges trained base models with their untouched weights.

All of it on val and guard sets, before test is opened, and never a second time: what is in the summary stays.
"""

from collections.abc import Sequence
from typing import Any

from tune.data.clean import normalise
from tune.errors import ResultsError
from tune.evaluate.guard import GuardScores, choose_share, fallen
from tune.pipeline.run import Run
from tune.train.trained import Models, TrialModel


def record_guards(run: Run) -> None:
    """Write the guard sets into the summary as `guard`, and say how many of their texts are also in train.

    Raises ResultsError if they are not those that the search began with.
    """
    if run.config.data.guard is not None and run.config.data.guards and run.config.closed_models:
        closed = ", ".join(run.config.closed_models)
        run.say(f"guard sets are not scored with closed models, which would have to sell every text: {closed}")
    if not run.guards:
        return
    kept: list[dict[str, Any]] = (run.summary.get("guard") or {}).get("sets") or []
    for one, guard in zip(kept, run.guards, strict=False):
        if one["hash"] != guard.digest:
            raise ResultsError(f"guard set {guard.name} has changed since this search began; start a new one")
    if kept:
        return
    train = run.split.side == "train"
    pairs = run.split.pairs
    seen = {
        normalise(text)
        for texts in (pairs.text_a, pairs.text_b)
        for text, trains in zip(texts, train.tolist(), strict=True)
        if trains
    }
    sets = [guard.facts(seen) for guard in run.guards]
    for one in sets:
        most = f" of {one['kept']:,}" if one["kept"] > one["pairs"] else ""
        run.say(
            f"guard set {one['name']}: {one['pairs']:,}{most} pairs, {one['positives']:,} positive; texts also in"
            f" train: {one['texts_in_train']} of {one['texts']:,}"
        )
    if run.config.whole:
        _warn_of_test_pairs(run)
    run.summary.update(guard={"sets": sets, "limit": run.config.search.guard_loss})


def _warn_of_test_pairs(run: Run) -> None:
    """Warn of guard sets with test pairs: a share that was chosen on them flatters the winner on test."""
    pairs, side = run.split.pairs, run.split.side.tolist()
    texts = zip(pairs.text_a, pairs.text_b, side, strict=True)
    test = [(a, b) for a, b, own in texts if own == "test"]
    for guard in run.guards:
        if count := guard.pairs_among(test):
            run.say(
                f"Warning: guard set {guard.name}: {count:,} of its {len(guard.pairs):,} pairs are test pairs, and it"
                " decides how much of its training the winner keeps; leave them out, or the test scores flatter it"
            )


def keep_the_rest(run: Run, models: Models, finalists: Sequence[TrialModel]) -> list[TrialModel]:
    """Return the finalists as they are reported: merged where training has cost too much on the guard sets.

    Writes `merge` into the summary (trial -> `Share`), and then the guard scores of all models into `guard`.
    finalists: in the order that was fixed, which stays.
    """
    done: dict[str, dict[str, Any]] = dict(run.summary.get("merge") or {})
    guard = run.summary.get("guard")
    if guard is None or "models" in guard or run.folder.test.exists():
        return [_merged(models, model, done) for model in finalists]
    with run.clock.phase("guard"):
        scores = GuardScores(run.guards, models, run.config.search.seed)
        kept = []
        for number, model in enumerate(finalists):
            if model.kind.trains_base and model.outcome.trial not in done:
                _choose(run, models, model, scores, done, first=number == 0)
            kept.append(_merged(models, model, done))
        entries = scores.of_all(kept)
    winner = entries.get(kept[0].key(kept[0].dims[0])) if kept else None
    run.summary.update(guard={**guard, "models": entries, "sentences": fallen(winner) if winner else []})
    run.backend.commit()
    return kept


def _merged(models: Models, model: TrialModel, done: dict[str, dict[str, Any]]) -> TrialModel:
    entry = done.get(model.outcome.trial)
    return model if entry is None else models.merged(model.outcome, entry["share"])


def _choose(
    run: Run,
    models: Models,
    model: TrialModel,
    scores: GuardScores,
    done: dict[str, dict[str, Any]],
    *,
    first: bool,
) -> None:
    """Choose a trial's share and write it down, with its numbers on val. first: whether it is the winner."""
    from tune.train.whole.trained import MixedModel  # most searches train no base model

    trial, limit = model.outcome.trial, run.config.search.guard_loss
    run.say(f"trial {trial[:8]}: finding the share of its training that keeps the guard sets")
    mixed = MixedModel.of(model.outcome, models)
    share = choose_share(mixed, scores, limit, whole=first, report=run.say)
    run.say(f"trial {trial[:8]}: {share.sentence()}")
    done[trial] = share.to_json()
    changed: dict[str, Any] = {"merge": done}
    if share.share != 1.0:
        finals = models.merged(model.outcome, share.share).val()
        keys = {model.key(dims): final for dims, final in finals.items()}
        # `contenders` stays: it is what ranked the trials.
        spearman = dict(run.summary.get("val_spearman") or {})
        spearman |= {key: final.val_spearman for key, final in keys.items() if key in spearman}
        changed |= {"val_spearman": spearman} if spearman else {}
        winner = run.summary["winner"]
        if first:
            of_first = finals[model.dims[0]]
            rho = {} if of_first.val_spearman is None else {"val_spearman": of_first.val_spearman}
            changed["winner"] = {**winner, "val_auc": of_first.val_auc, **rho}
    run.summary.update(**changed)
    run.backend.commit()
