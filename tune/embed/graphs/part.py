"""One graph and its tokenizer: written, compared with the model in fp32, then quantised if asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tune.embed.graph import Feed, Format, Session, Tokens, open_session, read_tokens
from tune.embed.graphs.network import Chain, Network, inputs_of, outputs_of
from tune.embed.graphs.onnx import quantise_onnx, write_onnx
from tune.embed.graphs.openvino import quantise_openvino, write_openvino
from tune.embed.graphs.refusal import NotAGraph
from tune.embed.graphs.tokens import write_tokenizer
from tune.embed.similarity import unit

if TYPE_CHECKING:
    from tune.embed.sentence_transformer import SentenceTransformerSource

_SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
CALIBRATION = 300
"""The most training texts that give the ranges of activations, nncf's own default."""
_EXAMPLES = ("a first example of a text", "another one, which is somewhat longer than the first", "", "words " * 700)
TOLERANCE = 1e-4
"""How far a component of an fp32 graph's vectors may be from the model's, as a share of a vector's length."""


@dataclass(frozen=True)
class Form:
    """kind: the runtime. int8: whether weights are quantised. unit: whether its vectors have length 1."""

    kind: Format
    int8: bool = False
    unit: bool = True


def write_part(
    source: "SentenceTransformerSource", chains: Sequence[Chain], form: Form, stem: Path, texts: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Write one graph and its tokenizer; return the entries of its sides, and the names of the graph's files.

    source: on the CPU. stem: of the files. texts: with their prompts, for the ranges of int8 activations in OpenVINO;
    [] leaves activations in fp32. Raises NotAGraph if the model cannot be written as a graph, or the fp32 graph returns
    other vectors.
    """
    name = "tokenizer.json" if stem.name == "model" else f"{stem.name}_tokenizer.json"
    about = write_tokenizer(chains[0], stem.with_name(name))
    network, outputs = Network(chains, inputs_of(chains[0]), unit=form.unit), outputs_of(chains)
    tokens = read_tokens(stem.parent, about)
    file = stem.with_suffix(_SUFFIX[form.kind])
    with TemporaryDirectory(dir=stem.parent) as folder:
        onnx = Path(folder) / "fp32.onnx"
        write_onnx(network, tokens.padded(tokens.of(_EXAMPLES[:2])), outputs, onnx)
        session = open_session(onnx, form.kind)
        for at, chain in enumerate(chains):
            output = outputs[min(at, len(outputs) - 1)]
            _check(source, chain, replace(tokens, prompt=chain.prompt), session, output, form.unit)
        if form.kind == "openvino" and form.int8:
            static = not about["special_tokens"]
            quantise_openvino(onnx, file, [] if static else _feeds(tokens, network, texts))
        elif form.kind == "openvino":
            write_openvino(onnx, file)
        elif form.int8:
            quantise_onnx(onnx, file)
        else:
            onnx.rename(file)
    files = [file.name, *([file.with_suffix(".bin").name] if form.kind == "openvino" else [])]
    return {"file": file.name, **about}, files


def _feeds(tokens: Tokens, network: Network, texts: Sequence[str]) -> list[Feed]:
    """Return inputs of training texts, one at a time: padding is no part of what activations are usually like."""
    feeds = (tokens.padded([one]) for one in tokens.of(texts[:CALIBRATION]))
    return [{name: feed[name] for name in network.names} for feed in feeds]


def _check(
    source: "SentenceTransformerSource", chain: Chain, tokens: Tokens, session: Session, output: str, of_length_1: bool
) -> None:
    """Compare the fp32 graph's vectors of short, long and empty texts with the model's. Raises NotAGraph if unlike.

    A text without a token is left out where even the model has no vector for it.
    """
    static = not tokens.special
    texts = [text for text in _EXAMPLES if static or tokens.of([text])[0].ids]
    feed = tokens.padded(tokens.of(texts))
    found = session.run({name: feed[name] for name in session.inputs}, output)
    given = source.embed(texts, chain.given)
    expected, length = (unit(given), 1.0) if of_length_1 else (given, float(np.linalg.norm(given, axis=1).max()))
    worst = float(np.abs(found - expected).max())
    if not worst <= TOLERANCE * length:
        raise NotAGraph(f"the graph's vectors differ from the model's by {worst:.2g}")
