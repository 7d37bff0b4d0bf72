"""Volumes and large values on the stand-in, from inside containers and from outside."""

from pathlib import Path

import pytest

from tests.modal_local.toy import TOY_APP, Start, run

pytestmark = [pytest.mark.modal, pytest.mark.timeout(60)]


def test_a_volume_shows_committed_files_after_a_reload(start: Start, toy: Path) -> None:
    stand_in = start()
    reported = run(stand_in, toy, "volume")
    busy = reported.pop("busy")
    assert "open files" in busy
    assert reported == {
        "uncommitted": None,
        "not reloaded": None,
        "reloaded": "one",
        "last write": ["from b", "of b"],
        "removed": None,
    }
    assert {path.name: path.read_text() for path in stand_in.volume("toy").iterdir()} == {"x": "from b"}
    assert len(stand_in.containers) == 2


def test_large_values_variants_and_volumes_from_outside(start: Start, toy: Path) -> None:
    stand_in = start()
    reported = run(stand_in, toy, "objects")
    assert reported == {
        "doubled": True,
        "back": True,
        "listed": ["app", "deep", "deep/whole"],
    }
    assert [container.gpu for container in stand_in.containers] == ["", "A10G"]
    assert (stand_in.volume("toy") / "app").read_text() == TOY_APP
