"""Embedding a static base model, and what goes with it at a million pairs: the snapshot's index, near copies.

wordllama, texts of `--data`: into a snapshot (`Snapshot.embed`), as vectors alone, by its tokenizer alone, and by
`SentenceTransformer.encode`, in turns. The index is searched for 2 million keys. Near copies of 4,000 texts are counted
among a million vectors in a file, beside the bare product of the same rows; the vectors are those of the texts with
noise, so that there are enough.

Targets: 40,000 texts per second from text to snapshot; 15 s for the two counts (val and test) of a search over a
million pairs.
"""

import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.common import Options, Result, Stopwatch, Target, median, pairs_config, split_of
from tune.embed.keys import KEY_TYPE, KeyIndex
from tune.embed.near import NEAR_COSINE, has_near
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import unit
from tune.embed.snapshot import Snapshot
from tune.embed.sources import load_open

TITLE = "static base models: texts per second, the snapshot's index, near copies"
BASE_MODEL = "wordllama"
TEXTS, BY_ENCODE, ROUNDS = 60_000, 4_000, 5
KEYS, SHARD = 2_000_000, 32_768
CORPUS, CHECKED, BARE = 1_000_000, 4_000, 100_000
"""Vectors to search, texts to look for, and vectors of the bare product."""
SIDES, MOST = 2, 15.0


def run(options: Options) -> Result:
    """Measure the three parts."""
    result = Result()
    source = load_open(BASE_MODEL)
    _, sides = split_of(pairs_config(options, space={"base_model": BASE_MODEL}))
    both = (*sides["train"].text_a, *sides["train"].text_b)
    texts = list(dict.fromkeys(both))[: options.pick(TEXTS, 3000)]
    _rates(source, texts, options, result)
    _index(options, result)
    with tempfile.TemporaryDirectory() as folder:
        _near(source, texts, Path(folder), options, result)
    return result


def _rates(source: SentenceTransformerSource, texts: list[str], options: Options, result: Result) -> None:
    some = texts[: options.pick(BY_ENCODE, 200)]
    ways: dict[str, tuple[Callable[[], object], Sequence[str]]] = {
        "into the snapshot": (lambda: _stored(source, texts), texts),
        "vectors alone": (lambda: source.embed(texts), texts),
        "tokenizer alone": (lambda: _tokenised(source, texts), texts),
        "SentenceTransformer.encode": (lambda: source.model.encode(some, show_progress_bar=False), some),
    }
    _stored(source, texts[:100])  # which also hashes the weights
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.pick(ROUNDS, 1)):
        for name, (way, of) in ways.items():
            began = time.process_time()
            with Stopwatch() as watch:
                way()
            wall[name].append(len(of) / watch.seconds)
            cpu[name].append(1e6 * (time.process_time() - began) / len(of))
    result.figures["texts"] = len(texts)
    result.figures["characters per text"] = float(np.mean([len(text) for text in texts]))
    result.figures["texts per second"] = {name: median(rates) for name, rates in wall.items()}
    result.figures["microseconds of CPU per text"] = {name: median(times) for name, times in cpu.items()}
    rates, times = result.figures["texts per second"], result.figures["microseconds of CPU per text"]
    floor = median([a / b for a, b in zip(wall["into the snapshot"], wall["tokenizer alone"], strict=True)])
    result.figures["rate into the snapshot over the tokenizer's"] = floor
    result.figures["CPU of the tokenizer over that into the snapshot"] = (
        times["tokenizer alone"] / times["into the snapshot"]
    )
    result.targets.append(Target("texts per second into the snapshot", rates["into the snapshot"], least=40_000))


def _stored(source: SentenceTransformerSource, texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Snapshot(Path(folder), source.fingerprint, source.dims).embed(source, "", texts)


def _tokenised(source: SentenceTransformerSource, texts: list[str]) -> None:
    """Tokenise with the tokenizer's own threads."""
    tokenizer, before = source.model[0].tokenizer, os.environ.get("TOKENIZERS_PARALLELISM", "false")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        for start in range(0, len(texts), 2048):
            tokenizer.encode_batch_fast(texts[start : start + 2048], add_special_tokens=False)
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = before


def _index(options: Options, result: Result) -> None:
    count = options.pick(KEYS, 100_000)
    keys = np.frombuffer(np.random.default_rng(0).bytes(KEY_TYPE.itemsize * count), dtype=KEY_TYPE)
    tracemalloc.start()
    with Stopwatch() as adding:
        index = KeyIndex()
        for number, start in enumerate(range(0, count, SHARD)):
            index.add(keys[start : start + SHARD], number)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with Stopwatch() as finding:
        index.find(keys)
    result.figures["index of the snapshot"] = {
        "keys": count,
        "bytes per key": held / count,
        "seconds to add all": adding.seconds,
        "seconds to find all": finding.seconds,
    }


def _near(source: SentenceTransformerSource, texts: list[str], folder: Path, options: Options, result: Result) -> None:
    rng = np.random.default_rng(0)
    size, checked = options.pick(CORPUS, 20_000), options.pick(CHECKED, 200)
    units = unit(source.embed(texts))
    others, units = units[:checked], units[checked:]
    corpus = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (size, source.dims))
    for start in range(0, size, len(units)):
        part = units[: size - start]
        noise = rng.normal(scale=0.3 / np.sqrt(source.dims), size=part.shape).astype(np.float32)
        corpus[start : start + len(part)] = part if start == 0 else part + noise
    corpus.flush()
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    began = time.process_time()
    with Stopwatch() as counting:
        near = has_near(mapped, np.arange(size), others)
    counting_cpu = time.process_time() - began
    bare_rows = unit(np.array(mapped[: options.pick(BARE, 5000)]))
    began = time.process_time()
    with Stopwatch() as bare:
        wanted = _bare(bare_rows, others)
    bare_cpu = time.process_time() - began
    same = has_near(bare_rows, np.arange(len(bare_rows)), others)
    products, bare_products = size * checked, len(bare_rows) * checked
    result.figures["near copies"] = {
        "texts looked for": checked,
        "among": size,
        "found": int(near.sum()),
        "seconds": counting.seconds,
        "CPU of the bare product over that of the count": (bare_cpu / bare_products) / (counting_cpu / products),
        "seconds of the bare product": bare.seconds * products / bare_products,
        "seconds that 100,000 texts among a million would take": counting.seconds * 1e11 / products,
        "differences from the bare product": int((same != wanted).sum()),
    }
    result.targets += [
        Target("seconds for the counts of val and test", SIDES * counting.seconds, most=MOST),
        Target("differences from the bare product", float((same != wanted).sum()), most=0),
    ]


def _bare(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the same as `has_near` by whole products of unit vectors."""
    near = np.zeros(len(others), dtype=np.bool_)
    for start in range(0, len(rows), 8192):
        block = rows[start : start + 8192]
        for at in range(0, len(others), 1024):
            near[at : at + 1024] |= (others[at : at + 1024] @ block.T).max(axis=1) >= NEAR_COSINE
    return near
