"""How often a trial that trains its base validates. One look = one report.

A frozen trial scores its validation pairs in milliseconds. Here every text takes a forward pass, so the number of
looks follows from what the trial can afford; which pairs a look scores is the same for all trials of a search.
"""

from tune.config.trial import TrialConfig
from tune.embed.base_models import is_static
from tune.train.stream import REPORTS_PER_TRIAL

# Cost of training on a pair, in forward passes. LoRA needs no gradients of the base's weights. A static base encodes by
# looking words up; its cost is the optimizer's, over all of its vectors.
_PASSES = {"full": 3, "lora": 2}
_STATIC_PASSES = 30

# (sixteenths of the plan with a report, share of the trial's passes that validation may take); the first affordable
# entry is used, or a single report at the end. All include 1, 4 and 16, where ASHA's rungs are.
_MARKS = (
    (tuple(range(1, REPORTS_PER_TRIAL + 1)), 0.13),
    ((1, 2, 4, 6, 8, 10, 12, 14, 16), 0.13),
    ((1, 4, 8, 12, 16), 0.13),
    ((1, 4, 16), 0.35),
)


def plan_looks(config: TrialConfig, pairs: int, planned_pairs: int) -> tuple[int, ...]:
    """Return the sixteenths of the plan that end in a report, ascending.

    pairs: val pairs that each report scores. planned_pairs: training pairs over all epochs. If the user chose the
    number of pairs (eval_pairs), all sixteen. Otherwise validation takes up to 13% of the trial's passes, or 35% if it
    could not afford three reports otherwise; a trial too short even for that reports once, at its end, whatever that
    takes.
    """
    if config.eval_pairs is not None:
        return _MARKS[0][0]
    cost = _STATIC_PASSES if is_static(config.base_model) else _PASSES[config.train]
    for marks, share in _MARKS:
        if len(marks) * pairs <= planned_pairs * cost * share / (1 - share):
            return marks
    return (REPORTS_PER_TRIAL,)
