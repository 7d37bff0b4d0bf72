"""The modules of an export on an open base model, by the side that its layer was trained for.

A layer for queries alone is a route of sentence-transformers' Router, behind the base model: queries take Dense and
Normalize, documents Normalize alone. Plain `encode` takes the documents' route, which returns the base model's own unit
vectors: texts that are embedded without saying what they are then match the vectors that are stored already.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tune.embed.routes import Task, split_route, task_modules

if TYPE_CHECKING:
    from torch.nn import Module

    from tune.embed.prepare import PreparedBase
    from tune.embed.sentence_transformer import SentenceTransformerSource
    from tune.train.trained import TrialModel

DEFAULT_ROUTE: Task = "document"
"""What plain `encode` takes in an export of a layer for queries alone."""


def query_side_modules(model: "TrialModel", source: "SentenceTransformerSource") -> "list[Module]":
    """Return the modules of an export whose layer is for queries alone, in order, the final Normalize included."""
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Normalize

    *base, dense = model.modules(source)
    routes = Router.for_query_document([dense, Normalize()], [Normalize()], default_route=DEFAULT_ROUTE)  # type: ignore[list-item]
    return [*_with_own_routes(base, model.base), routes]


def query_side_prompts(base: "PreparedBase") -> tuple[dict[str, str], str | None]:
    """Return the prompts by name, and the default's name: that of the default route, if it has a prompt."""
    query, document = (split_route(prompt, base.routed)[1] for prompt in (base.prompt_a, base.prompt_b))
    return {"query": query, "document": document}, (DEFAULT_ROUTE if document else None)


def _with_own_routes(modules: "Sequence[Module]", base: "PreparedBase") -> "list[Module]":
    """Return the base model's modules with the routes of first and second texts as query and document.

    Where both sides take the same route of the base, its modules stand in the Router's place.
    """
    from sentence_transformers.base.modules import Router

    first, second = (split_route(prompt, base.routed)[0] for prompt in (base.prompt_a, base.prompt_b))
    if first is None or second is None:
        return list(modules)
    found: list[Any] = []
    for module in modules:
        if not isinstance(module, Router):
            found.append(module)
        elif first == second:
            found += task_modules(module, first)
        else:
            queries, documents = task_modules(module, first), task_modules(module, second)
            found.append(Router.for_query_document(queries, documents, default_route=DEFAULT_ROUTE))
    return found
