"""Validation's share of the time of trials that train their base, for trials of several lengths.

Whole models and LoRA on MiniLM, whole models on wordllama; one epoch over the first N labelled pairs, on one thread, as
in trials. The share is the seconds that a trial spends on scoring val over the seconds of the whole trial: loading the
model, steps, scores, weights and reports. --eval-pairs has its default: 1,000 to 4,000 pairs that all trials of the
search share, all of val for static base models.

Targets: 15% if a trial can afford five reports or more, 37% with three. A trial too short for three reports once,
whatever that takes, because fewer pairs would not tell trials apart; its share is only shown.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, Target, pairs_config, prepared, threads
from tune.config.trial import TrialConfig
from tune.embed.similarity import cosine
from tune.embed.view import View, write_sample
from tune.metrics.sample import stratified_order
from tune.pipeline.val_sample import sample_size
from tune.train.whole import trial as whole_trial
from tune.train.whole.trial import open_whole_trial

TITLE = "validation's share of the time of trials that train their base"
MOST = {3: 0.37, 5: 0.15, 9: 0.15, 16: 0.15}
"""Number of reports -> largest share."""
TRIALS = {
    "minilm whole": ("minilm", "full", (500, 2_000, 6_000)),
    "minilm LoRA": ("minilm", "lora", (700, 2_000)),
    "wordllama whole": ("wordllama", "full", (288, 2_000, 16_000)),
}


def run(options: Options) -> Result:
    """Run the trials one after the other."""
    result = Result()
    views: dict[str, View] = {}
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for name, (base_model, train, sizes) in TRIALS.items():
            if base_model not in views:
                views[base_model] = _view(options, base_model, max(sizes))
            for size in sizes[: options.pick(len(sizes), 1)]:
                view = views[base_model]
                config = TrialConfig(
                    base_model=base_model, dims=128, loss="cosent", learning_rate=2e-5, epochs=1, freeze=False,
                    train=train, train_size=size, val_sample=_sample(options, base_model, size, view),
                )  # fmt: skip
                directory = Path(folder) / f"{name} {size}"
                figures = result.figures[f"{name}, {size} pairs"] = _measure(config, directory, view)
                if most := MOST.get(figures["reports"]):
                    result.targets.append(Target(f"{name}, {size} pairs", figures["validation_share"], most=most))
    return result


def _view(options: Options, base_model: str, largest: int) -> View:
    return View.open(prepared(options, base_model, options.pick(largest, 288)).view(options.cache))


def _sample(options: Options, base_model: str, size: int, view: View) -> str:
    """Return the sample of a search whose trials are all of this size."""
    space = {"base_model": base_model, "freeze": "false", "train_size": size, "epochs": 1}
    pairs = sample_size(pairs_config(options, space=space), len(view.train), len(view.val))
    if not pairs:
        return ""
    return write_sample(view.directory, stratified_order(view.val.label, [cosine(view.vectors, view.val)], 0)[:pairs])


def _measure(config: TrialConfig, directory: Path, view: View) -> dict[str, Any]:
    scoring: list[float] = []
    with _timed(scoring):
        began = time.perf_counter()
        reports = list(open_whole_trial(config, directory, view))
        seconds = time.perf_counter() - began
    return {
        "reports": len(reports),
        "val_pairs_per_report": reports[-1].val_pairs,
        "seconds": seconds,
        "validation_seconds": sum(scoring),
        "validation_share": sum(scoring) / seconds,
    }


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    """Append the seconds of each scoring of val to `seconds`."""
    plain = whole_trial._Learner.score

    def timed(*given: Any) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            return plain(*given)
        finally:
            seconds.append(time.perf_counter() - began)

    whole_trial._Learner.score = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        whole_trial._Learner.score = plain  # type: ignore[method-assign]
