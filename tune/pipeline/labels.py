"""A check of the labels by the untouched base models, before any trial."""

from tune.embed.similarity import cosine
from tune.embed.view import View
from tune.evaluate.inverted import inverted
from tune.pipeline.run import Run
from tune.train.trained import Models


def check_labels(run: Run, models: Models) -> None:
    """Warn if the labels look inverted, and record it: `inverted` in the summary, None if they do not."""
    sides = run.sides(models.bases)
    side = "train" if run.config.search.folds else "val"  # with folds, val may be of any size, or empty
    scores = {}
    for name, base in models.bases.items():
        view = View.open(base.view(models.cache))
        scores[name] = cosine(view.vectors, view.val if side == "val" else view.train)
    where = "validation" if side == "val" else "training pairs" if len(sides["val"]) else "all pairs"
    found = inverted(scores, sides[side], run.split.pairs.meaning, where, run.config.search.seed)
    run.summary.update(inverted=None if found is None else found.to_json())
    if found is not None:
        run.say(f"Warning: {found.sentence}")


def in_place_of_praise(run: Run) -> str:
    """Return the sentence to show instead of verdicts on trained models; "" if labels look right or are confirmed."""
    found = run.summary.get("inverted")
    return "" if not found or found["confirmed"] else str(found["sentence"])
