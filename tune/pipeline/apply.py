"""Stored vectors of a base model through a trained layer (`python -m tune apply`), with a check of what they are.

No model is loaded and nothing is bought, unless texts are given to compare the vectors with.
"""

import time
from dataclasses import dataclass, replace

from tune.embed.export_files import exported_in
from tune.embed.purchase import Ask
from tune.errors import UserError
from tune.events import Emit
from tune.export.adapter import Layer
from tune.export.apply import ApplyJob, apply_layer, check_job
from tune.export.stored import open_stored
from tune.pipeline.apply_request import ApplyRequest


@dataclass(frozen=True)
class Applied:
    """What was written: rows of dims, in seconds."""

    rows: int
    dims: int
    seconds: float


def apply_command(request: ApplyRequest, emit: Emit, ask: Ask | None = None) -> Applied:
    """Map stored vectors and write them to a new place, whole or not at all.

    ask: as in `purchase.agree`. Raises UserError if the model has no such layer, a file is no file of its base model's
    vectors, the texts are not theirs, or the cost of comparing them is not approved.
    """
    if request.chunk < 1:
        raise UserError(f"--chunk {request.chunk}: give a number of rows, 1 or more")
    request = replace(request, model=exported_in(request.model))
    layer = Layer.read(request.model)
    _check_side(request, layer)
    job = ApplyJob(
        layer, open_stored(request.vectors, request.column), request.vectors, request.to, request.dtype, request.chunk
    )
    check_job(job, emit)
    if request.texts is not None:
        from tune.pipeline.apply_texts import check_texts

        check_texts(request, job, emit, ask)
    began = time.perf_counter()
    apply_layer(job, emit)
    return Applied(job.rows, layer.dims, time.perf_counter() - began)


def _check_side(request: ApplyRequest, layer: Layer) -> None:
    """Check that it is known which texts the vectors are of, if that matters."""
    if layer.side == "query" and request.side is None:
        raise UserError(f"{request.model} maps queries only; say what the vectors are, with --side query or document")
    if layer.side == "query" and request.side == "b":
        raise UserError(f"nothing to do: {request.model} maps queries only; document vectors stay as they are")
    if request.texts is not None and request.side is None and len(set(layer.prompts)) > 1:
        raise UserError(
            f"--texts: {layer.base} has one prompt for first texts (queries) and another for second ones; say which "
            "these are, with --side query or document"
        )
