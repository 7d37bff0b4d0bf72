"""The front matter of a model card, as the hub reads it: base model, license, language, scores on test."""

import re
from typing import TYPE_CHECKING, Any

from tune.embed.base_card import BaseCard
from tune.export.facts import ExportFacts

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_TASK = "sentence-similarity"
_HUB_DATASET = re.compile(r"([\w.-]+/[\w.-]+)(?::(.+))?")


def card_data(facts: ExportFacts, base: BaseCard, library: str | None = None) -> "ModelCardData":
    """Return the front matter. What is not known, such as the base model's license, is left out.

    library: that runs it in place of sentence-transformers; the scores of the trial are not its own then.
    """
    from huggingface_hub import ModelCardData

    closed = facts.base.closed is not None
    dataset = _HUB_DATASET.fullmatch(str(facts.search.get("data", "")))
    results = [] if library else _results(facts)
    own = [] if closed else [library or "sentence-transformers"]
    licensed: dict[str, Any] = {"license": base.license} if base.license else {}
    if base.license == "other":
        licensed |= {"license_name": base.license_name, "license_link": base.license_link}
    return ModelCardData(
        base_model=base.repository,
        datasets=[dataset[1]] if dataset else None,
        language=list(base.language) or None,
        library_name=next(iter(own), None),
        pipeline_tag=_TASK,
        tags=[*own, "feature-extraction", _TASK, "embedtune"],
        model_name=f"{base.label}, {facts.dims} dims" if results else None,
        eval_results=results or None,
        **licensed,
    )


def _results(facts: ExportFacts) -> "list[EvalResult]":
    """Return ROC AUC and accuracy on test; [] if the trial was not scored there."""
    from huggingface_hub import EvalResult

    test = facts.final["test"]
    if test is None:
        return []
    source = str(facts.search.get("data") or "labelled pairs")
    dataset = _HUB_DATASET.fullmatch(source)
    numbers = (
        ("roc_auc", "ROC AUC of cosine similarity", test["auc"]),
        ("accuracy", "accuracy at the threshold fitted on validation", test["accuracy"]),
    )
    return [
        EvalResult(
            task_type=_TASK,
            task_name="Labelled text pairs",
            # As sentence-transformers' own cards do for data that are not on the hub.
            dataset_type=dataset[1] if dataset else "unknown",
            dataset_name=f"{source} (synthetic)" if facts.search.get("synthetic") else source,
            dataset_config=dataset[2] if dataset else None,
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=value,
        )
        for kind, name, value in numbers
    ]
