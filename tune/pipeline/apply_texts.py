"""Are stored vectors those of the layer's base model? A few of their texts are embedded again and compared.

This is the only part of `apply` that loads a model, or, for a closed one, buys texts.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.adapted import is_adapted
from tune.embed.routes import has_routes, split_route
from tune.errors import DataError
from tune.events import Emit, Message
from tune.export.apply import UNIT_TOLERANCE, ApplyJob
from tune.export.stored_texts import texts_at

if TYPE_CHECKING:
    from tune.embed.closed import ClosedSource
    from tune.embed.purchase import Ask
    from tune.pipeline.apply_request import ApplyRequest

COMPARED = 10
"""Texts that are embedded again."""
LEAST_COSINE = 0.99
"""Between a stored vector and the base model's. float16, and int8 scaled per vector, lose less than 0.001; another
text, model or prompt gives far less than this."""
_CANDIDATES = 4
"""So many times as many texts are read, since some may be empty or alike."""


def check_texts(request: "ApplyRequest", job: ApplyJob, emit: Emit, ask: "Ask | None") -> None:
    """Embed ten texts, spread over the rows, with the base model, and compare them with the stored vectors.

    Raises DataError if one differs, with all cosines; ModelError or UserError as `agree` and the model do.
    """
    assert request.texts is not None
    rows = np.unique(np.linspace(0, job.rows - 1, min(job.rows, COMPARED * _CANDIDATES)).astype(int)).tolist()
    texts = texts_at(request.texts, request.text_column, rows, job.rows)
    first = {text: row for row, text in reversed(list(zip(rows, texts, strict=True))) if text.strip()}
    chosen = sorted((row, text) for text, row in first.items())
    if not chosen:
        raise DataError(f"--texts {request.texts}: the {len(rows)} texts looked at are all empty")
    step = max(1, len(chosen) // COMPARED)
    chosen = chosen[::step][:COMPARED]
    stored = _stored(job, [row for row, _ in chosen])
    embedded = _embedded(request, job, [text for _, text in chosen], emit, ask)
    lengths = np.linalg.norm(stored, axis=1), np.linalg.norm(embedded, axis=1)
    cosines = (stored * embedded).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-12)
    listed = ", ".join(f"row {row:,} {cosine:.4f}" for (row, _), cosine in zip(chosen, cosines, strict=True))
    if not (cosines >= LEAST_COSINE).all():
        raise DataError(
            f"{request.vectors} are not the vectors of {job.layer.base} for {request.texts}: cosines {listed}; "
            f"{LEAST_COSINE} or more is expected. Check the texts' order, the base model and its prompt"
        )
    ratios = lengths[0] / lengths[1]
    if job.layer.needs_lengths and not job.layer.normalised and (abs(ratios - 1) > UNIT_TOLERANCE).any():
        raise DataError(
            f"{request.vectors} have other lengths than the vectors of {job.layer.base} ({ratios.min():.3g} to "
            f"{ratios.max():.3g} times), and the layer depends on them; store the vectors as they are returned"
        )
    emit(Message(f"{len(chosen)} texts embedded again: cosines {cosines.min():.4f} to {cosines.max():.4f}"))


def _stored(job: ApplyJob, rows: list[int]) -> NDArray[np.float32]:
    """Return the stored vectors of some rows, counted over all files, [rows, dims]."""
    found, begin = [], 0
    for file in job.files:
        own = [row - begin for row in rows if begin <= row < begin + file.rows]
        if own:
            found.append(file.at(own))
        begin += file.rows
    return np.concatenate(found)


def _embedded(
    request: "ApplyRequest", job: ApplyJob, texts: list[str], emit: Emit, ask: "Ask | None"
) -> NDArray[np.float32]:
    """Return the base model's vectors of some texts, [texts, dims]."""
    prompt = job.layer.prompts[request.side == "b"]
    if is_adapted(request.model):
        from tune.embed.exported import load_adapted

        return _bought(load_adapted(request.model, request.config.closed).source, prompt, texts, (request, emit, ask))
    from tune.embed.sentence_transformer import SentenceTransformerSource
    from tune.pipeline.environment import check_address_space, check_home

    check_address_space()
    check_home()
    trust = request.config.search.trust_remote_code
    source = SentenceTransformerSource(str(request.model.absolute()), trust_remote_code=trust)
    source.model = _base_of(source.model)
    # A layer for queries alone is a route of the export; the base model may have none.
    _, words = split_route(prompt, job.layer.side == "query")
    return source.embed(texts, prompt if has_routes(source.model) else words)


def _base_of(exported: Any) -> Any:
    """Return the base model inside an export: everything before the layer."""
    from sentence_transformers import SentenceTransformer

    modules = list(exported.children())
    if type(modules[-1]).__name__ == "Normalize":
        modules.pop()
    # Now the layer is last: a Dense, or the routes of one that maps queries alone.
    return SentenceTransformer(modules=modules[:-1], device=str(exported.device)).eval()


def _bought(
    source: "ClosedSource", prompt: str, texts: list[str], context: tuple["ApplyRequest", Emit, "Ask | None"]
) -> NDArray[np.float32]:
    """Return vectors of a closed model: what the cache lacks is bought, once that is approved."""
    from tune.embed.snapshot import text_key
    from tune.pipeline.buying import approved

    request, emit, ask = context
    snapshot = approved(source, {prompt: texts}, request.config, emit, ask)
    snapshot.embed(source, prompt, texts)
    return snapshot.vectors([text_key(prompt, text) for text in texts])
