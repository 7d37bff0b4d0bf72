"""Routes: base models (sentence-transformers' Router) that encode queries and documents by different modules.

The route of a text is the first part of its prompt, "[query] " or "[document] ", like Cohere's input types in
`ClosedSource`: a text that is embedded as query and as document is two rows of a snapshot, and whoever gets a prompt
also gets the route.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from tune.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Router

Task = Literal["query", "document"]

_MARK = re.compile(r"\[(query|document)\] ")
TASKS: tuple[Task, Task] = ("query", "document")


def split_route(prompt: str, routed: bool) -> tuple[Task | None, str]:
    """Return the route of a prompt, None for none, and the prompt without it. routed: whether the model has routes."""
    found = _MARK.match(prompt) if routed else None
    if found is None:
        return None, prompt
    return ("query" if found[1] == "query" else "document"), prompt[found.end() :]


def side_routes(prompts: tuple[str, str], routed: bool) -> tuple[str, str]:
    """Return the prompts of first and second texts with the routes query and document, in place of any they have."""
    first, second = (split_route(prompt, routed)[1] for prompt in prompts)
    return f"[query] {first}", f"[document] {second}"


def task_modules(router: "Router", task: Task) -> list[Any]:
    """Return the modules of a Router's route for a task. Raises KeyError if it has none."""
    routes: Any = router.sub_modules
    return list(routes[_route(router, task)])


def is_query_side(module: Any) -> bool:
    """Return whether a module of an export is a Router with a trained layer for queries alone."""
    routes = getattr(module, "sub_modules", None)
    if routes is None or set(routes) != set(TASKS):
        return False
    return [[type(one).__name__ for one in routes[task]] for task in TASKS] == [["Dense", "Normalize"], ["Normalize"]]


def has_routes(model: Any) -> bool:
    """Return whether a SentenceTransformer has a Router among its modules."""
    return next(_routers(model), None) is not None


def encoding(model: Any, prompt: str) -> dict[str, Any]:
    """Return the arguments of `model.encode` for a prompt that may begin with a route."""
    task, rest = split_route(prompt, has_routes(model))
    return {"prompt": rest} if task is None else {"prompt": rest, "task": task}


def first_modules(model: Any) -> list[Any]:
    """Return the modules that turn texts into tokens: the first one, or the first one of every route."""
    router = next(_routers(model), None)
    if router is None or router is not model[0]:
        return [model[0]]
    routes: Any = router.sub_modules.values()
    return [modules[0] for modules in routes]


def all_modules(model: Any) -> Iterator[Any]:
    """Yield the modules of a SentenceTransformer in order, those of a Router's routes after the Router."""
    routers = list(_routers(model))
    for module in model.children():
        yield module
        if module in routers:
            for modules in module.sub_modules.values():
                yield from modules


def check_routes(model: Any, name: str) -> None:
    """Raise ModelError if a Router has no route for queries or documents, or routes of different dims."""
    for router in _routers(model):
        known = ", ".join(router.sub_modules)
        if None in {_route(router, task) for task in TASKS}:
            raise ModelError(
                f"base model {name} has routes for {known}, but not for query and document, so texts cannot be routed; "
                "save it with the routes query and document, or give a base model without a Router"
            )
        found = (_dims(router.sub_modules[_route(router, task)]) for task in TASKS)
        dims = sorted({one for one in found if one is not None})
        if len(dims) > 1:
            raise ModelError(
                f"base model {name}: its routes return {' and '.join(map(str, dims))} dims, so their "
                "vectors cannot be compared; give a base model with routes of equal dims"
            )


def routed_prompts(model: Any, name: str, prompts: tuple[str, str], query_document: bool) -> tuple[str, str]:
    """Return the prompts of first and second texts, each with its route if the model has routes.

    A prompt that names its route keeps it. Else queries and documents get theirs; if query_document is False, both
    sides get the model's default route. Raises ModelError if it has none.
    """
    if not has_routes(model):
        return prompts
    missing = any(split_route(prompt, True)[0] is None for prompt in prompts)
    tasks = TASKS if query_document or not missing else (_default(model, name),) * 2
    first, second = (
        prompt if split_route(prompt, True)[0] else f"[{task}] {prompt}"
        for task, prompt in zip(tasks, prompts, strict=True)
    )
    return first, second


def _default(model: Any, name: str) -> Task:
    router = next(_routers(model))
    own = _route(router, None)
    for task in reversed(TASKS):
        if own is not None and _route(router, task) == own:
            return task
    raise ModelError(
        f"base model {name} encodes queries and documents differently and has no default route; name the text columns "
        "query and document, or give --prompt-a '[query] ' --prompt-b '[document] '"
    )


def one_route(model: Any, prompts: tuple[str, str]) -> Task | None:
    """Return the route of both prompts, if the model has routes and they have the same one, else None."""
    first, second = (split_route(prompt, has_routes(model))[0] for prompt in prompts)
    return first if first == second else None


def use_task(model: Any, task: Task) -> None:
    """Make the route of `task` the default one, so that plain `encode` takes it."""
    for router in _routers(model):
        router.default_route = _route(router, task)


def _routers(model: Any) -> "Iterator[Router]":
    from sentence_transformers.base.modules import Router

    return (module for module in model.children() if isinstance(module, Router))


def _route(router: "Router", task: Task | None) -> Any:
    try:
        return router._resolve_route(task=task, modality="text")
    except ValueError:
        return None


def _dims(modules: Any) -> int | None:
    """Return the dims of a route's vectors; None if its modules do not say."""
    known = (module.get_embedding_dimension() for module in reversed(modules) if _says_dims(module))
    return next(known, None)


def _says_dims(module: Any) -> bool:
    return callable(getattr(module, "get_embedding_dimension", None))
