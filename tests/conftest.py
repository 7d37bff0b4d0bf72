"""Shared parts of the tests: no network, small real models, the demo pairs prepared once.

Everything runs for real: real Ray, real sentence-transformers, models made in memory or packaged.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from tune.machine import one_thread

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several test processes share the cores: with a thread per core in each, numeric libraries wait for each other.
    os.environ.update(one_thread())

import numpy as np
import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from tests.helpers.embed_server import KEYS, EmbedServer, embed_server
from tests.helpers.tiny import TINY, Prepared, prepare_tiny, save_tiny_model
from tests.helpers.warm_ray import WarmRay

WARM_RAY = WarmRay()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentenceTransformer of static word vectors, made in memory, as a folder."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / TINY)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The demo pairs split and embedded with the packaged static model, in a cache of the session."""
    return prepare_tiny(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def one_server() -> Iterator[EmbedServer]:
    """A server of closed models for the tests of a module; no request threads may be left at the end."""
    with embed_server() as server:
        yield server
    assert not [thread for thread in threading.enumerate() if thread.name == "embed request"]


@pytest.fixture
def server(one_server: EmbedServer, monkeypatch: pytest.MonkeyPatch) -> EmbedServer:
    """The server after a reset, with its keys in the environment and no other address."""
    one_server.reset()
    for variable in ("OPENAI_BASE_URL", "CO_API_URL", "CO_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in KEYS.items():
        monkeypatch.setenv(variable, value)
    return one_server


@pytest.fixture(scope="module")
def warm_ray() -> Iterator[None]:
    """Searches in this process share a Ray that runs already, see `WarmRay`."""
    with WARM_RAY.shared():
        yield


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared Ray before a test that does not use it: it takes time, and the other may start its own."""
    if nextitem is None or "warm_ray" not in getattr(nextitem, "fixturenames", ()):
        WARM_RAY.stop()


class ByFile(LoadScopeScheduling):
    """With several workers the tests of a file stay together, since they share its fixtures.

    Those that start Modal's containers stay together as well: each test has two at a time, and the machine may have
    two cores.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "containers" if Path(file).parent.name in ("cluster", "modal_local") else file


QUICK = ("cli", "config", "data", "metrics")
"""Folders whose files take seconds each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that share a Ray together, and quick ones last: after a long one, the other worker would have none."""
    items.sort(key=lambda item: (item.path.parent.name in QUICK, "warm_ray" not in getattr(item, "fixturenames", ())))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Choose the scheduler. Not `--dist loadgroup`: pytest 9.2 ignores where pytest-xdist 3.8 writes a test's group."""
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    np.random.seed(0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch use two threads, for tests of what sets their number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder for results folders."""
    folder = tmp_path / "results"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
