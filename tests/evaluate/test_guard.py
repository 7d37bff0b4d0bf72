"""The share of a training that is kept, chosen from AUCs on guard sets, and the sentence on it."""

from tune.evaluate.guard import Share, chosen_share


def share_of(*guard_aucs: float, limit: float = 0.01) -> Share:
    """The choice among shares 1.0, 0.9 ... with these AUCs on the guard sets; the untouched base model has 0.9."""
    points = [
        {"share": round(1 - place / 10, 1), "val_auc": 0.8, "guard_auc": auc} for place, auc in enumerate(guard_aucs)
    ]
    return Share(chosen_share(points, 0.9, limit), 0.9, limit, points, 100)


def test_the_largest_share_within_the_limit_else_the_one_that_loses_least() -> None:
    within = share_of(0.87, 0.88, 0.895, 0.9)
    assert within.share == 0.8 and within.met
    assert "merged with its base model at share 0.8, the largest that loses at most 1 point" in within.sentence()
    assert share_of(0.85, 0.86, 0.87, 0.87).sentence() == (
        "no share of the training keeps the loss of AUC on the guard sets within 1 point; merged with its base model at"
        " share 0.8, which loses least (3.0 points, 5.0 as trained; AUC on validation 0.8000, 0.8000 as trained)"
    )


def test_a_model_that_loses_least_as_trained_is_not_called_merged() -> None:
    least = share_of(0.87, 0.86, 0.85)
    assert least.share == 1.0 and not least.met
    assert least.sentence() == (
        "no share of the training keeps the loss of AUC on the guard sets within 1 point; not merged with its base"
        " model, since it loses least as trained (3.0 points)"
    )
    assert share_of(0.91).sentence() == "not merged with its base model: it loses 0.0 points of AUC on the guard sets"
