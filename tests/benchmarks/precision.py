"""What half precision saves and costs: bf16 weights for embedding, and vectors kept as fp16.

`--precision bf16` against fp32, alternating on the same texts:

MiniLM embeds the demo pairs' texts as in a search (`SentenceTransformerSource.embed`). Target: at least 1.6 times the
speed on a processor with bf16 arithmetic (avx512_bf16, AMX, or a GPU). The cost is shown as the cosine between the two
vectors of a text.

Vectors rounded to fp16, which would take half the disk: the AUC on validation (`--data`) of the untouched base models
and of a layer trained on 2,000 pairs, against the same with fp32. Target: it costs at most 1e-3.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.benchmarks.common import Options, Result, Target, median, prepared, threads
from tune.config.trial import TrialConfig
from tune.data.demo import demo_pairs
from tune.embed.similarity import cosine
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.metrics.score import roc_auc
from tune.train.kinds import kind_of

TITLE = "texts per second of MiniLM with bf16 weights over fp32, and what vectors kept as fp16 cost"
BASE_MODELS, TRAIN_PAIRS = ("wordllama", "minilm"), 2000
MOST_COST = 1e-3


def run(options: Options) -> Result:
    """Measure both."""
    result = Result()
    _embedding(options, result)
    with threads(1), tempfile.TemporaryDirectory() as folder:
        for base_model in BASE_MODELS:
            _stored(base_model, options, Path(folder), result)
    return result


def _stored(base_model: str, options: Options, folder: Path, result: Result) -> None:
    """Score and train with vectors as they are and rounded to fp16."""
    base = prepared(options, base_model, options.pick(TRAIN_PAIRS, 300), 600 if options.quick else None)
    view = View.open(base.view(options.cache))
    half = np.array(view.vectors).astype(np.float16).astype(np.float32)
    found: dict[str, dict[str, float]] = {}
    for name, kept in (("fp32", view), ("fp16", replace(view, vectors=half, digest=f"{view.digest[:20]}half"))):
        config = TrialConfig(base_model=base_model, loss="cosent", dims=128, learning_rate=1e-3)
        reports = kind_of(config).open(config, folder / f"{base_model}-{name}", kept)
        found[name] = {
            "untouched": roc_auc(cosine(kept.vectors, kept.val), kept.val.label),
            "layer of 128 dims": max(report.auc for report in reports),
        }
    result.figures[f"AUC with vectors kept as fp16, {base_model}"] = found["fp16"]
    cost = {name: found["fp32"][name] - auc for name, auc in found["fp16"].items()}
    result.figures[f"AUC that fp16 costs, {base_model}"] = cost
    result.targets.append(Target(f"AUC that fp16 costs, {base_model}", max(map(abs, cost.values())), most=MOST_COST))


def _embedding(options: Options, result: Result) -> None:
    """Embed different texts with both precisions in every round."""
    texts = list(dict.fromkeys(text for a, b, _ in demo_pairs() for text in (a, b)))
    size, rounds = options.pick(384, 64), options.pick(7, 2)
    sources = {precision: load_source("minilm", precision) for precision in ("fp32", "bf16")}
    rates: dict[str, list[float]] = {precision: [] for precision in sources}
    cosines: list[float] = []
    for source in sources.values():
        source.embed(texts[:64])
    for number in range(rounds):
        part = texts[number * size : (number + 1) * size]
        vectors = {}
        for precision, source in sources.items():
            began = time.perf_counter()
            vectors[precision] = source.embed(part)
            rates[precision].append(len(part) / (time.perf_counter() - began))
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors.values()]
        cosines += (unit[0] * unit[1]).sum(1).tolist()
    ratio = median([b / a for a, b in zip(rates["fp32"], rates["bf16"], strict=True)])
    result.figures |= {
        "texts_per_second_fp32": median(rates["fp32"]),
        "texts_per_second_bf16": median(rates["bf16"]),
        "ratio_median": ratio,
        "cosine_of_the_two_vectors_mean": float(np.mean(cosines)),
        "cosine_of_the_two_vectors_least": float(np.min(cosines)),
    }
    result.targets.append(Target("bf16 over fp32", ratio, least=1.6))
