"""One trial on a base model, from embedding to the exported model, without Ray."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from tests.helpers.exported import cosine_auc
from tune.config.data import DataConfig
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.orders import EmbedOrder, embed_base
from tune.embed.prepare import PreparedBase, ViewOptions
from tune.embed.view import View
from tune.evaluate.final_test import open_test
from tune.events import Event
from tune.export.facts import ExportFacts
from tune.export.write import write_model
from tune.train.kinds import kind_of
from tune.train.outcomes import trial_outcomes
from tune.train.stream import Report
from tune.train.trained import Models, baseline_key

FROZEN: dict[str, Any] = {"dims": 16, "learning_rate": 5e-3}
WHOLE: dict[str, Any] = {"dims": None, "learning_rate": 1e-2, "freeze": False, "eval_pairs": 200}
LORA: dict[str, Any] = {**WHOLE, "train": "lora", "lora_rank": 4}


@dataclass(frozen=True)
class Exported:
    """What came of a trial. untouched, final: results of the base and the trial; model: the exported directory."""

    untouched: dict[str, Any]
    final: dict[str, Any]
    model: Path
    reports: list[Report]
    remarks: list[Event]


def embedded(
    name: str,
    sides: dict[str, LabelledPairs],
    cache: Path,
    remarks: list[Event],
    query_document: bool = True,
    **data: Any,
) -> PreparedBase:
    """Embed the sides with a base model, as a search does. data: of DataConfig, and trust_remote_code."""
    trust = data.pop("trust_remote_code", False)
    view = ViewOptions(texts=True)
    order = EmbedOrder(name, "fp32", DataConfig(**data), sides, query_document, view, trust_remote_code=trust)
    return embed_base(order, cache, remarks.append)


def exported_trial(
    name: str, sides: dict[str, LabelledPairs], folder: Path, axes: dict[str, Any], query_document: bool = True
) -> Exported:
    """Train a trial on a base model, open test and export it into `folder`."""
    remarks: list[Event] = []
    trust = axes.get("trust_remote_code", False)
    base = embedded(name, sides, folder / "cache", remarks, query_document, trust_remote_code=trust)
    config = TrialConfig(**{"base_model": name, "loss": "cosent", "batch_size": 32, "epochs": 1, **axes})
    trial = folder / "trials" / config.digest(base.digest)
    reports = list(kind_of(config).open(config, trial, View.open(base.view(folder / "cache"))))
    outcomes = trial_outcomes(folder / "trials", folder / "asha.json")
    models = Models({name: base}, folder / "cache", None, trust)
    scored = open_test([models.of(outcome) for outcome in outcomes], models, sides["test"], 0).result["models"]
    final = scored[trial.name]
    facts = ExportFacts(trial.name, config, base, {config.dims or base.dims: final}, {})
    write_model(models.of(outcomes[0]), facts, folder / "model")
    return Exported(scored[baseline_key(name)], final, folder / "model", reports, remarks)


def st_auc(
    model: str | Path, pairs: LabelledPairs, routes: tuple[str, str] = ("default", "default"), **options: Any
) -> float:
    """Return the AUC that sentence-transformers itself gives. routes: query, document or default, of either text."""
    loaded = SentenceTransformer(str(model), device="cpu", **options)
    encode = {"query": loaded.encode_query, "document": loaded.encode_document, "default": loaded.encode}
    vectors = [
        encode[route](texts, normalize_embeddings=True, show_progress_bar=False)
        for route, texts in zip(routes, (pairs.text_a, pairs.text_b), strict=True)
    ]
    return cosine_auc(*vectors, pairs.label.tolist())
