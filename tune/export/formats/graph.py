"""Writes a SentenceTransformer as a graph: model.onnx or model.xml, tokenizer.json, and `graph` for embedtune.json."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune.embed.adapted import Side
from tune.embed.graphs.network import Chain, chains_of, outputs_of, share_a_graph
from tune.embed.graphs.part import Form, write_part
from tune.embed.graphs.refusal import NotAGraph
from tune.errors import ModelError
from tune.export.formats.request import Request

if TYPE_CHECKING:
    from tune.embed.sentence_transformer import SentenceTransformerSource


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
    form = Form(request.form, int8=request.quantize is not None)
    sides: dict[Side, dict[str, Any]] = {}
    files: list[str] = []
    with _with_advice():
        chains = chains_of(source.model, prompts)
        together = share_a_graph(chains)
        for letter, chain in _sides(chains, together):
            stem = "model" if together else f"model_{letter}"
            own = chains if together else [chain]
            part, written = write_part(source, own, form, directory / stem, texts)
            files += written
            outputs = outputs_of(own)
            for at, side in enumerate(("a", "b") if together else (letter,)):
                output = outputs[min(at, len(outputs) - 1)]
                about = {**part, "output": output, "prompt": chains["ab".index(side)].prompt}
                sides["a" if side == "a" else "b"] = about
    table = {"format": request.form, "precision": request.precision, "dims": source.dims, "sides": sides}
    return Graph(table, files)


@contextlib.contextmanager
def _with_advice() -> Iterator[None]:
    """Add to a refusal how the model can be exported."""
    try:
        yield
    except NotAGraph as error:
        raise ModelError(f"{error}; export it without --format") from None


def _sides(chains: tuple[Chain, Chain], together: bool) -> list[tuple[Side, Chain]]:
    return [("a", chains[0])] if together else [("a", chains[0]), ("b", chains[1])]
