"""A trial as a SentenceTransformer directory: base modules, Dense, Normalize; with a card and embedtune.json.

The directory loads without this project, and scores what was reported.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import Any

from tune.config.search import search_config
from tune.config.toml import read_toml
from tune.config.trial import TrialConfig
from tune.embed.prepare import PreparedBase
from tune.errors import ModelError, ResultsError
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary
from tune.search.outcomes import trial_outcomes

ABOUT = "embedtune.json"


@dataclass(frozen=True)
class ExportFacts:
    """What an exported model says of itself besides its weights.

    threshold: cosine from which a pair counts as belonging together (best accuracy on val); logistic_threshold: the
    one of the hard AUC. test: scores on test, where this trial was a finalist. search: provenance of the search.
    """

    trial: str
    config: TrialConfig
    base: PreparedBase
    threshold: float
    logistic_threshold: float | None
    val_auc: float
    test: dict[str, Any] | None
    search: dict[str, Any]


def export(folder: ResultsFolder, trial: str | None, to: Path) -> Path:
    """A trial of a finished search (the winner where `trial` is None) as a SentenceTransformer directory."""
    from tune.finals import trial_val

    summary = Summary(folder.summary)
    outcomes = {outcome.trial: outcome for outcome in trial_outcomes(folder.trials, folder.asha)}
    winner = summary.get("winner")
    if trial is None:
        if winner is None:
            raise ResultsError(f"{folder.root} has no winner yet; go on with it by --resume {folder.name}")
        trial = str(winner["trial"])
    found = [outcome for name, outcome in outcomes.items() if name.startswith(trial)]
    best = found[0].best if len(found) == 1 and found[0].status != "failed" else None
    if best is None:
        scored = sorted(name for name, outcome in outcomes.items() if outcome.best and outcome.status != "failed")
        raise ResultsError(f"{folder.root}: no one trial {trial} with weights; there are {', '.join(scored[:8])}")
    outcome = found[0]
    base = PreparedBase.from_json(summary["bases"][outcome.config.base_model])
    tested = read_test(folder)["models"] if folder.test.exists() else {}
    config = search_config(**read_toml(folder.config))
    val = tested.get(outcome.trial)
    cache = config.search.cache.expanduser()
    if val is None and base.view(cache).exists():
        val = trial_val(outcome, base, cache).to_json()
    if val is None:
        # The cache is gone: the report has the threshold, and the logistic one is not known.
        val = {"threshold": best.threshold, "logistic_threshold": None, "val_auc": best.auc}
    facts = ExportFacts(
        trial=outcome.trial,
        config=outcome.config,
        base=base,
        threshold=val["threshold"],
        logistic_threshold=val["logistic_threshold"],
        val_auc=val["val_auc"],
        test=val.get("test"),
        search={
            "name": folder.name,
            "data": summary["data"]["source"],
            "synthetic": summary["data"]["synthetic"],
            "split_hash": summary["data"]["split_hash"],
            "winner": winner is not None and winner["trial"] == outcome.trial,
            "embedtune": version_of("embedtune"),
        },
    )
    return write_model(outcome.directory / "best.safetensors", facts, config.data.max_length, to)


def read_test(folder: ResultsFolder) -> dict[str, Any]:
    """The scores on test. ResultsError where the file is damaged: test is not opened again for that."""
    try:
        return dict(json.loads(folder.test.read_text()))
    except ValueError:
        raise ResultsError(f"{folder.test} is damaged, and test is scored once; bring back a copy of it") from None


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_model(weights: Path, facts: ExportFacts, max_length: int | None, to: Path) -> Path:
    """Writes the model of a trial's best weights into the new directory `to`, whole or not at all.

    ResultsError where `to` exists; ModelError where the base model is not the one that was searched with.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    from tune.embed.sources import load_source, weights_hash
    from tune.train.adapter import load_dense

    if to.exists():
        raise ResultsError(f"{to} exists; choose another directory")
    source = load_source(facts.base.name, "fp32", max_length)
    if facts.base.weights != weights_hash(source.model):
        raise ModelError(f"base model {facts.base.name} has other weights now than when the search ran")
    dense = load_dense(facts.config, weights, facts.base.dims).to(torch.float32)
    prompts, default = _prompts(facts.base)
    model = SentenceTransformer(
        modules=[*(module.to("cpu") for module in source.model.children()), dense, Normalize()],
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name="cosine",
        device="cpu",
    )
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}."))
    except OSError as error:
        raise ResultsError(f"{to} cannot be made ({error.strerror}); choose another directory") from None
    try:
        part.chmod(0o755)
        model.save(str(part), create_model_card=False)
        (part / "README.md").write_text(model_card(facts), encoding="utf-8")
        # Last: a directory with this file is complete.
        (part / ABOUT).write_text(json.dumps(about(facts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.rename(part, to)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return to


def _prompts(base: PreparedBase) -> tuple[dict[str, str], str | None]:
    if base.prompt_a == base.prompt_b:
        return ({"text": base.prompt_a}, "text") if base.prompt_a else ({}, None)
    return {"query": base.prompt_a, "document": base.prompt_b}, None


def about(facts: ExportFacts) -> dict[str, Any]:
    """The content of embedtune.json."""
    return {
        "trial": facts.trial,
        "threshold": facts.threshold,
        "logistic_threshold": facts.logistic_threshold,
        "prompt_a": facts.base.prompt_a,
        "prompt_b": facts.base.prompt_b,
        "config": facts.config.model_dump(),
        "base_model": facts.base.name,
        "base_weights": facts.base.weights,
        "val_auc": facts.val_auc,
        "test": facts.test,
        "search": facts.search,
    }


def read_about(model: Path) -> dict[str, Any]:
    """embedtune.json of an exported model; empty where it has none. ModelError where it cannot be read."""
    path = model / ABOUT
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is no JSON ({error}); export the model again") from None
    numbers = ("threshold", "logistic_threshold")
    texts = ("prompt_a", "prompt_b")
    if not isinstance(content, dict) or not (
        all(isinstance(content.get(name), int | float | None) for name in numbers)
        and all(isinstance(content.get(name, ""), str) for name in texts)
    ):
        raise ModelError(f"{path} is not what an export writes; export the model again")
    return content


def model_card(facts: ExportFacts) -> str:
    """The README.md of the model."""
    config = facts.config
    if facts.test is None:
        test = "This trial was no finalist, so it was not scored on the test side."
    else:
        test = (
            f"Test, scored once: ROC AUC {facts.test['auc']:.4f} "
            f"[{facts.test['auc_low']:.4f}, {facts.test['auc_high']:.4f}] "
            f"(95% interval, bootstrap of components), accuracy {facts.test['accuracy']:.4f} "
            f"on {facts.test['n']} pairs."
        )
    usage = ", ".join(
        f"`{name}`: {prompt!r}"
        for name, prompt in (("first text", facts.base.prompt_a), ("second text", facts.base.prompt_b))
        if prompt
    )
    settings = "\n".join(f"| {name} | {value} |" for name, value in config.model_dump().items())
    return Template(_CARD).substitute(
        base=facts.base.name,
        dims=config.dims,
        data=facts.search.get("data", ""),
        synthetic=" The pairs are synthetic." if facts.search.get("synthetic") else "",
        val=f"{facts.val_auc:.4f}",
        test=test,
        threshold=f"{facts.threshold:.6f}",
        prompts=f"\nPrompts that it was trained with: {usage}.\n" if usage else "",
        settings=settings,
        sentence_transformers=version("sentence-transformers"),
    )


_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, embedtune]
---

# $base, adapted to $dims dimensions

The base model `$base`, unchanged, with a Dense layer trained on labelled text pairs ($data) and a final
normalisation.$synthetic

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH/OF/THIS/DIRECTORY")
a, b = model.encode(["first text", "second text"])
belongs_together = float(a @ b) >= $threshold
```
$prompts
## What it scores

Validation: ROC AUC $val. $test

The threshold $threshold is the one of best accuracy on validation.

## How it was trained

| option | value |
|---|---|
$settings

It needs sentence-transformers 6 or later (saved by $sentence_transformers; earlier versions cannot read it).
"""
