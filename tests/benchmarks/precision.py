"""`--precision bf16`: embedding with bf16 weights against fp32, alternating on the same texts.

MiniLM embeds the demo pairs' texts as in a search (`SentenceTransformerSource.embed`). Target: at least 1.6 times the
speed on a processor with bf16 arithmetic (avx512_bf16, AMX, or a GPU). The cost is shown as the cosine between the two
vectors of a text.
"""

import time

import numpy as np

from tests.benchmarks.common import Options, Result, Target, median
from tune.data.demo import demo_pairs
from tune.embed.sources import load_source

TITLE = "texts per second of MiniLM with bf16 weights over fp32"


def run(options: Options) -> Result:
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
    result = Result()
    result.figures = {
        "texts_per_second_fp32": median(rates["fp32"]),
        "texts_per_second_bf16": median(rates["bf16"]),
        "ratio_median": ratio,
        "cosine_of_the_two_vectors_mean": float(np.mean(cosines)),
        "cosine_of_the_two_vectors_least": float(np.min(cosines)),
    }
    result.targets = [Target("bf16 over fp32", ratio, least=1.6)]
    return result
