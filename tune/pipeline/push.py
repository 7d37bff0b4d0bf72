"""Uploads an exported model, its card and the search's report to the Hugging Face hub, as one commit.

No texts, no trials, no split and no path of this machine leave it. Nothing is created before everything is ready.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune.errors import UserError
from tune.events import Emit, Message
from tune.results.layout import ResultsFolder

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class PushJob:
    """What to upload, and where. repository: ORG/NAME. trial: None for the winner. private: for a new repository."""

    folder: ResultsFolder
    repository: str
    trial: str | None = None
    private: bool = False
    trust_remote_code: bool = False


def push(job: PushJob, emit: Emit) -> str:
    """Upload a model with its report; return the address of the repository's page.

    Raises UserError if the name is not valid, there is no token or network, the hub refuses, or, as `export` does, the
    model cannot be exported.
    """
    api = _api(job.repository)
    with _refusals(job.repository):
        is_new = _is_new(api, job, emit)
    # Late: torch and Altair take seconds to import.
    from tune.pipeline.push_files import contents

    with tempfile.TemporaryDirectory(prefix="embedtune-push-") as scratch:
        files = contents(job, Path(scratch), emit)
        emit(Message(f"uploading {len(files)} files ({_size(files) / 1e6:.1f} MB) to {job.repository}"))
        with _refusals(job.repository):
            return _upload(api, job, files, is_new)


def _api(repository: str) -> "HfApi":
    """Return the hub's client, after what can be checked without it."""
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"{repository} is not a repository's name ({str(error).rstrip('.')}); write ORG/NAME") from None
    if "/" not in repository:
        raise UserError(f"{repository} has no owner; write ORG/NAME, with your user name or an organisation")
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, and an upload needs the hub; unset it")
    token = get_token()
    if token is None:
        raise UserError("no token for the hub; run hf auth login, or set HF_TOKEN to a token with write access")
    return HfApi(token=token, library_name="embedtune")


def _is_new(api: "HfApi", job: PushJob, emit: Emit) -> bool:
    """Return whether the repository must be created; say what is in one that exists. Raises UserError if it is public
    and private was asked for.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(job.repository, timeout=10)
    except RepositoryNotFoundError:
        return True
    if job.private and not info.private:
        raise UserError(
            f"{job.repository} exists and is public, and --private does not change that; make it private in its "
            "settings on the hub, choose another name, or leave out --private"
        )
    held = [one.rfilename for one in info.siblings or [] if one.rfilename != ".gitattributes"]
    if held:
        state = "private" if info.private else "public"
        emit(Message(f"{job.repository} exists ({state}, files: {len(held)}): this adds a commit to it"))
    return False


def _size(files: dict[str, bytes | Path]) -> int:
    return sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in files.values())


def _upload(api: "HfApi", job: PushJob, files: dict[str, bytes | Path], is_new: bool) -> str:
    from huggingface_hub import CommitOperationAdd

    if is_new:
        api.create_repo(job.repository, private=job.private or None, exist_ok=True)
    operations = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
        for name, content in files.items()
    ]
    message = f"Upload a model of the search {job.folder.name} with embedtune"
    api.create_commit(job.repository, operations, commit_message=message)
    return f"{api.endpoint}/{job.repository}"


@contextmanager
def _refusals(repository: str) -> Iterator[None]:
    """Turn what the hub or the network answers into one line."""
    from huggingface_hub.errors import HfHubHTTPError

    owner = repository.partition("/")[0]
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        known = {
            401: "the hub does not accept the token; run hf auth login, or set HF_TOKEN to a token with write access",
            403: f"the token cannot write to {repository}; use a token with write access to {owner}",
            404: f"the hub has no {repository} that this token can see; check {owner} and the token",
        }
        said = " ".join(str(error.server_message or "").split())[:200]
        answer = f"the hub answered {status}{f': {said}' if said else ''}; try again later"
        raise UserError(f"{repository}: {known.get(status or 0, answer)}") from None
    except ValueError as error:
        # The hub does not accept the card's front matter.
        raise UserError(f"{repository}: {' '.join(str(error).split())[:300]}") from None
    except UserError:
        raise
    except Exception as error:
        # Without a network, the network stack may raise anything.
        raise UserError(
            f"{repository}: the hub cannot be reached ({type(error).__name__}); check the network, the proxy and "
            "HF_ENDPOINT"
        ) from None
