"""The validation pairs on which the trials of a search are compared: the same for all, whatever the kind or length.

A frozen trial scores all of val in milliseconds, but a trial that trains its base must encode every text again. If a
search has such trials, all of its trials report on one sample, and the last stage scores the contenders on all of val.
"""

from tune.config.search import SearchConfig
from tune.config.train_sizes import listed
from tune.embed.base_models import is_static
from tune.embed.similarity import cosine
from tune.embed.view import View, write_sample
from tune.metrics.sample import stratified_order
from tune.metrics.score import roc_auc
from tune.pipeline.run import Run
from tune.train.stream import REPORTS_PER_TRIAL
from tune.train.trained import Models

LEAST_PAIRS, MOST_PAIRS = 1000, 4000
"""Of a sample. With 1,000 stratified pairs the error of an AUC is about 0.005, near the differences that matter."""

_PASSES = 3
"""Forward passes that training on a pair costs."""
_SHARE = 0.13
"""Validation's share of the longest trial, if it reports sixteen times."""


def choose_sample(run: Run, models: Models) -> str:
    """Choose the sample, add it to every base model's view, and report it; return its name, "" for all of val."""
    views = [View.open(base.view(models.cache)) for base in models.bases.values()]
    label = views[0].val.label
    pairs = sample_size(run.config, len(views[0].train), len(label))
    if not pairs or pairs >= len(label):
        return ""
    scores = [cosine(view.vectors, view.val) for view in views]
    index = stratified_order(label, scores, run.config.search.seed)[:pairs]
    [name] = {write_sample(view.directory, index) for view in views}
    run.backend.share_cache()
    run.say(f"validation: trials are compared on the same {pairs} of {len(label)} pairs, contenders on all of them")
    return name


def sample_size(config: SearchConfig, train_pairs: int, val_pairs: int) -> int:
    """Return how many of the val pairs trials report on; 0 for all of them.

    All, if every trial scores val at almost no cost (frozen or static base models). Otherwise what the longest trial
    can afford sixteen times, between LEAST_PAIRS and MOST_PAIRS; shorter trials report less often.
    """
    trained = [name for name in config.base_models if config.trained(name)]
    if not trained:
        return 0
    if config.search.eval_pairs is not None:
        return config.search.eval_pairs
    if all(map(is_static, trained)):
        return 0
    planned = [
        min(size or train_pairs, train_pairs) * epochs
        for space in config.spaces
        if False in space.freeze
        for size in listed(space.train_size)
        for epochs in space.epochs
    ]
    affordable = int(max(planned) * _PASSES * _SHARE / (1 - _SHARE) / REPORTS_PER_TRIAL)
    return min(max(affordable, LEAST_PAIRS), MOST_PAIRS, val_pairs)


def untouched_aucs(config: SearchConfig, models: Models, sample: str) -> dict[str, float]:
    """Return the AUC of each untouched base model that trials train, on the val pairs that their reports scored."""
    found = {}
    for name, base in models.bases.items():
        if config.trained(name):
            view = View.open(base.view(models.cache))
            pairs = view.val.take(view.sample_index(sample))
            found[name] = roc_auc(cosine(view.vectors, pairs), pairs.label)
    return found
