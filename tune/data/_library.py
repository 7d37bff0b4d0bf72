"""The `datasets` library, kept quiet: loads a hub dataset or a saved one.

Progress bars, logging and telemetry are off during a call and restored afterwards. Every error is a one-line DataError.
The library is imported late because that takes a second.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from tune.data._sources import HubName, SavedDataset
from tune.errors import DataError
from tune.events import Emit, Progress, ignore, working
from tune.logs import replaced

if TYPE_CHECKING:
    import pyarrow as pa


def hub_columns(hub: HubName) -> list[str] | None:
    """Return the dataset's column names, None if the hub does not list them. Raises DataError as `load_hub` does."""
    from datasets import load_dataset_builder

    with _quiet(), _hub_errors(hub):
        features = load_dataset_builder(hub.name, hub.config).info.features
    return None if features is None else list(features)


def load_hub(hub: HubName) -> dict[str, Any]:
    """Return the splits of the dataset, each a `datasets.Dataset`, by split name.

    Unlike files, hub datasets use the library's own cache: it is keyed by revision, so never stale, and a second search
    needs no download and no network. Raises DataError if there is no network, no such dataset or config, or it is not
    readable.
    """
    from datasets import load_dataset

    with _quiet(), _hub_errors(hub):
        return dict(load_dataset(hub.name, hub.config))


def hub_file(hub: HubName, path: str, revision: str | None) -> Path:
    """Return a file of a dataset, downloaded to the hub's cache. Raises DataError as `load_hub` does."""
    from huggingface_hub import hf_hub_download

    with _quiet(), _hub_errors(hub):
        return Path(hf_hub_download(hub.name, path, repo_type="dataset", revision=revision))


def load_saved(saved: SavedDataset) -> dict[str, Any]:
    """Return the splits of a saved dataset as `load_hub` does. Raises DataError if it is not readable."""
    from datasets import Dataset, load_from_disk

    try:
        with _quiet():
            found = load_from_disk(str(saved.path))
    except Exception as error:
        # Whatever is missing or torn, the library raises.
        raise DataError(f"cannot read saved dataset {str(saved)!r} ({cause(error)}): save it again") from None
    return {"train": found} if isinstance(found, Dataset) else dict(found)


ROWS_AT_ONCE = 1 << 16
"""Rows between two reports of progress."""


def columns_of(rows: Any, names: Sequence[str], emit: Emit = ignore) -> dict[str, list[Any]]:
    """Return the values of some columns of a `datasets.Dataset`, by name."""
    # Not `.data`: a dataset that was shuffled or filtered before it was saved holds the order of its rows apart.
    wanted = rows.select_columns(list(names)).with_format("arrow")
    parts = (wanted[start : start + ROWS_AT_ONCE] for start in range(0, len(wanted), ROWS_AT_ONCE))
    return column_lists(parts, names, len(wanted), working(emit, "reading the dataset", "rows"))


def column_lists(
    parts: "Iterable[pa.Table]", names: Sequence[str], rows: int, progress: Progress
) -> dict[str, list[Any]]:
    """Return the values of some columns of tables with so many rows in all, one table after the other, by name."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    done = 0
    for part in parts:
        for name in names:
            columns[name] += part.column(name).to_pylist()
        done += part.num_rows
        progress(done, rows)
    return columns


def cause(error: BaseException) -> str:
    """Return the error's text on one line, at most 160 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."


@contextlib.contextmanager
def _hub_errors(hub: HubName) -> Iterator[None]:
    from datasets import config

    try:
        with _no_retries_without_network():
            yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, ConnectionError) or config.HF_HUB_OFFLINE or _host_is_unknown():
            raise DataError(
                f"no network for hub dataset {str(hub)!r}, which is neither in the local cache nor a local file:"
                " go online, or give a local file as --data"
            ) from None
        raise DataError(
            f"cannot load hub dataset {str(hub)!r} (and no such local file): {cause(error)}: check owner/name[:config]"
        ) from None


def _host_is_unknown() -> bool:
    """Whether the hub's host name cannot be resolved. False behind a proxy, which resolves names for us."""
    from datasets import config

    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return False
    try:
        socket.getaddrinfo(urlparse(config.HF_ENDPOINT).hostname or "huggingface.co", 443)
    except OSError:
        return True
    return False


@contextlib.contextmanager
def _no_retries_without_network() -> Iterator[None]:
    """Use offline mode if there is no network: otherwise the hub client retries for 23 s before using its cache."""
    import huggingface_hub.constants
    from datasets import config

    with contextlib.ExitStack() as stack:
        if _host_is_unknown():
            for module in (config, huggingface_hub.constants):
                stack.enter_context(replaced(module, "HF_HUB_OFFLINE", True))
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import datasets
    import huggingface_hub.constants

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    bars = datasets.is_progress_bar_enabled()
    with contextlib.ExitStack() as stack:
        # The library sends a HEAD request even for a saved dataset, which takes 3 s behind a firewall.
        stack.enter_context(replaced(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False))
        stack.enter_context(replaced(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True))
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        if bars:
            stack.callback(datasets.enable_progress_bars)
        datasets.disable_progress_bars()
        yield
