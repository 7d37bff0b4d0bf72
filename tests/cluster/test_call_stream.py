"""A trial as a Modal call: the contract of every opener, and what only Modal has: loss, cancel, late readers.

The opener runs in this process, the trials in containers of the stand-in.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import modal
import pytest

from tests.helpers.command import wait_for
from tests.helpers.conformance import Place, TestStream, same_numbers, take
from tests.helpers.modal_launch import PRELOAD, container_of
from tests.helpers.tiny import Prepared
from tests.modal_local import ModalLocal, RpcFault
from tune.config.trial import TrialConfig

__all__ = ["TestStream"]

pytestmark = [pytest.mark.modal, pytest.mark.timeout(120)]


@dataclass
class Cloud:
    """The app running on a stand-in, and an opener for it."""

    stand_in: ModalLocal
    opener: Any
    function: Any


@pytest.fixture(scope="module")
def cloud(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The app on a stand-in, with its client in this process."""
    env = {"HF_HUB_OFFLINE": "1", "EMBEDTUNE_COMMIT_SECONDS": "0.3"}
    root = tmp_path_factory.mktemp("modal")
    with (
        ModalLocal(root, max_containers=2, container_env=env, preload=PRELOAD) as stand_in,
        mock.patch.dict(os.environ, stand_in.env, clear=True),
    ):
        from cluster import settings
        from cluster.call_stream import CallOpener
        from cluster.train_trial import train_trial

        with settings.app.run():
            with settings.snapshots_volume.batch_upload() as batch:
                batch.put_directory(str(prepared.view_path), f"/views/{prepared.base.digest}")
            queue, claims = settings.queue(), settings.claims()
            queue.hydrate()
            claims.hydrate()
            opener = CallOpener(
                function=train_trial.object_id,
                queue=queue.object_id,
                search="none",
                root=root,
                views={prepared.base.name: prepared.base.digest},
                poll_seconds=0.5,
                claims=claims.object_id,
            )
            yield Cloud(stand_in, opener, train_trial)
            stand_in.wait_until_idle()
        assert stand_in.errors == [] and stand_in.unknown_rpcs == []


@pytest.fixture
def opener(cloud: Cloud, tmp_path: Path) -> Any:
    """An opener with its own search on the Volume."""
    return replace(cloud.opener, search=tmp_path.name, root=tmp_path)


@pytest.fixture
def place(cloud: Cloud, opener: Any, prepared: Prepared, tmp_path: Path) -> Place:
    """Trials in containers."""

    def idle() -> bool:
        cloud.stand_in.wait_until_idle(10)
        return True

    return Place(
        open=opener,
        config=prepared.config,
        directory=lambda config: tmp_path / config.digest(prepared.base.digest),
        idle=idle,
    )


def calls_since(cloud: Cloud, count: int) -> list[Any]:
    return cloud.stand_in.calls[count:]


@pytest.fixture
def slow_trial(prepared: Prepared) -> Callable[..., TrialConfig]:
    """A trial of some seconds, long enough to act on half-way."""
    return lambda **changes: prepared.config(**{"epochs": 80, "batch_size": 16, **changes})


def test_a_trial_resumes_from_the_last_commit_of_a_lost_container(
    cloud: Cloud, place: Place, slow_trial: Callable[..., TrialConfig], prepared: Prepared, tmp_path: Path
) -> None:
    config = slow_trial()
    before = len(cloud.stand_in.calls)
    stream = place.open(config, place.directory(config))
    first = take(stream, 6)
    [call] = calls_since(cloud, before)
    on_volume = cloud.stand_in.volume("embedtune-trials") / tmp_path.name / place.directory(config).name
    wait_for(lambda: (on_volume / "state.pt").exists(), 20)
    cloud.stand_in.end_container(container_of(cloud.stand_in, call))
    reports = [*first, *stream]
    assert [report.number for report in reports] == list(range(1, 17)), "no gap, no repeat"
    assert (call.attempts, call.retries) == (2, 1) and place.idle() and call.state == "success"
    assert "began" in (place.directory(config) / "calls.jsonl").read_text()
    from tune.train.frozen.trial import open_frozen_trial

    uninterrupted = list(open_frozen_trial(config, tmp_path / "here", prepared.view))
    assert [same_numbers(report) for report in reports] == [same_numbers(report) for report in uninterrupted]


def test_a_later_reader_reads_the_same_call(
    cloud: Cloud, place: Place, opener: Any, slow_trial: Callable[..., TrialConfig]
) -> None:
    """As a new head does after the previous one was lost without a chance to cancel."""
    config = slow_trial(seed=3)
    before = len(cloud.stand_in.calls)
    lost = place.open(config, place.directory(config))
    first = take(lost, 3)
    second = replace(opener)
    reports = list(second(config, place.directory(config)))
    assert [report.number for report in reports] == list(range(1, 17)) and reports[:3] == first
    lost.close()
    assert place.idle() and [call.state for call in calls_since(cloud, before)] == ["success"]


def test_the_result_of_a_call_is_read_if_the_queue_stays_silent(cloud: Cloud, place: Place, prepared: Prepared) -> None:
    """Another reader has taken the news; the call's return value holds the same."""
    config = prepared.config(seed=4)
    stream = place.open(config, place.directory(config))
    first = next(stream)
    [line] = (place.directory(config) / "calls.jsonl").read_text().splitlines()[:1]
    call = json.loads(line)
    wait_for(lambda: cloud.stand_in.calls[-1].done, 20)
    modal.Queue.from_id(cloud.opener.queue).get_many(100, block=False, partition=call["partition"])
    assert [first.number, *(report.number for report in stream)] == list(range(1, 17))


@pytest.mark.slow
def test_a_call_that_lost_its_containers_is_not_a_failed_trial(
    cloud: Cloud, place: Place, opener: Any, slow_trial: Callable[..., TrialConfig]
) -> None:
    from cluster.call_stream import CallLost

    once = cloud.function.with_options(retries=0)
    once.hydrate()
    config = slow_trial(seed=5)
    stream = replace(opener, function=once.object_id)(config, place.directory(config))
    next(stream)
    cloud.stand_in.end_container(container_of(cloud.stand_in, cloud.stand_in.calls[-1]))
    with pytest.raises(CallLost, match="Modal call ended"):
        list(stream)
    # Opened again, it resumes in a new call.
    again = list(place.open(config, place.directory(config)))
    assert [report.number for report in again] == list(range(1, 17))


def test_calls_are_ended_from_outside_while_a_reader_waits(
    cloud: Cloud, place: Place, slow_trial: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    """As the driver does: a blocked reader cannot be closed, so calls are ended by their ids."""
    from cluster.call_stream import CallLost
    from cluster.ledger import Ledger, end_calls, open_calls

    config = slow_trial(seed=6)
    stream = place.open(config, place.directory(config))
    next(stream)
    assert len(open_calls(tmp_path)) == 1
    began = time.monotonic()
    assert not end_calls(tmp_path, 20)
    assert time.monotonic() - began < 10 and cloud.stand_in.calls[-1].state == "cancelled"
    assert open_calls(tmp_path) == [] and cloud.stand_in.running_calls() == []
    with pytest.raises(CallLost):
        list(stream)
    [entry] = Ledger(place.directory(config)).entries().values()
    assert entry.began and entry.cancelled and entry.over and 0 < entry.seconds(time.time()) < 20
    on_volume = cloud.stand_in.volume("embedtune-trials") / tmp_path.name / place.directory(config).name
    assert (on_volume / "best.safetensors").exists(), "a stopped trial keeps its weights"


def test_of_two_calls_for_a_spawn_without_an_answer_one_trains(
    cloud: Cloud, place: Place, opener: Any, prepared: Prepared
) -> None:
    """Modal carried out the first spawn, but nobody learnt its id."""
    from cluster.ledger import Ledger

    config = prepared.config(seed=8)
    before = len(cloud.stand_in.calls)
    lost = RpcFault(("FunctionMap",), count=4, lost=True)  # the client sends a request up to four times
    cloud.stand_in.rpc_faults.append(lost)
    reports = list(place.open(config, place.directory(config)))
    assert lost.hit == 4 and [report.number for report in reports] == list(range(1, 17))
    cloud.stand_in.rpc_faults.clear()
    assert place.idle()
    first, second = calls_since(cloud, before)
    assert first.state == "success" and second.state in ("success", "cancelled")
    entries = Ledger(place.directory(config)).entries()
    assert entries.keys() == {first.call_id, second.call_id} and entries[first.call_id].finished
    assert len({entry.key for entry in entries.values()}) == 1 and entries[second.call_id].began is None


def test_a_running_call_of_an_earlier_version_is_read_from_its_own_partition(
    cloud: Cloud, place: Place, opener: Any, prepared: Prepared
) -> None:
    """Its ledger knows no key, and neither do its messages."""
    from tune.train.directory import TrialDirectory

    config, partition = prepared.config(seed=7), "one-of-its-own"
    directory = place.directory(config)
    TrialDirectory(directory).begin(config)
    order = {"config": config.model_dump(), "place": f"{opener.search}/{directory.name}", "queue": opener.queue}
    order |= {"view": opener.views[config.base_model], "partition": partition, "key": ""}
    call = cloud.function.spawn(order)
    line = {"call": call.object_id, "partition": partition, "spawned": time.time()}
    (directory / "calls.jsonl").write_text(json.dumps(line) + "\n")
    before = len(cloud.stand_in.calls)
    assert [report.number for report in place.open(config, directory)] == list(range(1, 17))
    assert len(cloud.stand_in.calls) == before and place.idle()


def test_pairs_are_uploaded_once_per_content(cloud: Cloud, tmp_path: Path) -> None:
    from cluster import settings
    from cluster.volume_files import DATA, download, read_text, upload_data

    volume = settings.results_volume
    volume.hydrate()
    stored = cloud.stand_in.volume("embedtune-results") / DATA
    (tmp_path / "pairs.csv").write_text("text_a,text_b,label\n")
    place = upload_data(volume, str(tmp_path / "pairs.csv"))
    [kept] = stored.glob("*/pairs.csv")
    assert place == str(settings.RESULTS / DATA / kept.parent.name / "pairs.csv")
    before = kept.stat().st_mtime_ns
    assert upload_data(volume, str(tmp_path / "pairs.csv")) == place and kept.stat().st_mtime_ns == before
    (tmp_path / "pairs.csv").write_text("text_a,text_b,label\na,b,1\n")
    assert upload_data(volume, str(tmp_path / "pairs.csv")) != place, "other content, other place"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.csv").write_text("x")
    (tmp_path / "folder" / "test.csv").write_text("y")
    folder = upload_data(volume, str(tmp_path / "folder"))
    assert folder is not None and folder.endswith("/folder")
    inside = Path(folder).relative_to(settings.RESULTS)
    assert read_text(volume, f"{inside}/train.csv") == "x" and read_text(volume, "nowhere") is None
    assert download(volume, str(inside), tmp_path / "back") == 2 and (tmp_path / "back" / "test.csv").read_text() == "y"
    assert download(volume, str(inside), tmp_path / "back") == 0, "nothing is missing"
    os.utime(tmp_path / "back" / "test.csv", (1, 1))
    (tmp_path / "back" / "train.csv").write_text("longer")
    assert (
        download(volume, str(inside), tmp_path / "back") == 2 and (tmp_path / "back" / "train.csv").read_text() == "x"
    )
    assert upload_data(volume, None) is None and upload_data(volume, "owner/name") is None, "not local files"
    parts = tmp_path / "parts" / "split=train"
    parts.mkdir(parents=True)
    (parts / "0.csv").write_text("text_a,text_b,label\n")
    (tmp_path / "parts" / "notes.txt").write_text("not pairs")
    for data in ("parts", "parts/split=*/*.csv"):
        there = upload_data(volume, f"{tmp_path}/{data}")
        assert there is not None and there.endswith(f"/{data}")
        stored_parts = stored / Path(there).relative_to(settings.RESULTS / DATA).parts[0] / "parts"
        assert [path.name for path in stored_parts.rglob("*") if path.is_file()] == ["0.csv"]
