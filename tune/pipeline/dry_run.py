"""A dry run: the split, the number of trials and what closed models would cost; nothing is written."""

from pathlib import Path

from tune.config.search import SearchConfig
from tune.embed.closed.prices import usd
from tune.embed.purchase import report_estimates, search_estimates, total_usd
from tune.events import Emit, Message
from tune.pipeline.pairs import guards_of, read_split, with_train_sizes
from tune.pipeline.rates import report_rates
from tune.search.points import planned_trials, small_space


def dry_run(config: SearchConfig, emit: Emit, cache: Path | None, note: str = "", trials: bool = True) -> None:
    """Report how the pairs are split, how many trials there would be and what would be bought. Writes nothing.

    cache, note: as in `search_estimates` and `agree`. trials: whether there would be any.
    """
    split, _ = read_split(config, emit)
    config = with_train_sizes(config, split, emit)
    if trials:
        for guard in guards_of(config):
            emit(Message(f"guard set {guard.name}: {len(guard.pairs):,} pairs"))
        emit(Message(f"{config.search.search}: {planned_trials(config)} trials"))
        if small := small_space(config):
            emit(Message(small))
        report_rates(config, emit)
    estimates = search_estimates(config, split, cache)
    report_estimates(estimates, emit, note)
    if estimates and all(one.usd is not None for one in estimates):
        emit(Message(f"total about {usd(total_usd(estimates))} USD"))
    emit(Message("dry run: nothing was embedded, bought or written"))
