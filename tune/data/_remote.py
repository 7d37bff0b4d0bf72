"""Files at an address (https://, s3://, ...): recognise one, and fetch it through fsspec.

fsspec comes with the `datasets` library; each scheme needs a package of its own. Messages show addresses without user,
password and query.
"""

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from tune.config.addresses import shown, without_secrets
from tune.data._library import hub_file
from tune.data._sources import FORMATS, DataFile, HubName, RemoteFile, SavedDataset, known
from tune.errors import DataError

log = logging.getLogger(__name__)

_PACKAGES = {
    "http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub",
}  # fmt: skip
_HUB_FILE = re.compile(r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?")
_HUB_DATASET = re.compile(r"(?:hf://|https://(?:www\.)?huggingface\.co/)datasets/([\w.-]+/[\w.-]+)(?::([\w.-]+))?/?")


def remote(address: str) -> RemoteFile | HubName:
    """Return what an address names, without fetching it.

    Raises DataError if the scheme or the format is unknown, a package is missing, or it holds a password.
    """
    hub = _HUB_DATASET.fullmatch(address)
    if hub is not None:
        return HubName(hub[1], hub[2])
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise DataError(f"--data is not an address ({error}): check it") from None
    package = _PACKAGES.get(parts.scheme.lower())
    if package is None:
        raise DataError(f"{shown(address)!r}: unknown scheme: use {', '.join(f'{name}://' for name in _PACKAGES)}")
    if importlib.util.find_spec(package) is None:
        raise DataError(f"{parts.scheme}:// needs the package {package}: pip install {package}, or download the file")
    if parts.username is not None:
        raise DataError(f"{shown(address)!r} contains a user or password: put them in ~/.netrc instead")
    if package == "huggingface_hub" and _HUB_FILE.fullmatch(address) is None:
        raise DataError(f"{shown(address)!r} is not a dataset: use hf://datasets/OWNER/NAME, or a file in it")
    file = known(Path(unquote(parts.path)))
    if file is None:
        raise DataError(f"{shown(address)!r} has an unknown format: give the address of a {FORMATS} file")
    return RemoteFile(address, file)


@contextmanager
def local(
    found: list[DataFile] | RemoteFile | SavedDataset | HubName,
) -> Iterator[list[DataFile] | SavedDataset | HubName]:
    """Yield a remote file as a temporary one, and all else unchanged. Raises DataError if it cannot be fetched."""
    if not isinstance(found, RemoteFile):
        yield found
        return
    hub = _HUB_FILE.fullmatch(found.address)
    if hub is not None:
        yield [replace(found.file, path=hub_file(HubName(hub["name"], None), hub["path"], hub["revision"]))]
        return
    with TemporaryDirectory(prefix="embedtune-") as folder:
        path = Path(folder) / found.file.path.name
        try:
            _download(found.address, path)
        except Exception as error:
            # Each of fsspec's packages raises errors of its own.
            raise DataError(_problem(found.address, error)) from None
        log.info("%s: %.1f MB from %s", found, path.stat().st_size / 1e6, shown(found.address))
        with path.open("rb") as raw:
            head = raw.read(100).lstrip().lower()
        if head.startswith((b"<!doctype html", b"<html")):
            raise DataError(f"{shown(found.address)!r} is a web page, not a file: give the address of the file itself")
        # Some servers unzip on the way, or send what is zipped under a plain name.
        zipped = found.file.kind != "parquet" and head[:2] == b"\x1f\x8b"
        yield [replace(found.file, path=path, gz=zipped)]


def _download(address: str, path: Path) -> None:
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True}
    if urlsplit(address).scheme.lower() in ("http", "https"):
        from aiohttp import ClientTimeout

        # By default a download may take five minutes in all. ~/.netrc and proxies of the environment are used.
        timeout = ClientTimeout(total=None, sock_connect=20, sock_read=60)
        options |= {"client_kwargs": {"trust_env": True, "timeout": timeout}, "encoded": "%" in address}
    files, inside = fsspec.core.url_to_fs(address, **options)
    files.get_file(inside, str(path))


def _problem(address: str, error: Exception) -> str:
    where, status = shown(address), getattr(error, "status", None)
    if isinstance(error, FileNotFoundError):
        return f"no such file: {where!r}: check --data"
    if isinstance(error, PermissionError) or status in (401, 403):
        return f"{where!r} requires a login or a new signature: download it and pass the file as --data"
    if status is not None:
        return f"cannot fetch {where!r}: the server answered {status}: try again, or give a local file"
    reason = without_secrets(" ".join(str(error).split())) or type(error).__name__
    if query := urlsplit(address).query:
        reason = reason.replace(query, "")
    return f"cannot fetch {where!r} ({reason[:160]}): check the address and the network, or give a local file"
