"""The network of a graph: a SentenceTransformer's modules for first and second texts, as one torch module.

Modules that both sides share run once: a layer for queries alone is a second output of the same graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module, ModuleList

from tune.embed.graph import MASK, TOKENS, TYPES
from tune.embed.graphs.refusal import NotAGraph
from tune.embed.routes import all_modules, split_route, task_modules

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

VECTORS = "sentence_embedding"
_FIRST = ("Transformer", "StaticEmbedding")
"""Classes of first modules whose tokens are plain arrays."""


@dataclass(frozen=True)
class Chain:
    """The modules that texts of one side pass, in order, and the prompt before them.

    given: the prompt with its route, as the model itself takes it.
    """

    modules: tuple[Module, ...]
    prompt: str
    given: str


def chains_of(model: "SentenceTransformer", prompts: tuple[str, str]) -> tuple[Chain, Chain]:
    """Return the modules of first and second texts. prompts: theirs, with routes if the model has any.

    Raises NotAGraph if their texts do not become plain tokens, or pooling leaves out the prompt.
    """
    from sentence_transformers.base.modules import Router

    routed = any(isinstance(module, Router) for module in all_modules(model))
    found = []
    for prompt in prompts:
        task, text = split_route(prompt, routed)
        modules: list[Module] = []
        for module in model.children():
            if isinstance(module, Router):
                assert task is not None  # prompts of a routed model name their route
                modules += task_modules(module, task)
            else:
                modules.append(module)
        _check(modules, text)
        found.append(Chain(tuple(modules), text, prompt))
    return found[0], found[1]


def _check(modules: Sequence[Module], prompt: str) -> None:
    kind = type(modules[0]).__name__
    if kind not in _FIRST:
        raise NotAGraph(
            f"a model that begins with {kind} cannot be written as a graph, since its texts do not become plain tokens"
        )
    if prompt and any(getattr(module, "include_prompt", True) is False for module in modules):
        raise NotAGraph(f"its pooling leaves out the tokens of the prompt {prompt!r}, which a graph cannot")


class Network(Module):
    """Tokens to vectors, of length 1 unless `unit` is false. names: of the inputs, in their order.

    Returns one output, or that of either side.
    """

    def __init__(self, chains: Sequence[Chain], names: Sequence[str], *, unit: bool = True) -> None:
        super().__init__()
        shared, last = _shared(chains), [_UnitLength()] if unit else []
        self.first = ModuleList(
            [_Mean(module) if _is_static(module) else module for module in chains[0].modules[:shared]]
        )
        self.rest = ModuleList([ModuleList([*chain.modules[shared:], *last]) for chain in _distinct(chains)])
        self.names = tuple(names)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors of each output, [texts, dims]."""
        features: dict[str, Any] = dict(zip(self.names, arrays, strict=True))
        for module in self.first:
            features = module(features)
        found = []
        for modules in self.rest:
            own = dict(features)
            for module in modules:  # type: ignore[attr-defined]
                own = module(own)
            found.append(own[VECTORS])
        return tuple(found)


def outputs_of(chains: Sequence[Chain]) -> list[str]:
    """Return the names of a network's outputs."""
    return [VECTORS] if len(_distinct(chains)) == 1 else ["first", "second"]


def share_a_graph(chains: Sequence[Chain]) -> bool:
    """Return whether both sides begin with the same module, so that one graph serves them."""
    return _shared(chains) > 0


def inputs_of(chain: Chain) -> list[str]:
    """Return the names of the arrays that a chain takes. Raises NotAGraph for those that are no plain tokens."""
    first: Any = chain.modules[0]
    if _is_static(first):
        return [TOKENS, MASK]
    features: Mapping[str, Any] = first.preprocess(["one"])
    if unknown := [name for name, value in features.items() if torch.is_tensor(value) and name not in _KNOWN]:
        raise NotAGraph(f"its transformer takes {unknown[0]}, which a graph of tokens has not")
    return [name for name in _KNOWN if name in features]


_KNOWN = (TOKENS, MASK, TYPES)


class _Mean(Module):
    """The mean of static vectors, from padded tokens in place of sentence-transformers' list of offsets."""

    def __init__(self, static: Module) -> None:
        super().__init__()
        bag: Any = static.embedding
        self.words = torch.nn.Embedding(bag.num_embeddings, bag.embedding_dim, _weight=bag.weight.detach().float())

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        mask = features[MASK].unsqueeze(-1).float()
        total = (self.words(features[TOKENS]) * mask).sum(dim=1)
        features[VECTORS] = total / mask.sum(dim=1).clamp(min=1)
        return features


class _UnitLength(Module):
    """The final normalisation, whether or not the model itself ends with one."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features[VECTORS] = torch.nn.functional.normalize(features[VECTORS], dim=1)
        return features


def _is_static(module: Module) -> bool:
    return type(module).__name__ == "StaticEmbedding"


def _distinct(chains: Sequence[Chain]) -> list[Chain]:
    return list({tuple(map(id, chain.modules)): chain for chain in chains}.values())


def _shared(chains: Sequence[Chain]) -> int:
    """Return how many modules from the first on all chains share."""
    count = 0
    for modules in zip(*(chain.modules for chain in chains), strict=False):
        if any(module is not modules[0] for module in modules):
            break
        count += 1
    return count
