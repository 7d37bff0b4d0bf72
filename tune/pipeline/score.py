"""Scores a model on labelled pairs (`python -m tune score`): nothing is fitted on what is scored.

Vectors bought from closed models go through the snapshots, so a text is bought once.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.search import SearchConfig
from tune.data.clean import clean_pairs
from tune.data.pairs import Pairs, check_data, read_pairs
from tune.data.sides import LabelledPairs
from tune.embed.adapted import AdaptedEmbedder, is_adapted
from tune.embed.base_models import check_source
from tune.embed.closed import ClosedSource
from tune.embed.exported import load_adapted
from tune.embed.graph import GraphEmbedder
from tune.embed.left_out import MOST
from tune.embed.prepare import embedding_progress, keyed_rows, texts_by_prompt
from tune.embed.purchase import Ask
from tune.embed.similarity import cosine, rows_by_side
from tune.embed.snapshot import text_key
from tune.embed.sources import Source, load_source
from tune.embed.view import PairRows
from tune.errors import DataError, ModelError, UserError
from tune.evaluate.inverted import inverted
from tune.events import Emit, Message
from tune.export.about import read_about
from tune.metrics.score import roc_auc, score_pairs
from tune.metrics.spearman import spearman
from tune.pipeline.buying import approved
from tune.pipeline.export_scores import Runtime, pair_vectors


@dataclass(frozen=True)
class _Model:
    """What is scored: a source, the layer on its vectors if any, and the prompts of first and second texts."""

    source: Source
    adapted: AdaptedEmbedder | None
    prompts: tuple[str, str]


def score_command(
    name: str, config: SearchConfig, side: str | None, threshold: float | None, emit: Emit, ask: Ask | None = None
) -> dict[str, Any]:
    """Return auc; with a known threshold accuracy, precision and recall; with a known logistic threshold hard_auc.

    `rows` counts the rows that were read and those that were dropped, by reason, over all sides.
    With graded scores also spearman, None if all scores or all cosines are equal.
    name: directory of an exported model, or a base model's name. side: of the data's own split, else all pairs. ask: as
    in `purchase.agree`. Raises UserError if model or data cannot be used, or the cost is not approved.
    """
    if config.data.data is None:
        raise DataError("--data is missing; give the labelled pairs to score on")
    if threshold is not None and not math.isfinite(threshold):
        raise UserError(f"--threshold {threshold} is not a finite number")
    about = read_about(Path(name)) if os.path.isdir(name) else {}
    pairs, scores, counts = _scored(name, about, config, side, emit, ask)
    result: dict[str, Any] = {
        "model": name,
        "data": pairs.source,
        "side": side,
        "rows": counts,
        "n": len(pairs),
        "positives": int((pairs.label == 1).sum()),
        "auc": roc_auc(scores, pairs.label),
        **({} if pairs.score is None else {"spearman": spearman(scores, pairs.score)}),
    }
    seed, meaning = config.search.seed, pairs.meaning
    if found := inverted({name: scores}, _labelled(pairs), meaning, "these pairs", seed, "this model ranks"):
        result["inverted"] = found.sentence
    cut = about.get("threshold") if threshold is None else threshold
    if cut is None:
        return result
    logistic = about.get("logistic_threshold")
    scored = score_pairs(scores, pairs.label, cut, logistic)
    return {
        **result,
        "threshold": cut,
        "accuracy": scored.accuracy,
        "precision": scored.precision,
        "recall": scored.recall,
        "hard_auc_logistic": scored.hard_auc,
    }


def _scored(
    name: str, about: dict[str, Any], config: SearchConfig, side: str | None, emit: Emit, ask: Ask | None
) -> tuple[Pairs, NDArray[np.float64], dict[str, int]]:
    """Return the pairs that have a score, their cosines [n], and the counts of rows. The model is checked first."""
    adapted = load_adapted(Path(name), config.closed) if is_adapted(Path(name)) else None
    graph = GraphEmbedder.load(name) if about.get("graph") else None
    if adapted is None and graph is None:
        check_source(name, config.closed, trust_remote_code=config.search.trust_remote_code)
    pairs, counts = _pairs(config, side)
    if graph is not None:
        scores = cosine(*pair_vectors(Runtime.of_export(graph, name), _labelled(pairs), emit))
    else:
        model = _model(name, adapted, about, config, pairs)
        for remark in _remarks(model, about):
            emit(Message(f"{name}: {remark}"))
        scores = _cosines(model, _labelled(pairs), config, emit, ask)
    pairs, scores = _with_vectors(pairs, scores, counts, emit)
    return pairs, scores, counts


def _labelled(pairs: Pairs) -> LabelledPairs:
    return LabelledPairs(pairs.text_a, pairs.text_b, pairs.label)


def _cosines(
    model: _Model, pairs: LabelledPairs, config: SearchConfig, emit: Emit, ask: Ask | None
) -> NDArray[np.float64]:
    """Return the model's cosine similarity of the pairs, [n]; NaN if a closed model has a vector of zeros for one."""
    _, own = keyed_rows(pairs, *model.prompts)
    if isinstance(model.source, ClosedSource):
        bought = _bought(model.source, pairs, model.prompts, config, emit, ask)
        some = np.asarray(bought.any(axis=1))
        vectors, rows = (bought, own) if model.adapted is None else _adapted_pairs(model.adapted, bought, own)
    else:
        vectors, rows = _embedded(model.source, pairs, model.prompts), own
        some = np.ones(len(vectors), dtype=bool)
    return np.where(some[own.a] & some[own.b], cosine(vectors, rows), np.nan)


def _adapted_pairs(
    adapted: AdaptedEmbedder, bought: NDArray[np.float32], pairs: PairRows
) -> tuple[NDArray[np.float32], PairRows]:
    """Return the embedder's vectors of both sides of the pairs, and the pairs as rows of them."""
    if adapted.trained == "both":
        return adapted.adapt(bought), pairs
    first, second, rows = rows_by_side(pairs)
    return np.concatenate([adapted.adapt(bought[first], "a"), adapted.adapt(bought[second], "b")]), rows


def _with_vectors(
    pairs: Pairs, scores: NDArray[np.float64], counts: dict[str, int], emit: Emit
) -> tuple[Pairs, NDArray[np.float64]]:
    """Return the pairs that have a score, and their scores; count and report the others."""
    known = np.flatnonzero(np.isfinite(scores))
    if without := len(pairs) - len(known):
        counts["no_vector"] = without
        emit(Message(f"{without} of {len(pairs)} pairs are left out: the model has a vector of zeros for a text"))
        pairs, scores = pairs.take(known), scores[known]
        if without > MOST * (without + len(pairs)) or len(set(pairs.label.tolist())) < 2:
            raise ModelError(f"vectors of zeros leave out {without} of {without + len(pairs)} pairs; check the server")
    return pairs, scores


def _pairs(config: SearchConfig, side: str | None) -> tuple[Pairs, dict[str, int]]:
    check_data(config.data)
    pairs, counts = clean_pairs(read_pairs(config.data))
    if side is not None:
        if pairs.side is None:
            raise DataError(f"--side {side} needs a split; name its column with --split-column")
        pairs = pairs.take(np.flatnonzero(np.array(pairs.side) == side))
    if not len(pairs):
        raise DataError(f"{pairs.source}: no pairs on side {side}")
    if len(set(pairs.label.tolist())) < 2:
        raise DataError(f"{pairs.source}: {len(pairs)} pairs of one class only; AUC needs both 0 and 1")
    return pairs, counts


def _model(
    name: str, adapted: AdaptedEmbedder | None, about: dict[str, Any], config: SearchConfig, pairs: Pairs
) -> _Model:
    if adapted is not None:
        return _Model(adapted.source, adapted, adapted.prompts)
    source = load_source(name, closed=config.closed, trust_remote_code=config.search.trust_remote_code)
    return _Model(source, None, source.prompts(pairs.columns.query_document, _given_prompts(about)))


def _remarks(model: _Model, about: dict[str, Any]) -> list[str]:
    """Return sentences for people on how an open model was loaded and is used."""
    return [] if isinstance(model.source, ClosedSource) else model.source.remarks(model.prompts, _given_prompts(about))


def _given_prompts(about: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the prompts that an exported model brings with it."""
    return about.get("prompt_a"), about.get("prompt_b")


def _embedded(source: Source, pairs: LabelledPairs, prompts: tuple[str, str]) -> NDArray[np.float32]:
    """Return the vectors of the pairs' distinct texts, in the order of `keyed_rows`."""
    by_prompt = texts_by_prompt([pairs], prompts)
    vectors = {
        text_key(prompt, text): vector
        for prompt, texts in by_prompt.items()
        for text, vector in zip(texts, source.embed(texts, prompt), strict=True)
    }
    return np.stack([vectors[key] for key in keyed_rows(pairs, *prompts)[0].tolist()])


def _bought(
    source: ClosedSource,
    pairs: LabelledPairs,
    prompts: tuple[str, str],
    config: SearchConfig,
    emit: Emit,
    ask: Ask | None,
) -> NDArray[np.float32]:
    """Do the same for a closed model: what the cache lacks is bought, once that is approved."""
    by_prompt = texts_by_prompt([pairs], prompts)
    snapshot = approved(source, by_prompt, config, emit, ask)
    progress = embedding_progress(source.name, emit)
    for prompt, texts in by_prompt.items():
        snapshot.embed(source, prompt, texts, progress)
    return snapshot.vectors(keyed_rows(pairs, *prompts)[0])
