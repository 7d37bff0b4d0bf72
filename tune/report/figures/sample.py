"""Which trials a figure draws one by one: all of a usual search, and some of one with thousands."""

from collections.abc import Sequence
from typing import TypeVar

from tune.report.story import Story
from tune.train.outcomes import TrialOutcome

DRAWN = 500
"""Most trials with a mark of their own. A figure of thousands of lines shows no more, and takes minutes to draw."""
_BEST = 100

_Item = TypeVar("_Item")


def drawn(story: Story) -> list[TrialOutcome]:
    """Return the trials to draw, as they began: all up to DRAWN, else the best and as many others as fit, spread."""
    if len(story.trials) <= DRAWN:
        return story.trials
    by_auc = sorted(story.trials, key=lambda trial: -(trial.best.auc if trial.best else 0.0))
    best = {trial.trial for trial in by_auc[:_BEST]}
    others = spread([trial for trial in story.trials if trial.trial not in best], DRAWN - _BEST)
    chosen = best | {trial.trial for trial in others}
    return [trial for trial in story.trials if trial.trial in chosen]


def spread(items: Sequence[_Item], count: int) -> list[_Item]:
    """Return at most `count` of the items, evenly spread over their order."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def not_all(story: Story) -> str:
    """Return the end of a subtitle that says which trials are drawn; "" if all are."""
    if len(story.trials) <= DRAWN:
        return ""
    return (
        f"; of {len(story.trials):,} trials, the best {_BEST} are drawn and {DRAWN - _BEST} others, evenly spread over"
        " the search"
    )
