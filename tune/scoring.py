"""Scores a model on labelled pairs, as `python -m tune score` does: nothing is fitted on what is scored."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from tune.config.data import DataConfig
from tune.data.clean import clean_pairs
from tune.data.pairs import check_data, read_pairs
from tune.embed.prepare import LabelledPairs, keyed_rows
from tune.embed.sources import check_source, load_source
from tune.errors import DataError, UserError
from tune.evaluate.score import roc_auc, score_pairs
from tune.export import read_about
from tune.train.dense import cosine


def score_model(name: str, data: DataConfig, side: str | None, threshold: float | None) -> dict[str, Any]:
    """auc, and with a known threshold accuracy, precision and recall; hard_auc with a known logistic threshold.

    name: directory of an exported model, or a base model's name. side: of the data's own split, else all pairs.
    UserError where model or data cannot be used.
    """
    if data.data is None:
        raise DataError("--data is missing; name the labelled pairs to score on")
    if threshold is not None and not math.isfinite(threshold):
        raise UserError(f"--threshold {threshold} is no number")
    check_source(name)
    about = read_about(Path(name)) if Path(name).is_dir() else {}
    check_data(data)
    pairs, _ = clean_pairs(read_pairs(data))
    if side is not None:
        if pairs.side is None:
            raise DataError(f"--side {side} needs a split; name its column with --split-column")
        pairs = pairs.take(np.flatnonzero(np.array(pairs.side) == side))
    if not len(pairs):
        raise DataError(f"{pairs.source}: no pairs on side {side}")
    if len(set(pairs.label.tolist())) < 2:
        raise DataError(f"{pairs.source}: {len(pairs)} pairs of one class only; AUC needs both 0 and 1")
    source = load_source(name)
    labelled = LabelledPairs(pairs.text_a, pairs.text_b, pairs.label)
    own = source.prompts(pairs.columns.query_document)
    prompt_a, prompt_b = about.get("prompt_a", own[0]), about.get("prompt_b", own[1])
    texts: dict[tuple[str, str], None] = dict.fromkeys((prompt_a, text) for text in pairs.text_a)
    texts |= dict.fromkeys((prompt_b, text) for text in pairs.text_b)
    # Same order as the rows: first texts, then second ones, each at its first appearance.
    _, rows = keyed_rows(labelled, prompt_a, prompt_b)
    vectors = np.empty((len(texts), source.dims), dtype=np.float32)
    for prompt in dict.fromkeys((prompt_a, prompt_b)):
        places = [place for place, (own_prompt, _) in enumerate(texts) if own_prompt == prompt]
        chosen = [text for own_prompt, text in texts if own_prompt == prompt]
        vectors[places] = source.embed(chosen, prompt)
    scores = cosine(vectors, rows)
    result: dict[str, Any] = {
        "model": name,
        "data": pairs.source,
        "side": side,
        "n": len(pairs),
        "positives": int((pairs.label == 1).sum()),
        "auc": roc_auc(scores, pairs.label),
    }
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
