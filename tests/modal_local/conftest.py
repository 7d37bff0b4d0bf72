"""Fixtures for the tests of the stand-in: the toy app's files, and a stand-in that must leave nothing behind."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.modal_local import Fault, ModalLocal
from tests.modal_local.toy import TOY_APP, TOY_PACKAGE, TOY_SITE, Start


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A directory with the toy app, the toy site, and the package that the app imports."""
    folder = tmp_path / "toy"
    (folder / "toypkg").mkdir(parents=True)
    (folder / "toypkg" / "__init__.py").write_text(TOY_PACKAGE)
    (folder / "toy_app.py").write_text(TOY_APP)
    (folder / "toy_site.py").write_text(TOY_SITE)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a stand-in with at most two containers per function; checks at the end that no process is left."""
    started: list[ModalLocal] = []

    def start_one(*faults: Fault, preload: Sequence[str] = ()) -> ModalLocal:
        stand_in = ModalLocal(tmp_path / "modal", faults=faults, max_containers=2, preload=preload)
        started.append(stand_in.__enter__())
        return stand_in

    yield start_one
    for stand_in in started:
        stand_in.__exit__(None, None, None)
        assert stand_in.errors == []
        pids = [container.pid for container in stand_in.containers if container.pid]
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
