"""A control plane that does not answer: a call that nobody can be asked about may be running.

The real client asks the stand-in, which fails as the tests want; it answers the calls itself.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import modal
import pytest
from grpclib import Status

from cluster import call_stream, settings
from cluster.backend import calls_line
from cluster.call_stream import CallOpener
from cluster.calls import Pauses, as_own, call_state, state_of
from cluster.claims import Claims, Superseded, enter
from cluster.ledger import CallsLeft, Ledger, cancel, end_calls
from cluster.watch import answer_of
from tests.helpers.simulated_trials import SimulatedTrials
from tests.modal_local import ModalLocal, Put, RpcFault
from tune.config.trial import TrialConfig, trial_config
from tune.errors import ResultsError
from tune.events import Message

pytestmark = [pytest.mark.modal, pytest.mark.timeout(90)]

app = modal.App("unknown", include_source=False)


@app.function(serialized=True)
def train_trial(order: Any) -> Any:
    """Answered by the stand-in."""


@app.function(serialized=True)
def search_head(order: Any) -> Any:
    """Answered by the stand-in."""


@dataclass
class Cloud:
    """A stand-in with a client in this process; `head_ends` ends the call of search_head."""

    stand_in: ModalLocal
    head_ends: threading.Event

    def fails(self, *names: str, **more: Any) -> RpcFault:
        """Let RPCs fail until they are mended."""
        fault = RpcFault(names, **more)
        self.stand_in.rpc_faults.append(fault)
        return fault

    def mend(self) -> None:
        self.stand_in.rpc_faults.clear()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The app, its calls answered by the stand-in."""
    ends = threading.Event()

    async def head(arguments: tuple[Any, ...], put: Put) -> Any:
        while not ends.is_set():
            await asyncio.sleep(0.02)
        return {"error": "the test has ended the head"}

    simulated = {"train_trial": SimulatedTrials(0.1), "search_head": head}
    with (
        ModalLocal(tmp_path_factory.mktemp("modal") / "modal", simulated=simulated) as stand_in,
        mock.patch.dict(os.environ, stand_in.env, clear=True),
        mock.patch.object(modal.client._Client, "_client_from_env", None),
        app.run(),
    ):
        # Ids of functions repeat from one stand-in to the next.
        call_stream._function.cache_clear()
        yield Cloud(stand_in, ends)
        call_stream._function.cache_clear()
        ends.set()
        stand_in.rpc_faults.clear()
        stand_in.wait_until_idle()
        assert stand_in.errors == [] and stand_in.unknown_rpcs == []


@pytest.fixture
def cloud(running: Cloud) -> Iterator[Cloud]:
    running.head_ends.clear()
    yield running
    running.mend()


@pytest.fixture
def claims(cloud: Cloud) -> Claims:
    return Claims(settings.claims())


@pytest.fixture
def opener(cloud: Cloud, tmp_path: Path) -> CallOpener:
    queue = settings.queue()
    queue.hydrate()
    return CallOpener(train_trial.object_id, queue.object_id, tmp_path.name, tmp_path, {"wordllama": "v"}, 0.1)


def a_trial(learning_rate: float = 1e-3) -> TrialConfig:
    point = {"base_model": "wordllama", "dims": 16, "loss": "cosent", "learning_rate": learning_rate}
    return trial_config(point | {"batch_size": 16, "epochs": 1}, {"seed": 0})


ANSWERS = {
    TimeoutError(): "running",
    modal.exception.FunctionTimeoutError("too long"): "over",
    modal.exception.OutputExpiredError(): "over",
    modal.exception.NotFoundError("no such call"): "over",
    modal.exception.RemoteError("cancelled"): "over",
    modal.exception.InternalFailure("lost"): "over",
    ValueError("raised in the function"): "over",
    modal.exception.ServiceError("unavailable"): "unknown",
    modal.exception.ConnectionError("no route"): "unknown",
    modal.exception.InternalError("bug"): "unknown",
    modal.exception.ResourceExhaustedError("slow down"): "unknown",
    modal.exception.AuthError("who?"): "unknown",
    modal.exception.PermissionDeniedError("not yours"): "unknown",
    OSError("network"): "unknown",
}


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: type(error).__name__)
def test_what_an_exception_says_of_a_call(error: BaseException) -> None:
    assert state_of(error) == ANSWERS[error]


def test_our_functions_raise_none_of_modals_errors() -> None:
    """Or a caller would take what came back as a result for trouble on the way to it."""
    for error in (error for error, state in ANSWERS.items() if state != "over"):
        with pytest.raises(RuntimeError, match=type(error).__name__) as caught, as_own():
            raise error
        assert state_of(caught.value) == "over"
    with pytest.raises(modal.exception.InputCancellation), as_own():
        raise modal.exception.InputCancellation


def test_states_of_a_call_as_the_client_sees_them(cloud: Cloud) -> None:
    call = search_head.spawn({})
    assert call_state(call.object_id) == "running"
    statuses = (Status.UNAVAILABLE, Status.INTERNAL, Status.RESOURCE_EXHAUSTED, Status.PERMISSION_DENIED,
                Status.UNAUTHENTICATED, Status.UNKNOWN)  # fmt: skip
    for status in statuses:
        cloud.fails("FunctionGetOutputs", status=status)
        assert call_state(call.object_id) == "unknown", status
        cloud.mend()
    cloud.fails("FunctionGetOutputs", status=None, delay_s=0.3)
    assert call_state(call.object_id) == "running", "a slow answer is an answer"
    cloud.mend()
    call.cancel()
    assert call_state(call.object_id) == "over" and call_state("fc-nobody") == "over"


def test_a_stream_reads_on_through_an_outage(cloud: Cloud, opener: CallOpener, tmp_path: Path) -> None:
    before, directory = len(cloud.stand_in.calls), tmp_path / "trial"
    stream = opener(a_trial(), directory)
    reports = [next(stream), next(stream)]
    cloud.fails()
    mended = threading.Timer(2.5, cloud.mend)
    mended.start()
    reports += stream
    mended.join()
    assert [report.number for report in reports] == list(range(1, 17))
    [call] = cloud.stand_in.calls[before:]
    assert call.state == "success", "no second call, and this one was left alone"
    [entry] = Ledger(directory).entries().values()
    assert entry.finished and not entry.cancelled


def test_a_trial_opened_in_an_outage_waits_for_its_call(cloud: Cloud, opener: CallOpener, tmp_path: Path) -> None:
    before, config, directory = len(cloud.stand_in.calls), a_trial(2e-3), tmp_path / "trial"
    lost = opener(config, directory)
    next(lost)
    cloud.fails("FunctionGetOutputs")
    reports = list(replace(opener)(config, directory))
    assert [report.number for report in reports] == list(range(1, 17)), "from its news alone"
    assert len(cloud.stand_in.calls) == before + 1


def test_nothing_is_spawned_until_modal_answers(cloud: Cloud, opener: CallOpener, tmp_path: Path) -> None:
    before = len(cloud.stand_in.calls)
    fault = cloud.fails("FunctionMap", count=6)
    reports = list(opener(a_trial(3e-3), tmp_path / "trial"))
    assert fault.hit == 6 and len(reports) == 16 and len(cloud.stand_in.calls) == before + 1


def test_a_failed_cancel_is_repeated(cloud: Cloud, opener: CallOpener, tmp_path: Path) -> None:
    directory = tmp_path / "trial"
    stream = opener(a_trial(4e-3), directory)
    next(stream)
    call = cloud.stand_in.calls[-1]
    cloud.fails("FunctionCallCancel")
    assert not cancel(directory, call.call_id)
    stream.close()
    [entry] = Ledger(directory).entries().values()
    assert entry.cancelled is None and not call.done
    cloud.mend()
    assert end_calls(tmp_path, 10) == CallsLeft() and call.state == "cancelled"
    [entry] = Ledger(directory).entries().values()
    assert entry.cancelled and entry.over


def test_what_could_not_be_asked_is_named(cloud: Cloud, tmp_path: Path) -> None:
    call = search_head.spawn({})
    Ledger(tmp_path / "trial").spawned(call.object_id, "p")
    cloud.fails()
    left = end_calls(tmp_path, 5, patience=1.0)
    assert left == CallsLeft(unknown=(call.object_id,))
    line = calls_line(1, left)
    assert call.object_id in line and "COULD NOT BE ASKED" in line and "modal app stop" in line
    assert "0 left running" not in line and calls_line(1, CallsLeft()) == "1 trial calls, 0 left running"
    [entry] = Ledger(tmp_path / "trial").entries().values()
    assert entry.cancelled is None and entry.over is None
    cloud.mend()
    assert not end_calls(tmp_path, 5)


def test_a_call_whose_id_nobody_learnt_is_ended(cloud: Cloud, claims: Claims, tmp_path: Path) -> None:
    """It was spawned, and has begun, but its head died before it could write down more than the intent."""
    ledger, call = Ledger(tmp_path / "begun"), search_head.spawn({})
    ledger.intends("key-1", "p")
    assert claims.claim("key-1", call.object_id) == call.object_id
    waiting = Ledger(tmp_path / "waiting")
    key = waiting.next_key("run")
    waiting.intends(key, "p")
    assert waiting.next_key("run") == key, "until a call is known to have it"
    assert not end_calls(tmp_path, 10, claims=claims)
    assert call_state(call.object_id) == "over" and list(ledger.entries()) == [call.object_id]
    assert claims.claim(key, "fc-late") == "ended" and waiting.next_key("run") != key


def test_a_call_that_an_earlier_head_had_no_time_to_record_is_read(
    cloud: Cloud, claims: Claims, opener: CallOpener, tmp_path: Path
) -> None:
    """The key follows from the search, the trial and the number of the call, so the next head finds who has it."""
    shared = settings.claims()
    shared.hydrate()
    opener, config, directory = replace(opener, claims=shared.object_id), a_trial(5e-3), tmp_path / "trial"
    over = Ledger(directory).next_key(opener.search)
    first = search_head.spawn({})
    first.cancel()
    assert claims.claim(over, first.object_id) == first.object_id
    before = len(cloud.stand_in.calls)
    assert len(list(opener(config, directory))) == 16
    assert len(cloud.stand_in.calls) == before + 1, "the call that has ended is not read on, and its key not used again"
    one, two = Ledger(directory).entries().values()
    assert one.call == first.object_id and one.over and one.key == over and two.key != over


def test_an_older_or_second_head_leaves(cloud: Cloud, claims: Claims, tmp_path: Path) -> None:
    older = enter(claims, "search", 1, "fc-a")
    assert enter(claims, "search", 1, "fc-a") == older, "restarted by Modal, it goes on"
    older.check()
    call = search_head.spawn({})
    newer = enter(claims, "search", 2, call.object_id)
    with pytest.raises(Superseded, match=call.object_id):
        older.check()
    with pytest.raises(ResultsError, match="newer head"):
        enter(claims, "search", 1, "fc-a")
    with pytest.raises(ResultsError, match=f"run by another head, {call.object_id}"):
        enter(claims, "search", 2, "fc-second")
    newer.check()
    call.cancel()
    assert enter(claims, "search", 2, "fc-next").epoch == 3, "of a head that has ended, the next one"


REPLACED = """
from cluster import call_stream, settings
from cluster.claims import Claims, Fence
from cluster.keeper import Keeper

claims = Claims(settings.claims())
claims.claim("replaced/head/2", "fc-newer")
Keeper(settings.results_volume, Fence(claims, "replaced", 1), print, 1.0, 1.0).commit()
print("went on")
"""


def test_a_head_that_was_replaced_ends_before_it_commits(cloud: Cloud) -> None:
    ran = subprocess.run([sys.executable, "-c", REPLACED], env=cloud.stand_in.env, capture_output=True, text=True,
                         timeout=60, check=False, cwd=Path(__file__).parents[2])  # fmt: skip
    assert ran.returncode == 3 and "fc-newer" in ran.stderr and ran.stdout == "", ran.stderr


def test_the_watcher_waits_out_an_outage(cloud: Cloud) -> None:
    call, queue, said = search_head.spawn({}), settings.queue(), list[str]()

    class Display:
        def emit(self, event: Any) -> None:
            assert isinstance(event, Message)
            said.append(event.text)

    cloud.fails(status=Status.UNAVAILABLE)
    threading.Timer(2.0, cloud.mend).start()
    threading.Timer(2.5, cloud.head_ends.set).start()
    assert answer_of(call.object_id, queue, "events", Display()) == {"error": "the test has ended the head"}
    assert len(said) == 2 and "Modal cannot be reached" in said[0] and "again" in said[1]


def test_resume_in_an_outage_starts_no_second_head(cloud: Cloud, tmp_path: Path) -> None:
    from tests.helpers.modal_launch import command
    from tune.config.search import search_config
    from tune.config.toml import write_toml

    config = search_config({"search": "grid", "name": "mine"}, space={"base_model": "wordllama"})
    call = search_head.spawn({})
    results = cloud.stand_in.volume_folder("embedtune-results")
    for path, text in (
        ("mine/search.toml", write_toml(config)),
        (".heads/mine.json", f'{{"call": "{call.object_id}", "events": "e", "epoch": 1}}'),
    ):
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_text(text)
    before = len(cloud.stand_in.calls)
    cloud.fails("FunctionGetOutputs")
    line = command("--resume", "mine", "--results", tmp_path)
    env = {**cloud.stand_in.env, "HF_HUB_OFFLINE": "1", "EMBEDTUNE_ASK_SECONDS": "2"}
    ran = subprocess.run(line, env=env, capture_output=True, text=True, timeout=80, check=False,
                         cwd=Path(__file__).parents[2])  # fmt: skip
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "nothing was started; try again" in ran.stderr and ran.stderr.count("trying for") == 1
    cloud.mend()
    assert len(cloud.stand_in.calls) == before and call_state(call.object_id) == "running"
    call.cancel()


def test_pauses_double_up_to_two_minutes() -> None:
    pauses = Pauses()
    assert [pauses.next() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    pauses.reset()
    assert pauses.next() == 1
