"""Milliseconds per text of the untouched open base models and of the winner as exported, for the summary.

What this measures depends on the machine, which is named beside it; nothing of ours computes meanwhile. While a base
model is loaded, texts are counted in its tokens. None of it ever fails a search.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tune.data.lengths import spread
from tune.embed.adapted import is_adapted
from tune.embed.latency import encoder, machine_of, measure
from tune.embed.lengths import lengths_by_model
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.sources import load_open
from tune.export.about import read_about
from tune.pipeline.run import Run
from tune.report.pictures import wait_for_drawing
from tune.train.trained import Models, baseline_key

_TEXTS = 256
"""The most distinct texts to time."""
_COUNTED = 5_000
"""The most distinct texts to count in tokens, which takes a fraction of a second."""


def measure_latency(run: Run, models: Models) -> None:
    """Write `latency` into the summary: machine, texts (how many distinct ones), models (key -> ms_1, ms_64).

    Also `tokens`: base model -> `texts` counted, median, p95, longest, `limit` and how many are `cut` there.

    Keeps what an earlier run of the search has measured. Closed models, and layers on them, have none. A model that
    cannot be measured is reported and left out.
    """
    if run.summary.get("latency"):
        return
    todo, counted_texts = _open_models(run, models), _texts(run, models)
    texts = counted_texts[:_TEXTS]
    if not todo or not texts:
        return
    counted = "1 model" if len(todo) == 1 else f"{len(todo)} models"
    run.say(f"measuring milliseconds per text: {counted}, in batches of 1 and 64")
    wait_for_drawing()
    machine, found, tokens = "", {}, {}
    for key, model in todo.items():
        try:
            source = load_open(model.name, "fp32", model.max_length, trust_remote_code=models.trust_remote_code)
            found[key] = asdict(measure(encoder(source, model.prompt), texts))
            machine = machine_of(source)
            if model.name in models.bases:
                tokens[model.name] = _tokens(source, model.prompt, counted_texts)
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            run.say(f"{key}: milliseconds per text could not be measured ({reason})")
    if found:
        run.summary.update(latency={"machine": machine, "texts": len(texts), "models": found}, tokens=tokens)


@dataclass(frozen=True)
class _Open:
    """A model to load. name: a base model's, or an exported directory. prompt: of first texts."""

    name: str
    prompt: str
    max_length: int | None


def _open_models(run: Run, models: Models) -> dict[str, _Open]:
    """Return the untouched open base models and the winner, by key."""
    found = {
        baseline_key(name): _Open(name, base.prompt_a, models.max_length)
        for name, base in models.bases.items()
        if base.closed is None
    }
    winner, best = run.summary.get("winner"), run.folder.best
    if winner and best.is_dir() and not is_adapted(best):
        # Its limit of tokens is part of the export.
        found[winner["trial"]] = _Open(str(best), str(read_about(best).get("prompt_a", "")), None)
    return found


def _texts(run: Run, models: Models) -> list[str]:
    """Return a seeded sample of the distinct texts of val, in random order; of train if val is empty, as with folds."""
    sides = run.sides(models.bases)
    pairs = sides["val"] if len(sides["val"]) else sides["train"]
    texts = list(dict.fromkeys([*pairs.text_a, *pairs.text_b]))
    order = np.random.default_rng(run.config.search.seed).permutation(len(texts))[:_COUNTED]
    return [texts[place] for place in order]


def _tokens(source: SentenceTransformerSource, prompt: str, texts: list[str]) -> dict[str, Any] | None:
    found = lengths_by_model(source.model, [(prompt, texts)])
    if found is None:
        return None
    return {"texts": len(texts), **spread(found.tokens), "limit": found.limit, "cut": found.cut}
