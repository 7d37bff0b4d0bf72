"""embedtune.json: an exported model's thresholds, prompts, configuration and provenance."""

import json
from pathlib import Path
from typing import Any

from tune.embed.adapted import ABOUT
from tune.embed.base_card import public_name
from tune.errors import ModelError
from tune.export.facts import ExportFacts
from tune.files import sha256_of


def about(facts: ExportFacts) -> dict[str, Any]:
    """Return the content of embedtune.json."""
    return {
        "trial": facts.trial,
        "threshold": facts.final["threshold"],
        "logistic_threshold": facts.final["logistic_threshold"],
        "prompt_a": facts.prompts[0],
        "prompt_b": facts.prompts[1],
        "config": facts.settings,
        "base_model": public_name(facts.base.name),
        "base_revision": facts.base.revision,
        "base_weights": facts.base.weights,
        "val_auc": facts.final["val_auc"],
        "val_spearman": facts.final.get("val_spearman"),
        "test": facts.final["test"],
        "by_dims": facts.finals if len(facts.finals) > 1 else None,
        "merge": facts.merge,
        "guard": facts.guard,
        "search": facts.search,
    }


def damage(model: Path) -> str:
    """Return which file of an exported model is missing or not the one that was written, or "".

    Models of earlier versions do not say what belongs to them; of those, nothing is known.
    """
    try:
        hashes = dict(read_about(model).get("sha256") or {})
    except (ModelError, ValueError, TypeError):
        return f"{ABOUT} is damaged"
    if not (model / ABOUT).exists():
        return f"{ABOUT} is missing"
    for name, content in hashes.items():
        file = model / str(name)
        if not file.is_file():
            return f"{name} is missing"
        if sha256_of(file) != content:
            return f"{name} is damaged"
    return ""


def read_about(model: Path) -> dict[str, Any]:
    """Read embedtune.json of an exported model; {} if it has none. Raises ModelError if it is damaged."""
    path = model / ABOUT
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); export the model again") from None
    numbers = ("threshold", "logistic_threshold")
    texts = ("prompt_a", "prompt_b")
    if not isinstance(content, dict) or not (
        all(isinstance(content.get(name), int | float | None) for name in numbers)
        and all(isinstance(content.get(name, ""), str) for name in texts)
    ):
        raise ModelError(f"{path} was not written by an export; export the model again")
    return content
