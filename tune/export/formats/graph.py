"""Writes a SentenceTransformer as a graph: model.onnx or model.xml, tokenizer.json, and `graph` for embedtune.json."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tune.embed.adapted import Side
from tune.embed.graph import Feed, Session, Tokens, open_session, read_tokens
from tune.embed.similarity import unit
from tune.errors import ModelError
from tune.export.formats.network import (
    Chain,
    Network,
    chains_of,
    inputs_of,
    outputs_of,
    share_a_graph,
)
from tune.export.formats.onnx import quantise_onnx, write_onnx
from tune.export.formats.openvino import quantise_openvino, write_openvino
from tune.export.formats.request import Request
from tune.export.formats.tokens import write_tokenizer

if TYPE_CHECKING:
    from tune.embed.sentence_transformer import SentenceTransformerSource

_SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
CALIBRATION = 300
"""The most training texts that give the ranges of activations, nncf's own default."""
_EXAMPLES = ("a first example of a text", "another one, which is somewhat longer than the first", "", "words " * 700)
TOLERANCE = 1e-4
"""How far a component of an fp32 graph's unit vectors may be from the model's."""


@dataclass(frozen=True)
class Graph:
    """What was written. table: for embedtune.json. files: those of the graph itself, whose bytes are its size."""

    table: dict[str, Any]
    files: Sequence[str]


def write_graph(
    source: "SentenceTransformerSource",
    prompts: tuple[str, str],
    request: Request,
    directory: Path,
    texts: Sequence[str],
) -> Graph:
    """Write a model on the CPU as a graph into a directory.

    prompts: of first and second texts, with routes if the model has any. texts: of training, for the ranges of int8
    activations in OpenVINO; [] if they are gone. Raises ModelError if it cannot be written as a graph, or the fp32
    graph returns other vectors than the model.
    """
    assert request.form != "st"
    chains = chains_of(source.model, prompts)
    together = share_a_graph(chains)
    sides: dict[Side, dict[str, Any]] = {}
    files: list[str] = []
    for letter, chain in _sides(chains, together):
        stem = "model" if together else f"model_{letter}"
        own = chains if together else [chain]
        part, written = _write_part(source, own, request, directory / stem, texts)
        files += written
        outputs = outputs_of(own)
        for at, side in enumerate(("a", "b") if together else (letter,)):
            output = outputs[min(at, len(outputs) - 1)]
            about = {**part, "output": output, "prompt": chains["ab".index(side)].prompt}
            sides["a" if side == "a" else "b"] = about
    table = {"format": request.form, "precision": request.precision, "dims": source.dims, "sides": sides}
    return Graph(table, files)


def _sides(chains: tuple[Chain, Chain], together: bool) -> list[tuple[Side, Chain]]:
    return [("a", chains[0])] if together else [("a", chains[0]), ("b", chains[1])]


def _write_part(
    source: "SentenceTransformerSource", chains: Sequence[Chain], request: Request, stem: Path, texts: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Write one graph and its tokenizer; return the entries of its sides, and the names of the graph's files."""
    assert request.form != "st"
    name = "tokenizer.json" if stem.name == "model" else f"{stem.name}_tokenizer.json"
    about = write_tokenizer(chains[0], stem.with_name(name))
    network, outputs = Network(chains, inputs_of(chains[0])), outputs_of(chains)
    tokens = read_tokens(stem.parent, about)
    file = stem.with_suffix(_SUFFIX[request.form])
    with TemporaryDirectory(dir=stem.parent) as folder:
        onnx = Path(folder) / "fp32.onnx"
        write_onnx(network, tokens.padded(tokens.of(_EXAMPLES[:2])), outputs, onnx)
        session = open_session(onnx, request.form)
        for at, chain in enumerate(chains):
            _check(source, chain, replace(tokens, prompt=chain.prompt), session, outputs[min(at, len(outputs) - 1)])
        if request.form == "openvino" and request.quantize:
            static = not about["special_tokens"]
            quantise_openvino(onnx, file, [] if static else _feeds(tokens, network, texts))
        elif request.form == "openvino":
            write_openvino(onnx, file)
        elif request.quantize:
            quantise_onnx(onnx, file)
        else:
            onnx.rename(file)
    files = [file.name, *([file.with_suffix(".bin").name] if request.form == "openvino" else [])]
    return {"file": file.name, **about}, files


def _feeds(tokens: Tokens, network: Network, texts: Sequence[str]) -> list[Feed]:
    """Return inputs of training texts, one at a time: padding is no part of what activations are usually like."""
    feeds = (tokens.padded([one]) for one in tokens.of(texts[:CALIBRATION]))
    return [{name: feed[name] for name in network.names} for feed in feeds]


def _check(source: "SentenceTransformerSource", chain: Chain, tokens: Tokens, session: Session, output: str) -> None:
    """Compare the fp32 graph's vectors of short, long and empty texts with the model's. Raises ModelError if unlike.

    A text without a token is left out where even the model has no vector for it.
    """
    static = not tokens.special
    texts = [text for text in _EXAMPLES if static or tokens.of([text])[0].ids]
    feed = tokens.padded(tokens.of(texts))
    found = session.run({name: feed[name] for name in session.inputs}, output)
    worst = float(np.abs(found - unit(source.embed(texts, chain.given))).max())
    if not worst <= TOLERANCE:
        raise ModelError(
            f"the graph's vectors differ from the model's by {worst:.2g}, so it was not written; export it without "
            "--format"
        )
