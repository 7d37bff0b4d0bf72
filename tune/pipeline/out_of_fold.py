"""What stands in for opening test if all pairs are in folds: the winner is judged out of fold."""

from collections.abc import Sequence
from typing import Any

from tune.evaluate.out_of_fold import JUDGED, judge_out_of_fold
from tune.pipeline.run import Run
from tune.train.outcomes import TrialOutcome
from tune.train.trained import FoldedModel, Models, TrialModel, base_val, baseline_key


def judge_folds(
    run: Run, models: Models, outcomes: list[TrialOutcome], finalists: Sequence[TrialModel]
) -> dict[str, Any]:
    """Judge the winner, and return what the table takes in place of the scores on test: there are none.

    Writes `out_of_fold` into the summary (see `judge_out_of_fold`), and repeats to the same numbers.
    """
    finals = {baseline_key(name): base_val(base, models.cache).to_json() for name, base in models.bases.items()}
    result: dict[str, Any] = {"opened": None, "models": finals, "verdict": None}
    winner = next(iter(finalists), None)
    if not isinstance(winner, FoldedModel):
        return result
    run.say("no test side: judging the winner out of fold")
    seed = run.config.search.seed
    judgement = judge_out_of_fold(winner, outcomes, models, run.sides(models.bases)["train"], seed)
    run.summary.update(out_of_fold=judgement)
    finals |= {winner.key(dims): final.to_json() for dims, final in winner.val().items()}
    return {
        **result,
        "reason": f"there is no test side: {JUDGED}",
        "verdict": judgement["comparisons"][0],
        "verdicts": judgement["verdicts"],
        "correction": judgement["correction"],
    }
