"""Which readers serve an exported directory right, decided from its files by each reader's published rules.

Read in November 2026: sentence-transformers 3.0 to 6.2; Text Embeddings Inference (TEI), router/src/lib.rs,
core/src/download.rs, backends/src/lib.rs and backends/candle; vLLM, transformers_utils/config.py (get_pooling_config,
try_get_dense_modules), model_executor/models/adapters.py (_load_st_projector), layers/pooler and models/registry.py.
Of the registry, and of TEI's list of architectures, only excerpts were seen. `since` of TEI and vLLM follows from the
dates of the pull requests that brought the Dense layer (TEI 738, vLLM 23408). vLLM's pull request
54533 (August 2026) reads the newer module names as well. No server was started.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tune.export.portable import MODULES, OLD

Verdict = Literal["right", "wrong", "no", "unknown"]

ST, TEI, VLLM = "sentence-transformers", "Text Embeddings Inference", "vLLM"

_TEI_TYPES = {
    "bert", "camembert", "distilbert", "gemma3_text", "gte", "mistral", "modernbert", "mpnet", "new", "nomic_bert",
    "qwen2", "qwen3", "roberta", "xlm-roberta",
}  # fmt: skip
"""`model_type` of the architectures that TEI's candle backend has."""

_VLLM_ARCHITECTURES = {
    "BertModel", "ErnieModel", "Gemma2Model", "Gemma3TextModel", "GteModel", "GteNewModel", "LlamaModel",
    "MistralModel", "ModernBertModel", "NomicBertModel", "Qwen2Model", "Qwen3Model", "RobertaModel", "XLMRobertaModel",
}  # fmt: skip
"""`architectures` in vLLM's registry of embedding models, or that it converts into one."""

_IDENTITY, _TANH = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last token",
}
"""The pooling that both servers have."""

_REMEDIED = "normalises at the end alone"
_REMEDY = "; a layer without bias and activation (--bias false --activation identity) is served right"

_CORE = ("Transformer", "Pooling", "Dense", "Normalize")


@dataclass(frozen=True)
class Serving:
    """How a reader serves a model. verdict: "no" if it cannot load it, "unknown" if its rules do not say.

    since: its first version for this model. why: a clause, unless the verdict is right. needs: what it has to be told.
    """

    verdict: Verdict
    since: str = ""
    why: str = ""
    needs: str = ""

    def to_json(self) -> dict[str, str]:
        """Return plain values by field name."""
        return asdict(self)


@dataclass(frozen=True)
class _Module:
    """A module: its class, whether under its old name, and its config.json."""

    kind: str
    old: bool
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def changes_with_length(self) -> bool:
        """Whether it is a layer whose output depends on the length of its input, not on its direction alone."""
        return self.kind == "Dense" and (self.config.get("bias", True) or not self.is_identity)

    @property
    def is_identity(self) -> bool:
        """Whether a layer has no activation."""
        return self.config.get("activation_function") == _IDENTITY


def servers_of(directory: Path) -> dict[str, Serving]:
    """Return how each reader serves an exported SentenceTransformer, by the reader's name."""
    modules = [
        _Module(entry["type"].rsplit(".", 1)[-1], entry["type"].startswith(OLD), _of_module(directory, entry["path"]))
        for entry in _read(directory / MODULES)
    ]
    prompts = {
        name: text
        for name, text in (_read(directory / "config_sentence_transformers.json").get("prompts") or {}).items()
        if text
    }
    transformer = _read(directory / "config.json")
    return {
        ST: _sentence_transformers(modules, transformer),
        TEI: _tei(modules, transformer, prompts),
        VLLM: _vllm(modules, transformer, prompts),
    }


def _sentence_transformers(modules: Sequence[_Module], transformer: dict[str, Any]) -> Serving:
    if not all(module.old for module in modules):
        return Serving("right", "6")
    kinds = {module.kind for module in modules}
    since = "5" if "Router" in kinds else "3.2" if "StaticEmbedding" in kinds else "3"
    return Serving("right", since)


def _tei(modules: Sequence[_Module], transformer: dict[str, Any], prompts: dict[str, str]) -> Serving:
    since = "1.8.3"
    if refused := _no_transformer(modules):
        return Serving("no", since, refused)
    if own := _own_code(transformer):
        return Serving("unknown", since, own)
    if transformer.get("model_type") not in _TEI_TYPES:
        return Serving("unknown", since, f"its list of architectures has no {transformer.get('model_type')}")
    if _pooling(modules) is None:
        return Serving("no", since, "its pooling is neither mean, cls nor last token")
    if any(module.kind == "Dense" and not _known_activation(module, (_IDENTITY, _TANH)) for module in modules):
        return Serving("no", since, "its Dense layer has an activation other than tanh")
    if odd := _odd(modules):
        return Serving("wrong", since, odd)
    if why := _lost(modules, prompts):
        return Serving("wrong", since, why)
    return Serving("right", since, needs=_tei_needs(prompts, transformer["model_type"]))


def _vllm(modules: Sequence[_Module], transformer: dict[str, Any], prompts: dict[str, str]) -> Serving:
    since = "0.11"
    if refused := _no_transformer(modules):
        return Serving("no", since, refused)
    if own := _own_code(transformer):
        return Serving("unknown", since, own)
    [architecture] = (transformer.get("architectures") or [""])[:1]
    if architecture not in _VLLM_ARCHITECTURES:
        return Serving("unknown", since, f"its list of embedding models has no {architecture or 'such architecture'}")
    if any(not module.old and module.kind in _CORE for module in modules):
        return Serving("unknown", since, "it reads the newer names of modules only since its pull request 54533")
    if _pooling(modules) is None:
        return Serving("wrong", since, "its pooling is neither mean, cls nor last token, and it takes another instead")
    activations = (_IDENTITY, _TANH, *(f"torch.nn.modules.activation.{name}" for name in ("GELU", "ReLU", "Sigmoid")))
    if any(module.kind == "Dense" and not _known_activation(module, activations) for module in modules):
        return Serving("wrong", since, "it leaves out a Dense layer with this activation")
    if odd := _odd(modules):
        return Serving("wrong", since, odd)
    if why := _lost(modules, prompts):
        return Serving("wrong", since, why)
    needs = "put the model's prompt in front of each text, it does not do so itself" if prompts else ""
    return Serving("right", since, needs=needs)


def _no_transformer(modules: Sequence[_Module]) -> str:
    """Return why a server of transformers cannot load it; "" if it can."""
    first = modules[0].kind
    if first == "Transformer":
        return ""
    what = {"Router": "queries and documents take different routes", "StaticEmbedding": "its embeddings are static"}
    return f"{what.get(first, f'it begins with the module {first}')}, and the server runs transformers alone"


def _odd(modules: Sequence[_Module]) -> str:
    """Return what the servers make of a module that they do not know; "" if they know them all."""
    odd = next((module.kind for module in modules if not module.old or module.kind not in _CORE), "")
    if odd == "Router":
        return "it gives queries the vectors of documents, since it leaves out the layer for queries"
    # TEI then leaves out every Dense layer as well.
    return f"it leaves out the module {odd}" if odd else ""


def _own_code(transformer: dict[str, Any]) -> str:
    return "its base model runs code of its own" if transformer.get("auto_map") else ""


def _pooling(modules: Sequence[_Module]) -> str | None:
    """Return the pooling if it is one of those that the servers have."""
    config = next((module.config for module in modules if module.kind == "Pooling" and module.old), {})
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    return _MODES.get(chosen[0]) if len(chosen) == 1 else None


def _known_activation(module: _Module, known: Sequence[str]) -> bool:
    return module.config.get("activation_function") in known


def _lost(modules: Sequence[_Module], prompts: dict[str, str]) -> str:
    """Return what a server that pools, applies every Dense and normalises once loses of the model; "" for nothing."""
    normalised = False
    for module in modules:
        if normalised and module.changes_with_length:
            what = "a bias" if module.config.get("bias", True) else "an activation"
            return f"it {_REMEDIED}, but the Dense layer has {what} and takes vectors of length 1"
        normalised = normalised or module.kind == "Normalize"
    pooling = next((module.config for module in modules if module.kind == "Pooling"), {})
    if prompts and not pooling.get("include_prompt", True):
        return "its pooling leaves out the prompt's tokens, which the server counts"
    return ""


_TEI_STARTS = {
    **dict.fromkeys(("mistral", "qwen2"), "start it on a CUDA GPU with --dtype float16"),
    "gemma3_text": "start it with --dtype float32",
}
"""What TEI asks for to start at all, by `model_type`."""


def _tei_needs(prompts: dict[str, str], model_type: str) -> str:
    needs = [_TEI_STARTS[model_type]] if model_type in _TEI_STARTS else []
    if list(prompts) == ["text"]:
        needs.append("start it with --default-prompt-name text")
    elif prompts:
        names = " or ".join(f'"prompt_name": "{name}"' for name in prompts)
        needs.append(f"give {names} in each request to /embed")
    return " and ".join(needs)


def card_sentences(servers: Mapping[str, Serving]) -> list[str]:
    """Return a sentence or two per reader, as Markdown."""
    return [_sentence(f"**{name}**", serving) for name, serving in servers.items()]


def warnings(servers: Mapping[str, Any]) -> list[str]:
    """Return a line per server that gives other vectors, always or unless told something.

    servers: of embedtune.json; those of earlier versions have none.
    """
    found = {name: Serving(**serving) for name, serving in servers.items()}
    wrong = [
        f"{name} will serve this model wrongly: {serving.why}{_REMEDY if _REMEDIED in serving.why else ''}"
        for name, serving in found.items()
        if serving.verdict == "wrong"
    ]
    told = [
        f"{name} serves this model right only if you {serving.needs}"
        for name, serving in found.items()
        if serving.needs
    ]
    return wrong + told


def _sentence(name: str, serving: Serving) -> str:
    since = f"{name} {serving.since} or later" if serving.since else name
    if serving.verdict == "right":
        return f"{since} gives these vectors" + (f" if you {serving.needs}." if serving.needs else ".")
    if serving.verdict == "wrong":
        return f"{name} gives **other vectors**: {serving.why}."
    if serving.verdict == "no":
        return f"{name} cannot load it: {serving.why}."
    return f"{name} is unchecked: {serving.why}. Compare a few vectors first."


def _of_module(directory: Path, path: str) -> dict[str, Any]:
    # A transformer at the top has another config.json than modules have.
    found: dict[str, Any] = _read(directory / path / "config.json") if path else {}
    return found


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
