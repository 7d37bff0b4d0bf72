"""Embedding with a transformer on the CPU: batches of alike token counts, bf16, and int8 graphs, against encode.

MiniLM embeds Quora's questions, all ways alternating on the same texts. The floor is `SentenceTransformer.encode` with
its defaults. Beside each rate stand what it costs in AUC on val, and how far a text's vector moves if the text is
embedded alone: a snapshot is shared by searches, so a vector must not depend on the texts beside it.
Targets: fp32 batches give encode's vectors (2e-6) faster; int8 would have to be 1.5 times as fast as fp32 at a cost of
at most 0.001 AUC, with vectors that do not depend on the batch.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.common import Options, Result, Target, first, median, pairs_config, split_of
from tune.data.sides import LabelledPairs
from tune.embed.batches import alike, encode
from tune.embed.graph import Session, open_session
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.export.formats.network import Network, chains_of, inputs_of, outputs_of
from tune.export.formats.onnx import quantise_onnx, write_onnx
from tune.export.formats.openvino import quantise_openvino
from tune.metrics.score import roc_auc

TITLE = "texts per second of MiniLM by batches, precision and runtime over SentenceTransformer.encode"

_CALIBRATION, _TOKENS = 300, 1024

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Feed = dict[str, NDArray[np.int64]]


def run(options: Options) -> Result:
    """Embed the texts of val in every way: rates on some of them, AUC on all pairs."""
    _, sides = split_of(pairs_config(options, space={"base_model": "minilm"}))
    val = first(sides["val"], options.pick(len(sides["val"]), 300))
    texts = list(dict.fromkeys([*val.text_a, *val.text_b]))
    timed, rounds = texts[: options.pick(2048, 128)], options.pick(5, 1)
    full, half = (SentenceTransformerSource("minilm", precision) for precision in ("fp32", "bf16"))
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Embed] = {
            "encode": _encode(full),
            "fp32": lambda some: encode(full.model, some),
            "encode, bf16": _encode(half),
            "bf16": lambda some: encode(half.model, some),
            **_int8(full, sides["train"].text_a[:_CALIBRATION], Path(folder)),
        }
        taken = _rates(ways, timed, rounds)
        found = {name: way(texts) for name, way in ways.items()}
        alone = {name: np.concatenate([way([text]) for text in texts[:64]]) for name, way in ways.items()}
    result = Result()
    unit = {name: vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for name, vectors in found.items()}
    aucs = {name: _auc(vectors, texts, val) for name, vectors in unit.items()}
    for name in ways:
        result.figures[name] = {
            "texts_per_second": len(timed) / median(taken[name]),
            "over_encode": median([a / b for a, b in zip(taken["encode"], taken[name], strict=True)]),
            "over_fp32": median([a / b for a, b in zip(taken["fp32"], taken[name], strict=True)]),
            "val_auc_minus_fp32": aucs[name] - aucs["fp32"],
            "cosine_with_encode_mean": float((unit[name] * unit["encode"]).sum(1).mean()),
            "largest_difference_alone": float(np.abs(alone[name] - found[name][:64]).max()),
        }
    apart = float(np.abs(found["fp32"] - found["encode"]).max())
    result.figures |= {"texts": len(texts), "texts_timed": len(timed), "fp32_largest_difference_from_encode": apart}
    result.targets = [
        Target("fp32 over encode", result.figures["fp32"]["over_encode"], least=1.2),
        Target("fp32: largest difference from encode", apart, most=2e-6),
        Target("bf16 over encode", result.figures["bf16"]["over_encode"], least=1.6),
    ]
    return result


def _rates(ways: Mapping[str, Embed], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(texts[:64])
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way(texts)
            taken[name].append(time.perf_counter() - began)
    return taken


def _encode(source: SentenceTransformerSource) -> Embed:
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        found = source.model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
        vectors: NDArray[np.float32] = found.float().numpy()
        return vectors

    return embed


def _auc(unit: NDArray[np.float32], texts: Sequence[str], pairs: LabelledPairs) -> float:
    place = {text: row for row, text in enumerate(texts)}
    a, b = ([place[text] for text in side] for side in (pairs.text_a, pairs.text_b))
    return roc_auc((unit[a] * unit[b]).sum(1).astype(np.float64), pairs.label)


def _int8(source: SentenceTransformerSource, calibration: Sequence[str], folder: Path) -> dict[str, Embed]:
    """Return the same model with int8 weights: in ONNX with ranges of activations per batch, in OpenVINO fixed ones."""
    chains = chains_of(source.model, ("", ""))
    network = Network(chains, inputs_of(chains[0]))
    outputs = outputs_of(chains)
    tokenizer = source.model.tokenizer.backend_tokenizer
    names = network.names

    def tokens(texts: Sequence[str]) -> list[Sequence[int]]:
        tokenizer.no_padding()
        tokenizer.enable_truncation(source.model.max_seq_length)
        return [found.ids for found in tokenizer.encode_batch_fast(list(texts))]

    feeds = [_feed(tokens(calibration[start : start + 4]), names) for start in range(0, len(calibration), 4)]
    write_onnx(network, feeds[0], outputs, folder / "fp32.onnx")
    quantise_onnx(folder / "fp32.onnx", folder / "int8.onnx")
    quantise_openvino(folder / "fp32.onnx", folder / "int8.xml", feeds)

    def through(session: Session) -> Embed:
        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            ids = tokens(texts)
            vectors = np.empty((len(texts), source.dims), np.float32)
            for rows in alike(np.array([len(one) for one in ids]), _TOKENS):
                vectors[rows] = session.run(_feed([ids[row] for row in rows], names), outputs[0])
            return vectors

        return embed

    return {
        "ONNX int8": through(open_session(folder / "int8.onnx", "onnx")),
        "OpenVINO int8": through(open_session(folder / "int8.xml", "openvino")),
    }


def _feed(ids: Sequence[Sequence[int]], names: Sequence[str]) -> Feed:
    width = max(map(len, ids))
    padded = np.zeros((len(ids), width), np.int64)
    mask = np.zeros_like(padded)
    for row, one in enumerate(ids):
        padded[row, : len(one)], mask[row, : len(one)] = one, 1
    arrays = {"input_ids": padded, "attention_mask": mask, "token_type_ids": np.zeros_like(padded)}
    return {name: arrays[name] for name in names}
