"""GraphEmbedder: an export as an ONNX or OpenVINO graph from tokens to unit vectors. Loading it needs no torch.

`graph` in embedtune.json says how texts become tokens and which output is whose; `tune.export.formats` writes it.
"""

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tune.embed.adapted import ABOUT, Side
from tune.embed.export_files import export_name
from tune.embed.similarity import unit
from tune.errors import ModelError
from tune.machine import usable_cores

Format = Literal["onnx", "openvino"]
RUNTIMES: Mapping[Format, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Format -> the package that runs it."""
WRITERS: Mapping[Format, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino", "nncf")}
"""Format -> the packages that writing it takes."""
TOKENS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"

_TEXTS, _TOKENS = 64, 65_536
"""The most texts, and the most tokens with padding, that go through the graph together."""

Feed = dict[str, NDArray[np.int64]]


class Session(Protocol):
    """A graph in memory. inputs: names of the arrays that it takes, each int64 [texts, tokens]."""

    inputs: frozenset[str]

    def run(self, feed: Feed, output: str) -> NDArray[np.float32]:
        """Return an output by name: [texts, dims]."""
        ...


@dataclass(frozen=True)
class Tokens:
    """How texts become tokens. special: whether the tokenizer adds its marks. left: whether padding stands before."""

    tokenizer: Any
    prompt: str
    special: bool
    pad: int
    pad_type: int
    left: bool

    def of(self, texts: Sequence[str]) -> list[Any]:
        """Return the tokenizer's encodings of texts with the prompt before each, cut at the limit of tokens."""
        found: list[Any] = self.tokenizer.encode_batch(
            [self.prompt + text for text in texts], add_special_tokens=self.special
        )
        return found

    def padded(self, encodings: Sequence[Any]) -> Feed:
        """Return encodings as arrays of equal width, at least one token wide."""
        shape = len(encodings), max(1, *(len(one.ids) for one in encodings))
        feed = {
            TOKENS: np.full(shape, self.pad, np.int64),
            MASK: np.zeros(shape, np.int64),
            TYPES: np.full(shape, self.pad_type, np.int64),
        }
        for row, one in enumerate(encodings):
            length = len(one.ids)
            place = slice(shape[1] - length, None) if self.left else slice(length)
            feed[TOKENS][row, place], feed[MASK][row, place], feed[TYPES][row, place] = one.ids, 1, one.type_ids
        return feed


class GraphEmbedder:
    """Texts to unit vectors, float32 [n, dims], by the graph alone.

    name: of the directory. routes: by side, the tokens of its texts, the graph and the output that has its vectors.
    """

    def __init__(self, name: str, dims: int, routes: Mapping[Side, tuple[Tokens, Session, str]]) -> None:
        self.name, self.dims = name, dims
        self._routes = routes

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Load an exported graph. Raises ModelError if it is not one, is damaged, or its runtime is not installed."""
        directory = Path(directory)
        graph = _described(directory)
        try:
            kind: Format = graph["format"]
            check_runtime(kind)
            sessions: dict[str, Session] = {}
            routes: dict[Side, tuple[Tokens, Session, str]] = {}
            for side in ("a", "b"):
                about = graph["sides"][side]
                file = str(about["file"])
                if file not in sessions:
                    sessions[file] = open_session(directory / _inside(file), kind)
                routes[side] = read_tokens(directory, about), sessions[file], str(about["output"])
            return cls(export_name(directory), int(graph["dims"]), routes)
        except ModelError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:150] or type(error).__name__
            raise ModelError(f"{directory} cannot be loaded ({reason}); export the model again") from None

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Return unit vectors, float32 [n, dims]. side: "a" for first texts (queries), "b" for second (documents)."""
        tokens, session, output = self._route(side)
        vectors = np.empty((len(texts), self.dims), np.float32)
        for rows, encodings in _batches(tokens, texts):
            feed = tokens.padded(encodings)
            vectors[rows] = session.run({name: feed[name] for name in session.inputs}, output)
        return unit(vectors)

    def count_tokens(self, texts: Sequence[str], side: Side = "a") -> list[int]:
        """Return how many tokens of each text the model reads, with its prompt and marks, after cutting."""
        return [len(one.ids) for one in self._route(side)[0].of(texts)]

    def _route(self, side: Side) -> tuple[Tokens, Session, str]:
        if side not in ("a", "b"):
            raise ValueError(f"side must be a or b, not {side}")
        return self._routes[side]


def check_runtime(kind: Format) -> None:
    """Raise ModelError if what runs a format is not installed."""
    if importlib.util.find_spec(RUNTIMES[kind]) is None:
        raise ModelError(f"{RUNTIMES[kind]} is not installed; run pip install 'embedtune[{kind}]'")


def check_writing(kind: Format, what: str) -> None:
    """Raise ModelError if packages that writing a format takes are not installed. what: the option that needs them."""
    missing = [name for name in WRITERS[kind] if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ModelError(f"{what}: {' and '.join(missing)} {verb} not installed; run pip install 'embedtune[{kind}]'")


def open_session(file: Path, kind: Format) -> Session:
    """Load a graph onto the CPU, with as many threads as this process may use cores."""
    return _Onnx(file) if kind == "onnx" else _OpenVino(file)


class _Onnx:
    def __init__(self, file: Path) -> None:
        # Before the import: onnxruntime reports its use over the network otherwise.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.inputs = frozenset(one.name for one in self._session.get_inputs())

    def run(self, feed: Feed, output: str) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._session.run([output], feed)[0]
        return vectors


class _OpenVino:
    def __init__(self, file: Path) -> None:
        import openvino

        # On CPUs that have bfloat16, OpenVINO would otherwise compute in it, which moves vectors by 0.004.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_cores()}
        self._model = openvino.Core().compile_model(str(file), "CPU", options)
        self.inputs = frozenset(one.get_any_name() for one in self._model.inputs)

    def run(self, feed: Feed, output: str) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._model(feed)[self._model.output(output)]
        return vectors


def _batches(tokens: Tokens, texts: Sequence[str]) -> Iterator[tuple[list[int], list[Any]]]:
    """Yield rows and their encodings, long texts first: texts of one batch are padded to the longest of them."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    for start in range(0, len(order), _TEXTS):
        rows = order[start : start + _TEXTS]
        encodings = tokens.of([texts[row] for row in rows])
        size = max(1, _TOKENS // max(1, *(len(one.ids) for one in encodings)))
        for first in range(0, len(rows), size):
            yield rows[first : first + size], encodings[first : first + size]


def _described(directory: Path) -> dict[str, Any]:
    try:
        graph = json.loads((directory / ABOUT).read_text(encoding="utf-8"))["graph"]
    except (OSError, ValueError, KeyError, TypeError):
        graph = None
    if not isinstance(graph, dict) or graph.get("format") not in RUNTIMES:
        raise ModelError(
            f"{directory} is not an export as a graph; make one with python -m tune export RESULTS --format onnx "
            "--to DIR"
        )
    return graph


def read_tokens(directory: Path, about: Mapping[str, Any]) -> Tokens:
    """Load the tokenizer of a side, as `graph` in embedtune.json describes it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / _inside(str(about["tokenizer"]))))
    return Tokens(
        tokenizer,
        str(about["prompt"]),
        bool(about["special_tokens"]),
        int(about["pad"]),
        int(about["pad_type"]),
        about["padding_side"] == "left",
    )


def _inside(name: str) -> str:
    """Return the name of a file of the directory itself. Raises ModelError for any other: it may be a stranger's."""
    if Path(name).name != name:
        raise ModelError(f"{ABOUT} names {name!r}, which is not a file of its directory; export the model again")
    return name
