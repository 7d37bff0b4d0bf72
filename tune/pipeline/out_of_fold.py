"""What stands in for opening test if all pairs are in folds: the winner is judged out of fold."""

from collections.abc import Sequence
from typing import Any

from tune.embed.tfidf import TFIDF
from tune.evaluate.out_of_fold import JUDGED, judge_out_of_fold
from tune.evaluate.tfidf import tfidf_on_val
from tune.pipeline.keep_scores import keep_folded
from tune.pipeline.phases import unopened
from tune.pipeline.run import Run
from tune.train.folded import FoldedModel
from tune.train.outcomes import TrialOutcome
from tune.train.trained import Models, TrialModel, base_on_val, baseline_key


def judge_folds(
    run: Run, models: Models, outcomes: list[TrialOutcome], finalists: Sequence[TrialModel]
) -> dict[str, Any]:
    """Judge the winner, and return what the table takes in place of the scores on test: there are none.

    Writes `out_of_fold` into the summary (see `judge_out_of_fold`), and repeats to the same numbers.
    """
    sides, seed = run.sides(models.bases), run.config.search.seed
    pairs, tfidf = sides["train"], tfidf_on_val(sides, models, seed)
    untouched = {name: base_on_val(base, models.cache) for name, base in models.bases.items()}
    untouched[TFIDF] = tfidf.final, tfidf.val
    finals = {baseline_key(name): final.to_json() for name, (final, _) in untouched.items()}
    result = unopened(finals, tfidf)
    winner = next(iter(finalists), None)
    if not isinstance(winner, FoldedModel):
        return result
    run.say("no test side: judging the winner out of fold")
    cosines = {name: scores for name, (_, scores) in untouched.items()}
    judgement = judge_out_of_fold(winner, outcomes, models, pairs, cosines, seed)
    of_winner = {winner.key(winner.dims[0]): winner.best_out_of_fold()}
    keep_folded(run, pairs, {baseline_key(name): scores for name, scores in cosines.items()} | of_winner)
    run.summary.update(out_of_fold=judgement)
    finals |= {winner.key(dims): final.to_json() for dims, final in winner.val().items()}
    return {
        **result,
        "reason": f"there is no test side: {JUDGED}",
        "verdict": judgement["comparisons"][0],
        "verdicts": judgement["verdicts"],
        "correction": judgement["correction"],
    }
