"""What training on a narrow subject costs of general knowledge, and what merging with the base model gives back.

wordllama on the demo pairs, whose house jargon contradicts plain English: a layer, and the whole model at a high rate
of static vectors. Each share of the whole model's training, 1.0 to 0.1, is scored on all of validation and on the guard
set `general`. See also merge_shares, on real pairs.

No targets: the figures are AUCs, which do not depend on the machine's load.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, split_of, threads
from tune.config.data import GENERAL, DataConfig
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.data.guards import read_guards
from tune.embed.prepare import ViewOptions, embed_pairs, prepare_base
from tune.embed.sources import load_open
from tune.embed.view import View
from tune.evaluate.guard import GuardScores, choose_share
from tune.train.kinds import kind_of
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.trained import Models, base_val
from tune.train.whole.trained import MixedModel

TITLE = "AUC on the demo pairs and on general pairs, of a layer and of a whole model at shares of its training"
BASE, LOSS = "wordllama", 0.01
LAYER = TrialConfig(base_model=BASE, dims=128, loss="cosent", learning_rate=3e-3, epochs=8, bias=False)
WHOLE = TrialConfig(base_model=BASE, dims=None, loss="cosent", learning_rate=3e-2, epochs=8, freeze=False, train="full")


def run(options: Options) -> Result:
    """Train both, then score every share."""
    result, source = Result(), load_open(BASE, "fp32", None)
    with threads(1), tempfile.TemporaryDirectory() as folder:
        _, sides = split_of(search_config(space={"base_model": BASE}))
        base = prepare_base(source, sides, options.cache, ("", ""), ViewOptions(texts=True))
        guards = read_guards(DataConfig(guard=(GENERAL,)), 0)
        embed_pairs(base, source, [guard.pairs for guard in guards], options.cache)
        models = Models({BASE: base}, options.cache, None)
        scores, view = GuardScores(guards, models, 0), View.open(base.view(options.cache))
        layer, whole = (_trained(Path(folder) / kind_of(one).label, one, view) for one in (LAYER, WHOLE))
        untouched = base_val(base, options.cache).val_auc
        result.figures["untouched"] = {"val_auc": untouched, "guard_auc": scores.before(BASE)}
        result.figures["layer"] = {"val_auc": models.of(layer).val_auc(), **scores.of_trial(models.of(layer))}
        result.figures["whole"] = _shares(whole, models, scores)
    return result


def _trained(folder: Path, config: TrialConfig, view: View) -> TrialOutcome:
    for _ in kind_of(config).open(config, folder / config.digest(view.digest), view):
        pass
    [outcome] = trial_outcomes(folder, folder / "asha.json")
    return outcome


def _shares(outcome: TrialOutcome, models: Models, scores: GuardScores) -> dict[str, Any]:
    found = choose_share(MixedModel.of(outcome, models), scores, LOSS, whole=True, report=print)
    points = {
        f"share {one['share']:g}": {"val_auc": one["val_auc"], "guard_auc": one["guard_auc"]} for one in found.points
    }
    return {"chosen": found.share, "within_the_limit": found.met, **points}
