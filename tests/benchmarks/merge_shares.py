"""What fine-tuning costs of general knowledge, and what merging with the base model's weights gives back.

MiniLM trained whole on 2,000 pairs of `--data` at a usual and at a high learning rate, on one thread. Each share of the
training, 1.0 to 0.1, is scored on validation pairs of the same data and on the guard set `general`; the share that a
search would choose is the largest that loses at most 0.01 of AUC there.

No targets: how much is forgotten depends on the data. The figures are AUCs, which do not depend on the machine's load.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, prepared, threads
from tune.config.data import GENERAL, DataConfig
from tune.config.trial import TrialConfig
from tune.data.guards import read_guards
from tune.embed.prepare import PreparedBase, embed_pairs
from tune.embed.sources import load_open
from tune.embed.view import View
from tune.evaluate.guard import GuardScores, choose_share
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models, base_val
from tune.train.whole.trained import MixedModel
from tune.train.whole.trial import open_whole_trial

TITLE = "AUC on validation and on general pairs against the share of the training that is kept"
BASE, RATES, LOSS = "minilm", (2e-5, 2e-4), 0.01


def run(options: Options) -> Result:
    """Train, then score every share."""
    pairs, val = options.pick(2_000, 128), options.pick(1_000, 200)
    result = Result()
    result.figures |= {"training_pairs": pairs, "validation_pairs": val}
    with threads(1), tempfile.TemporaryDirectory() as folder:
        base = prepared(options, BASE, pairs, val)
        models = Models({BASE: base}, options.cache, None)
        scores = _guard_scores(base, models, options)
        result.figures["untouched"] = {
            "val_auc": base_val(base, options.cache).val_auc,
            "guard_auc": scores.before(BASE),
        }
        for rate in RATES:
            result.figures[f"learning rate {rate:g}"] = _shares(
                Path(folder) / f"{rate:g}", rate, models, scores, options
            )
    result.notes.append("Shares below 1 are weights = base + share * (tuned - base); 0 is the untouched model.")
    return result


def _guard_scores(base: PreparedBase, models: Models, options: Options) -> GuardScores:
    guards = read_guards(DataConfig(guard=(GENERAL,)), 0)
    embed_pairs(base, load_open(BASE, "fp32", None), [guard.pairs for guard in guards], options.cache)
    return GuardScores(guards, models, 0)


def _shares(folder: Path, rate: float, models: Models, scores: GuardScores, options: Options) -> dict[str, Any]:
    base = models.bases[BASE]
    config = TrialConfig(
        base_model=BASE,
        dims=None,
        loss="cosent",
        learning_rate=rate,
        epochs=1,
        batch_size=32,
        freeze=False,
        train="full",
    )
    for _ in open_whole_trial(config, folder / config.digest(base.digest), View.open(base.view(options.cache))):
        pass
    [outcome] = trial_outcomes(folder, folder / "asha.json")
    found = choose_share(MixedModel.of(outcome, models), scores, LOSS, whole=True, report=print)
    return {
        "chosen": found.share,
        "within_the_limit": found.met,
        **{
            f"share {one['share']:g}": {"val_auc": one["val_auc"], "guard_auc": one["guard_auc"]}
            for one in found.points
        },
    }
