"""Shared parts of the tests: no network, small real models, the demo pairs prepared once.

Everything runs for real: real Ray, real sentence-transformers, models made in memory or packaged.
"""

import gc
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from tune.machine import one_thread

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several test processes share the cores: with a thread per core in each, numeric libraries wait for each other.
    os.environ.update(one_thread())

import pytest
from xdist.scheduler import LoadScopeScheduling

# What takes seconds to import is imported where it is used: the process that hands out the tests needs none of it.
if TYPE_CHECKING:
    from tests.helpers.embed_server import EmbedServer
    from tests.helpers.tiny import Prepared


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentenceTransformer of static word vectors, made in memory, as a folder."""
    from tests.helpers.tiny import TINY, save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / TINY)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> "Prepared":
    """The demo pairs split and embedded with the packaged static model, in a cache of the session."""
    from tests.helpers.tiny import prepare_tiny

    return prepare_tiny(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def one_server() -> "Iterator[EmbedServer]":
    """A server of closed models for the tests of a module; no request threads may be left at the end."""
    from tests.helpers.embed_server import embed_server

    with embed_server() as server:
        yield server
    assert not [thread for thread in threading.enumerate() if thread.name == "embed request"]


@pytest.fixture
def server(one_server: "EmbedServer", monkeypatch: pytest.MonkeyPatch) -> "EmbedServer":
    """The server after a reset, with its keys in the environment and no other address."""
    from tests.helpers.embed_server import KEYS

    one_server.reset()
    for variable in ("OPENAI_BASE_URL", "CO_API_URL", "CO_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in KEYS.items():
        monkeypatch.setenv(variable, value)
    return one_server


@pytest.fixture(scope="module")
def warm_ray() -> Iterator[None]:
    """Searches in this process share a Ray that runs already, see `WarmRay`."""
    from tests.helpers.warm_ray import WARM_RAY

    with WARM_RAY.shared():
        yield


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared Ray before a test that does not use it: it takes time, and the other may start its own."""
    used = sys.modules.get("tests.helpers.warm_ray")
    if used is not None and (nextitem is None or "warm_ray" not in getattr(nextitem, "fixturenames", ())):
        used.WARM_RAY.stop()


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


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported: a search collects after each phase, at 0.5 s each here."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    import numpy as np

    np.random.seed(0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch use two threads, for tests of what sets their number back."""
    import torch

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
