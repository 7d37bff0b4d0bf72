"""A dry run: the split, and the plan: trials, time, disk, and what Modal and closed models would cost."""

from pathlib import Path

from tune.config.search import SearchConfig
from tune.data.split import Split
from tune.embed.closed.prices import usd
from tune.embed.purchase import report_estimates, search_estimates, total_usd
from tune.events import Emit, Message
from tune.pipeline.pairs import guards_of, read_split, with_train_sizes
from tune.pipeline.plan import Earlier, Place, planned_times
from tune.pipeline.rates import report_rates
from tune.pipeline.room import FLOAT_BYTES, largest_weights, size_shown, weights_need
from tune.pipeline.val_sample import sample_size
from tune.report.facts import duration
from tune.search.points import planned_trials, small_space

_SAME = 1.05
"""Times that differ by less are shown as one."""


def dry_run(config: SearchConfig, emit: Emit, cache: Path | None, note: str = "", place: Place | None = None) -> None:
    """Report how the pairs are split, what the search would take and what would be bought. Writes nothing.

    cache, note: as in `search_estimates` and `agree`. place: of trials; None if there would be none.
    """
    split, _ = read_split(config, emit)
    config = with_train_sizes(config, split, emit)
    if place is not None:
        for guard in guards_of(config):
            emit(Message(f"guard set {guard.name}: {len(guard.pairs):,} pairs"))
        planned = planned_trials(config)
        emit(Message(f"{config.search.search}: {planned} trials, up to {min(place.jobs, planned)} at a time"))
        if small := small_space(config):
            emit(Message(small))
        report_rates(config, emit)
        earlier = Earlier(config.search.results, place)
        emit(Message(time_line(config, int((split.side == "train").sum()), earlier)))
        if place.gpu is None:
            emit(Message(_disk_line(config, split, earlier)))
    estimates = search_estimates(config, split, cache)
    report_estimates(estimates, emit, note)
    if estimates and all(one.usd is not None for one in estimates):
        emit(Message(f"total about {usd(total_usd(estimates))} USD"))
    emit(Message("dry run: nothing was embedded, bought or written"))


def _disk_line(config: SearchConfig, split: Split, earlier: Earlier) -> str:
    """Return what the results folder and the cache need at most."""
    dims = {name: earlier.dims_of(name) for name in config.base_models}
    sides = [int((split.side == side).sum()) for side in ("train", "val")]
    sampled = 0 < sample_size(config, *sides) < sides[1]
    weights = weights_need(config, largest_weights(config, dims), planned_trials(config), earlier.place.jobs, sampled)
    vectors = 2 * len(split.pairs) * sum(dims.values()) * FLOAT_BYTES
    return (
        f"disk: at most {size_shown(weights.most)} of weights in results, {size_shown(vectors)} of vectors in the cache"
    )


def time_line(config: SearchConfig, train_pairs: int, earlier: Earlier) -> str:
    """Return how long the trials will take, on Modal with what they cost."""
    place, times = earlier.place, planned_times(config, train_pairs, earlier)
    if times is None:
        where = "on Modal with this GPU" if place.gpu is not None else "here"
        return f"time: unknown, as no search has trained these base models {where}; --max-hours and --max-usd bound it"
    at_once = min(place.jobs, planned_trials(config))
    least, most = (duration(seconds / at_once) for seconds in (times.least, times.most))
    took = f"about {most}" if times.most < _SAME * times.least else f"{least} to {most}"
    stops = "; the more trials are stopped early, the less" if config.search.search == "asha" else ""
    line = f"time: the trials take {took}, by {times.origin}{stops}"
    if place.gpu is None:
        return line
    hours = [seconds / 3600 for seconds in (times.least, times.most)]
    line += f"; {hours[0]:.2g} to {hours[1]:.2g} GPU hours"
    if place.usd_per_hour is None:
        return f"{line} at an unknown price (--gpu-usd-per-hour)"
    low, high = (rate * hour for rate, hour in zip(place.usd_per_hour, hours, strict=True))
    return f"{line}, about {usd(low)} to {usd(high)} USD, without container starts"
