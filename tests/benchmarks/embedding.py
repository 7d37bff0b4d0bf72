"""Embedding with a transformer on the CPU: batches of alike token counts, bf16, and int8, against encode.

fp32, bf16 and OpenVINO int8 are those of `--precision`; ONNX int8, which is not built, goes through the same batches.
MiniLM embeds the questions of 1,000 of Quora's val pairs, all ways in turn on slices of the texts, so that other load
hits all alike. The floor is `SentenceTransformer.encode` with its defaults. Beside each rate stand the difference in
AUC from fp32, paired, and how far a text's vector moves if the text is embedded alone: a snapshot is shared by
searches, so a vector must not depend on the texts beside it.
Targets: fp32 batches give encode's vectors (2e-6) faster; int8 is 1.5 times as fast as fp32 at a cost of at most
0.001 AUC, with vectors that do not depend on the batch.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.common import Options, Result, Target, first, median, pairs_config, split_of
from tune.data.sides import LabelledPairs
from tune.embed.batches import encode
from tune.embed.graph import open_session, read_tokens
from tune.embed.graphs.network import chains_of
from tune.embed.graphs.part import Form, write_part
from tune.embed.int8 import Int8Source, run_graph
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.metrics.score import roc_auc

TITLE = "texts per second of MiniLM by batches, precision and runtime over SentenceTransformer.encode"

_ALONE = 64

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def run(options: Options) -> Result:
    """Embed the texts of val in every way, slice by slice in turn: rates, vectors and AUC come from the same pass."""
    _, sides = split_of(pairs_config(options, space={"base_model": "minilm"}))
    val = first(sides["val"], options.pick(1000, 100))
    texts = list(dict.fromkeys([*val.text_a, *val.text_b]))
    full, half = (SentenceTransformerSource("minilm", precision) for precision in ("fp32", "bf16"))
    with tempfile.TemporaryDirectory() as folder:
        int8, seconds = _int8(full, Path(folder))
        ways: dict[str, Embed] = {
            "encode": _encode(full),
            "fp32": lambda some: encode(full.model, some),
            "encode, bf16": _encode(half),
            "bf16": lambda some: encode(half.model, some),
            "ONNX int8": _onnx(full, Path(folder)),
            "OpenVINO int8": int8.embed,
        }
        found, taken = _in_turn(ways, texts, options.pick(250, 100))
        alone = {name: np.concatenate([way([text]) for text in texts[:_ALONE]]) for name, way in ways.items()}
    unit = {name: vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for name, vectors in found.items()}
    scores = {name: _scores(vectors, texts, val) for name, vectors in unit.items()}
    result = Result()
    for name in ways:
        low, high = _auc_differences(scores[name], scores["fp32"], val.label, options.pick(500, 20))
        result.figures[name] = {
            "rate_over_encode": _ratio(taken["encode"], taken[name], 0),
            "rate_over_fp32": _ratio(taken["fp32"], taken[name], 0),
            "rate_over_fp32_by_cpu_time": _ratio(taken["fp32"], taken[name], 1),
            "auc_minus_fp32": roc_auc(scores[name], val.label) - roc_auc(scores["fp32"], val.label),
            "auc_minus_fp32_low": low,
            "auc_minus_fp32_high": high,
            "cosine_with_encode_mean": float((unit[name] * unit["encode"]).sum(1).mean()),
            "largest_difference_alone": float(np.abs(alone[name] - found[name][:_ALONE]).max()),
        }
    apart = float(np.abs(found["fp32"] - found["encode"]).max())
    auc = roc_auc(scores["fp32"], val.label)
    result.figures |= {"texts": len(texts), "auc_fp32": auc, "fp32_largest_difference_from_encode": apart}
    result.figures["int8_conversion_cpu_seconds"] = seconds
    result.targets = [
        Target("fp32 over encode", result.figures["fp32"]["rate_over_encode"], least=1.2),
        Target("fp32: largest difference from encode", apart, most=2e-6),
        Target("bf16 over encode", result.figures["bf16"]["rate_over_encode"], least=1.6),
        Target("int8 (OpenVINO) over fp32", result.figures["OpenVINO int8"]["rate_over_fp32"], least=1.5),
        Target("AUC that int8 (OpenVINO) costs", -result.figures["OpenVINO int8"]["auc_minus_fp32"], most=1e-3),
        Target(
            "int8 (OpenVINO): largest difference alone",
            result.figures["OpenVINO int8"]["largest_difference_alone"],
            most=2e-6,
        ),
    ]
    return result


def _in_turn(
    ways: Mapping[str, Embed], texts: Sequence[str], size: int
) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[tuple[float, float]]]]:
    """Return the vectors of every way, and the wall and CPU seconds of each slice of `size` texts."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ways}
    for way in ways.values():
        way(texts[:64])
    for start in range(0, len(texts), size):
        for name, way in ways.items():
            began, cpu = time.perf_counter(), time.process_time()
            parts[name].append(way(texts[start : start + size]))
            taken[name].append((time.perf_counter() - began, time.process_time() - cpu))
    return {name: np.concatenate(part) for name, part in parts.items()}, taken


def _ratio(floor: list[tuple[float, float]], taken: list[tuple[float, float]], clock: int) -> float:
    """Return how many times as fast as the floor, by wall (0) or CPU (1) time: the median over slices."""
    return median([a[clock] / b[clock] for a, b in zip(floor, taken, strict=True)])


def _auc_differences(
    scores: NDArray[np.float64], floor: NDArray[np.float64], label: NDArray[np.int8], draws: int
) -> tuple[float, float]:
    """Return the ends of the 95% interval of the paired difference in AUC, from draws of pairs."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        rows = generator.integers(0, len(label), len(label))
        found.append(roc_auc(scores[rows], label[rows]) - roc_auc(floor[rows], label[rows]))
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    return low, high


def _encode(source: SentenceTransformerSource) -> Embed:
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        found = source.model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
        vectors: NDArray[np.float32] = found.float().numpy()
        return vectors

    return embed


def _scores(unit: NDArray[np.float32], texts: Sequence[str], pairs: LabelledPairs) -> NDArray[np.float64]:
    place = {text: row for row, text in enumerate(texts)}
    a, b = ([place[text] for text in side] for side in (pairs.text_a, pairs.text_b))
    scores: NDArray[np.float64] = (unit[a] * unit[b]).sum(1).astype(np.float64)
    return scores


def _int8(source: SentenceTransformerSource, folder: Path) -> tuple[Int8Source, float]:
    """Return the model in int8 as `--precision int8` makes it, and the CPU seconds that converting it took."""
    int8, began = Int8Source(source, folder), time.process_time()
    int8.embed(["a text"])
    return int8, time.process_time() - began


def _onnx(source: SentenceTransformerSource, folder: Path) -> Embed:
    """Return the model as an ONNX graph with int8 weights, whose ranges of activations are those of each batch."""
    about, _ = write_part(
        source, chains_of(source.model, ("", "")), Form("onnx", int8=True, unit=False), folder / "m", []
    )
    tokens, session = read_tokens(folder, {**about, "prompt": ""}), open_session(folder / about["file"], "onnx")
    return lambda texts: run_graph(tokens, session, texts, source.dims)
