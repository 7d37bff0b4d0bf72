"""What a push uploads: the exported model, its card and the report, without texts or paths of this machine."""

import os
from pathlib import Path, PurePath
from typing import Any

from tune.config.paths import paths_in, without_these
from tune.config.search import SearchConfig, search_config
from tune.config.toml import read_resolved
from tune.embed.adapted import ABOUT, ADAPTER, is_adapted
from tune.events import Emit, Message
from tune.export.about import read_about
from tune.export.card import PLACE
from tune.export.write import CARD
from tune.pipeline.export import export_model
from tune.pipeline.push import PushJob
from tune.pipeline.report import make_report
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary

_TEXTS = (".md", ".json", ".html")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""What looks like a path in them is a token."""
_REPORT = (
    "\n## Report\n\nThe search that chose this model: [report.md](report.md), and `report.html` to download and open.\n"
)


def contents(job: PushJob, scratch: Path, emit: Emit) -> dict[str, bytes | Path]:
    """Return what to upload, by path in the repository; texts without paths of this machine."""
    model = _model(job, scratch)
    report = make_report([job.folder.root], texts=False)
    found = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}
    # Hidden files are not the model's: a system or an editor left them there.
    found = {name: path for name, path in found.items() if not any(part.startswith(".") for part in Path(name).parts)}
    texts = {
        name: path.read_text(encoding="utf-8")
        for name, path in found.items()
        if path.suffix in _TEXTS and path.name not in _VOCABULARIES
    }
    # Its pictures are in the page: none are drawn for an upload.
    texts |= {"report.html": report.html(), "report.md": report.markdown()}
    private = _private_paths(job.folder)
    files: dict[str, bytes | Path] = {**found}
    for name, text in texts.items():
        text = without_these(text, private)
        files[name] = (_card(text, job.repository) if name == CARD else text).encode()
    if (server := _server(model)) is not None:
        emit(Message(f"{ABOUT} names the server that the texts go to: {server}"))
    return files


def _model(job: PushJob, scratch: Path) -> Path:
    """Return the directory of the exported model: the search's own, or a new one."""
    best = job.folder.best
    if (best / ABOUT).is_file() and (job.trial is None or _is_winner(job.folder, job.trial)):
        return best
    return export_model(job.folder, job.trial, scratch / "model", trust_remote_code=job.trust_remote_code)


def _is_winner(folder: ResultsFolder, trial: str) -> bool:
    """Return whether a trial's name, or its beginning, means the winner and no other trial."""
    winner = str((Summary(folder.summary).get("winner") or {}).get("trial") or "")
    meant = {path.name for path in folder.trials.glob("*") if path.name.startswith(trial)}
    return trial != "" and winner.startswith(trial) and meant <= {winner}


def _card(text: str, repository: str) -> str:
    """Return the card with snippets that load the model from the hub, and a link to the report."""
    stored, load = f'load_file("{PLACE}/{ADAPTER}")', "from safetensors.numpy import load_file\n"
    if stored in text:
        text = text.replace(load, f"from huggingface_hub import hf_hub_download\n{load}", 1)
        text = text.replace(stored, f'load_file(hf_hub_download("{repository}", "{ADAPTER}"))')
    closed = f'AdaptedEmbedder.load("{PLACE}")'
    if closed in text:
        text = text.replace("```python\n", "```python\nfrom huggingface_hub import snapshot_download\n", 1)
        text = text.replace(closed, f'AdaptedEmbedder.load(snapshot_download("{repository}"))')
    return text.replace(PLACE, repository).rstrip("\n") + "\n" + _REPORT


def _private_paths(folder: ResultsFolder) -> dict[str, str]:
    """Return the paths of this machine that the results may name, such as in a failed trial's reason, and what to write
    instead: their last part.
    """
    config: SearchConfig = search_config(**read_resolved(folder.config))
    data, search = config.data, config.search
    given = [data.data, *data.guards, *config.base_models, str(search.cache), str(search.results)]
    command = str(Summary(folder.summary).get("command") or "")
    outside = [*paths_in(command), *(one for one in given if one and one.startswith(("/", "~", "..")))]
    whole = [os.path.abspath(os.path.expanduser(path)) for path in (*outside, str(folder.root), os.curdir)]
    names = {path: PurePath(path).name for path in (*outside, *whole, *map(os.path.realpath, whole))}
    # A prompt is no path, whatever it begins with.
    names = {path: name for path, name in names.items() if path not in (config.data.prompt_a, config.data.prompt_b)}
    home = os.path.expanduser("~")
    return {**names, home: "~", os.path.realpath(home): "~"}


def _server(model: Path) -> str | None:
    """Return the address of the server that an adapter on a closed model calls, if it is not the provider's own."""
    if not is_adapted(model):
        return None
    options: dict[str, Any] = (read_about(model).get("closed") or {}).get("options") or {}
    return options.get("base_url")
