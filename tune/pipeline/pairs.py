"""The pairs of a command, read, cleaned and split, before anything heavy is imported."""

from collections.abc import Sequence
from typing import Any

from tune.config.search import SearchConfig
from tune.config.train_sizes import Doubling, listed
from tune.config.trial import RANKING_LOSSES
from tune.data.clean import clean_pairs
from tune.data.guards import Guard, read_guards
from tune.data.lengths import text_lengths
from tune.data.pairs import Pairs, read_pairs
from tune.data.sides import HELD_OUT, SIDES
from tune.data.split import Split, split_pairs, text_overlaps, train_order
from tune.errors import ConfigError
from tune.events import Emit, Message, ignore

NOT_DROPPED = ("read", "kept", "identical_kept", "other_score")
"""Counts of cleaning that are no reason to drop a row."""
_STEPS = 16
"""All pairs over the first size that is proposed where LOW:all begins too high: enough sizes to fit a power law."""


def read_split(
    config: SearchConfig, emit: Emit, data: str | None = None, *, begun: bool = False
) -> tuple[Split, dict[str, Any]]:
    """Read, clean and split the pairs; return the split, and what the summary says about them.

    data: where the pairs are on this machine, if not where the configuration says. begun: whether this resumes
    a search. Raises UserError if they cannot be searched on.
    """
    raw = read_pairs(config.data if data is None else config.data.model_copy(update={"data": data}), emit)
    if raw.synthetic:
        emit(Message("No --data given: searching the embedded demo pairs (synthetic support questions)."))
    if raw.hint:
        emit(Message(raw.hint))
    pairs, cleaned = clean_pairs(raw, emit)
    split = split_pairs(pairs, config.search.seed, config.data.split, config.search.folds, emit)
    config = with_train_sizes(config, split, ignore)
    if not begun:
        _refuse_no_positives(config, split)
    for line in _read_lines(raw, cleaned):
        emit(Message(line))
    emit(Message(_split_line(split, config.search.folds)))
    if split.queries:
        emit(Message(_queries_line(split, config.data.split)))
    facts = {
        "source": raw.source,
        "synthetic": raw.synthetic,
        "columns": raw.columns.__dict__,
        "labels": raw.meaning.text,
        "counts": cleaned,
        "lengths": text_lengths(split.pairs.text_a, split.pairs.text_b),
        "split": split.counts,
        "split_hash": split.digest,
        "leaks": {"texts_seen_in_train": text_overlaps(split)},
    }
    if raw.scale is not None:
        facts["scores"] = {"column": raw.scale.column, "low": raw.scale.low, "high": raw.scale.high}
    return split, facts


def with_train_sizes(config: SearchConfig, split: Split, emit: Emit) -> SearchConfig:
    """Return the configuration with train sizes that depend on the data (LOW:all) as numbers, and report these.

    Raises ConfigError if a size is larger than what there is to train on, or if all pairs are less than twice LOW.
    """
    folds = config.search.folds
    rows = {side: int((split.side == side).sum()) for side in SIDES}
    # Each fold trains on the others; a larger size would be the same trial under another name.
    there = rows["train"] if not folds else (rows["train"] + rows["val"]) * (folds - 1) // folds
    where = f"the train side has {there} pairs" if not folds else f"{folds} folds leave {there} pairs to train on"
    if large := [size for size in config.train_sizes if size > there]:
        raise ConfigError([f"[space] train_size: {large[0]} is too large: {where}; choose a smaller size"])
    spaces = []
    for space in config.spaces:
        if isinstance(sizes := space.train_size, Doubling):
            if there < 2 * sizes.low:
                needs = f"{sizes} needs at least {2 * sizes.low} pairs, but {where}"
                lower = Doubling(max(there // _STEPS, 1))
                raise ConfigError([f"[space] train_size: {needs}; begin lower, such as --train-size {lower}"])
            space = space.model_copy(update={"train_size": sizes.up_to(there)})
            doubled = ", ".join(f"{size:,}" for size in listed(space.train_size) if size)
            emit(Message(f"train sizes: {doubled}, all {there:,}"))
        spaces.append(space)
    return config.model_copy(update={"spaces": tuple(dict.fromkeys(spaces))})


def guards_of(config: SearchConfig, places: Sequence[str | None] = ()) -> list[Guard]:
    """Read the guard sets of a search; none if all its base models are closed. places: as of `read_guards`."""
    if len(config.closed_models) == len(config.base_models):
        return []
    return read_guards(config.data, config.search.seed, places)


def _read_lines(raw: Pairs, counts: dict[str, int]) -> list[str]:
    """Return lines on the rows that were read and dropped, on labels that are not plain 0/1, and on graded scores."""
    dropped = [f"{n} {name}" for name, n in counts.items() if n and name not in NOT_DROPPED]
    lines = [
        f"{raw.source}: {counts['read']} pairs read, {counts['kept']} kept"
        + (f" ({', '.join(dropped)})" if dropped else "")
    ]
    if raw.meaning.notable:
        lines.append(f"labels: column {raw.columns.label!r}, {raw.meaning.text}")
    if raw.scale is not None:
        other = counts["other_score"]
        repeated = f"; {other} repeated pairs had another score than the row that is kept" if other else ""
        lines.append(f"scores: column {raw.scale.column!r}, {raw.scale.described()}{repeated}")
    return lines


def _refuse_no_positives(config: SearchConfig, split: Split) -> None:
    """Raise ConfigError if a loss that learns from positives would see none. Train as a whole has both classes."""
    ranking = [space for space in config.spaces if RANKING_LOSSES.intersection(space.loss)]
    size = min((size for space in ranking for size in listed(space.train_size) if size), default=0)
    if not size or config.search.folds:
        return
    first = train_order(split, config.search.seed)[:size]
    if not (split.pairs.label[first] == 1).any():
        loss = next(loss for loss in ranking[0].loss if loss in RANKING_LOSSES)
        raise ConfigError(
            [
                f"[space] loss: {loss} learns from positive pairs, but train_size={size} "
                f"includes none; use a larger size, or drop {loss}"
            ]
        )


def _split_line(split: Split, folds: int) -> str:
    if split.out_of_fold:
        labels = split.pairs.label
        return (
            f"split: test would be too small, so there is none: all {len(labels)} pairs ({labels.mean():.0%} positive)"
            f" are in {folds} folds, and the winner is judged out of fold"
        )
    return "split: " + ", ".join(_side_line(split, side) for side in SIDES)


def _side_line(split: Split, side: str) -> str:
    labels = split.pairs.label[split.side == side]
    return f"{side} {len(labels)} pairs" + (f" ({labels.mean():.0%} positive)" if len(labels) else "")


def _queries_line(split: Split, mode: str) -> str:
    counts = split.counts["queries"]
    in_train = ", ".join(
        f"{side} {counts['in_train'][side]['seen']} of {counts['in_train'][side]['of']}" for side in HELD_OUT
    )
    chosen = ", which repeat less" if mode == "queries" else ""
    where, seen = ("in one fold", "") if split.out_of_fold else ("on one side", f", also in train: {in_train}")
    return (
        f"split {mode}: the texts of {counts['apart']!r} ({counts['apart_texts']}{chosen}) are {where} each; "
        f"those of {counts['shared']!r} ({counts['shared_texts']}) are shared by design{seen}"
    )
