"""Int8Source: an open transformer with int8 weights and activations, run by OpenVINO on the CPU.

Activations are rounded to fixed ranges, so a vector does not depend on the texts beside it: ranges of each batch, or of
each text, would make it so. They are taken from texts of our own, so the int8 model depends on the base model alone,
and all searches share it. It is converted once and kept in the cache, complete or absent, in a folder with the name of
its snapshot.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tune.config.pins import split_pin
from tune.data.general import general_pairs
from tune.embed.batches import alike
from tune.embed.fingerprint import fingerprint
from tune.embed.graph import Session, Tokens, open_session, read_tokens
from tune.embed.graphs.network import VECTORS, Chain, chains_of
from tune.embed.graphs.part import CALIBRATION, Form, write_part
from tune.embed.graphs.refusal import NotAGraph
from tune.embed.graphs.tokens import write_tokenizer
from tune.embed.routes import Task, has_routes, split_route
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import unit
from tune.errors import ModelError
from tune.events import Emit, Message, ignore
from tune.files import make_directory
from tune.machine import usable_cores

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_RECIPE = 1
"""Raised when the way to int8 changes, so that vectors of the former way are not used."""
_TOKENS_PER_THREAD = 512
"""Of a batch, with padding."""
_COMPARED = 64
_REQUESTS, _TOKENS = (2, 4, 8, 16, 32), (4, 8, 16, 32, 64)
"""How many requests are joined, and of how many tokens random texts are."""
_ABOUT = "graph.json"


class Int8Source:
    """The vectors of `exact`, an fp32 model, in int8. An `EmbeddingSource`. cache: of embedded texts."""

    def __init__(self, exact: SentenceTransformerSource, cache: Path, emit: Emit = ignore) -> None:
        self.name = exact.name
        self._exact, self._emit = exact, emit
        self._routed = has_routes(exact.model)
        self._folder = cache / "int8"
        self._graphs: dict[Task | None, tuple[Tokens, Session]] = {}

    @property
    def weights(self) -> str:
        """Hash of the fp32 weights."""
        return self._exact.weights

    @property
    def known_dims(self) -> int | None:
        """Dims of the vectors."""
        return self._exact.dims

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the fp32 model, the texts that give the ranges, and what converts and runs it."""
        digest = hashlib.sha256(json.dumps(_requests()).encode()).hexdigest()
        facts = [self._exact.fingerprint, "int8", _RECIPE, version("openvino"), version("nncf"), digest]
        return fingerprint(Path(split_pin(self.name)[0]).name, facts)

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Return those of the fp32 model."""
        return self._exact.prompts(query_document, given)

    def embed(self, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
        """Return vectors, float32 [n, dims].

        The first call converts the model, unless the cache has it, and says how near its vectors are to the fp32 ones.
        Raises ModelError if the model cannot be converted, or a vector is not finite.
        """
        route, before = split_route(prompt, self._routed)
        first = route not in self._graphs
        if first:
            self._graphs[route] = self._graph(route, prompt)
        tokens, session = self._graphs[route]
        vectors = run_graph(replace(tokens, prompt=before), session, texts, self._exact.dims)
        if not np.isfinite(vectors).all():
            raise ModelError(f"base model {self.name} returned non-finite vectors; try --precision fp32")
        if first:
            self._compare(texts[:_COMPARED], vectors[:_COMPARED], prompt)
        return vectors

    def _graph(self, route: Task | None, prompt: str) -> tuple[Tokens, Session]:
        """Return the tokenizer and the graph of a route. prompt: one that texts will have."""
        folder = self._folder / (self.fingerprint if route is None else f"{self.fingerprint}-{route}")
        try:
            chain, _ = chains_of(self._exact.model, (prompt, prompt))
            if not folder.exists():
                self._convert(replace(chain, prompt="", given="" if route is None else f"[{route}] "), folder)
        except NotAGraph as error:
            raise ModelError(
                f"base model {self.name} cannot be embedded in int8: {error}; use --precision fp32"
            ) from None
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            return read_tokens(folder, about), open_session(folder / about["file"], "openvino")
        except Exception as error:
            reason = " ".join(str(error).split())[:150] or type(error).__name__
            raise ModelError(
                f"base model {self.name}: {folder} cannot be loaded ({reason}); delete it to convert the model again"
            ) from None

    def _convert(self, chain: Chain, folder: Path) -> None:
        """Write the graph of these modules, and its tokenizer, into a new folder. Raises NotAGraph."""
        self._emit(Message(f"{self.name}: converting to int8, once for this cache"))
        model = self._exact.model
        device = model.device

        def fill(part: Path) -> None:
            tokenizer = read_tokens(part, write_tokenizer(chain, part / "tokenizer.json")).tokenizer
            form = Form("openvino", int8=True, unit=False)
            about, _ = write_part(self._exact, [chain], form, part / "model", fitting_texts(tokenizer))
            (part / _ABOUT).write_text(json.dumps({**about, "prompt": ""}), encoding="utf-8")

        try:
            model.to("cpu")
            make_directory(folder, fill)
        except OSError:
            # Another run may have converted it meanwhile.
            if not folder.exists():
                raise
        finally:
            model.to(device)

    def _compare(self, texts: Sequence[str], vectors: NDArray[np.float32], prompt: str) -> None:
        """Say how near the vectors are to the fp32 ones."""
        cosines = (unit(vectors) * unit(self._exact.embed(texts, prompt))).sum(axis=1)
        self._emit(
            Message(
                f"{self.name}: int8 vectors of {len(texts)} texts have a mean cosine of {cosines.mean():.4f} with the "
                f"fp32 ones (least: {cosines.min():.4f})"
            )
        )


def fitting_texts(tokenizer: "Tokenizer") -> list[str]:
    """Return CALIBRATION texts that give the ranges of activations: plain English, and words of a model's own.

    Half are everyday requests, alone and joined to longer texts; without long ones, vectors of long texts would be
    further from the fp32 ones. Half are random tokens of the tokenizer's vocabulary, which may know no English.
    """
    rng, size = random.Random(0), tokenizer.get_vocab_size()
    return [
        *_requests(),
        *(
            tokenizer.decode([int(rng.random() * size) for _ in range(length)])
            for length in _TOKENS
            for _ in range(CALIBRATION // 2 // len(_TOKENS))
        ),
    ]


@cache
def _requests() -> tuple[str, ...]:
    single = list(dict.fromkeys(text for pair in general_pairs() for text in pair[:2]))
    joined = [
        " ".join(single[(37 * number + 11 * at) % len(single)] for at in range(length))
        for length in _REQUESTS
        for number in range(CALIBRATION // 4 // len(_REQUESTS))
    ]
    return (*single[::3][: CALIBRATION // 2 - len(joined)], *joined)


def run_graph(tokens: Tokens, session: Session, texts: Sequence[str], dims: int) -> NDArray[np.float32]:
    """Return the vectors of a graph, float32 [n, dims], in batches of alike token counts."""
    encodings = tokens.of(texts)
    vectors = np.empty((len(texts), dims), np.float32)
    for rows in _batches(np.array([len(one.ids) for one in encodings], np.int64), equal=tokens.left):
        feed = tokens.padded([encodings[row] for row in rows])
        vectors[rows] = session.run({name: feed[name] for name in session.inputs}, VECTORS)
    return vectors


def _batches(tokens: NDArray[np.int64], *, equal: bool) -> list[NDArray[np.int64]]:
    """Return batches of positions, longest texts first. tokens [n]: of each text.

    equal: only texts of equal length, since padding before a text moves its positions, and with them what is rounded.
    """
    batches = alike(tokens, max(1, _TOKENS_PER_THREAD * usable_cores()))
    if not equal:
        return batches
    return [part for batch in batches for part in np.split(batch, np.flatnonzero(np.diff(tokens[batch])) + 1)]
