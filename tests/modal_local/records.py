"""What the stand-in knows: apps, functions, calls, containers, objects. Plain records and one World that holds them.

Tests read Call, Container and Fault; the other records are the servers' own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from modal_proto import api_pb2 as api

from .volumes import View, Volume

T = TypeVar("T")
State = Literal["pending", "running", "success", "failure", "cancelled"]


@dataclass
class Fault:
    """Ends one container of a function. `container` counts those started for that function name, from 1.

    It strikes `after_s` seconds after the container took its first input, or right after its `after_puts`-th item
    reached a Queue, or after its `after_commits`-th Volume commit. "kill" is SIGKILL; "preempt" is an interrupt, then
    SIGKILL `grace_s` later, and the input runs again without costing a retry.
    """

    function: str
    container: int = 1
    kind: Literal["kill", "preempt"] = "kill"
    after_s: float | None = None
    after_puts: int | None = None
    after_commits: int | None = None
    grace_s: float = 5.0
    struck: bool = False


@dataclass
class App:
    app_id: str
    name: str
    state: int
    functions: dict[str, str] = field(default_factory=dict)  # tag -> function id
    heard: float = field(default_factory=time.monotonic)
    connected: bool = True
    stopping: bool = False
    logs: list[tuple[str, str]] = field(default_factory=list)  # (task id, text)


@dataclass
class Function:
    function_id: str
    app: App
    name: str
    definition: api.Function
    ranked: list[api.Function] = field(default_factory=list)
    url: str = ""
    failed_starts: int = 0

    @property
    def slots(self) -> int:
        """How many inputs one container of it works on at a time."""
        return self.definition.target_concurrent_inputs or self.definition.max_concurrent_inputs or 1


@dataclass
class Container:
    """One container, from start to end. `pid` is its first process as seen from the host; `gpu` what was asked."""

    task_id: str
    function: str
    number: int
    gpu: str
    folder: Path
    started: float = field(default_factory=time.time)
    ended: float | None = None
    pid: int | None = None
    exit_code: int | None = None
    preempted: bool = False
    calls: list[str] = field(default_factory=list)
    # the servers' own
    definition: Function = field(repr=False, kw_only=True)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    views: dict[str, View] = field(default_factory=dict, repr=False)
    running: dict[str, Call] = field(default_factory=dict, repr=False)
    polled: bool = field(default=False, repr=False)
    leaving: bool = field(default=False, repr=False)
    idle_since: float = field(default_factory=time.monotonic, repr=False)
    kill_at: float | None = field(default=None, repr=False)
    first_input: float | None = field(default=None, repr=False)
    cancels: set[str] = field(default_factory=set, repr=False)
    puts: int = field(default=0, repr=False)
    commits: int = field(default=0, repr=False)
    start_error: api.GenericResult | None = field(default=None, repr=False)

    @property
    def function_id(self) -> str:
        return self.definition.function_id

    @property
    def log(self) -> Path:
        """Its output, standard and error, in one file."""
        return self.folder / "log"


@dataclass
class Call:
    """One function call with its one input. `attempts` counts deliveries to a container, `retries` failures retried."""

    call_id: str
    function: str
    function_id: str
    parent: str
    state: State = "pending"
    attempts: int = 0
    retries: int = 0
    containers: list[str] = field(default_factory=list)
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    error: str = ""
    # the servers' own
    input_id: str = field(default="", repr=False)
    definition: Function = field(repr=False, kw_only=True)
    item: api.FunctionInput = field(repr=False, kw_only=True)
    invocation: api.FunctionCallInvocationType.ValueType = field(repr=False, kw_only=True)
    container: Container | None = field(default=None, repr=False)
    ready_at: float = field(default=0.0, repr=False)
    taken_at: float = field(default=0.0, repr=False)
    cancelled_at: float | None = field(default=None, repr=False)
    output: api.FunctionGetOutputsItem | None = field(default=None, repr=False)
    data_in: list[api.DataChunk] = field(default_factory=list, repr=False)
    data_out: list[api.DataChunk] = field(default_factory=list, repr=False)

    @property
    def done(self) -> bool:
        return self.state in ("success", "failure", "cancelled")


class World:
    """All state, touched by the server's own event loop only (other threads may read)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""  # of the HTTP side, known once it listens
        self.apps: dict[str, App] = {}
        self.deployed: dict[str, App] = {}
        self.functions: dict[str, Function] = {}
        self.calls: dict[str, Call] = {}
        self.containers: dict[str, Container] = {}
        self.named: dict[tuple[str, str], str] = {}
        self.images: dict[str, api.Image] = {}
        self.mounts: dict[str, list[api.MountFile]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.volumes: dict[str, Volume] = {}
        self.queues: dict[str, dict[bytes, deque[bytes]]] = {}
        self.dicts: dict[str, dict[bytes, bytes]] = {}
        self.unknown_rpcs: list[str] = []
        self.errors: list[str] = []
        self._numbers: dict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self._change = asyncio.Event()
        for folder in ("files", "blobs", "blocks", "volumes", "containers"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers[prefix]):06d}"

    def changed(self) -> None:
        """Wake everybody who waits in `until`."""
        self._change.set()
        self._change = asyncio.Event()

    async def until(self, ready: Callable[[], T], timeout_s: float) -> T:
        """The first true value of `ready`, asked again after every change; after `timeout_s` its last, false one."""
        deadline = time.monotonic() + timeout_s
        while not (value := ready()):
            left, change = deadline - time.monotonic(), self._change
            if left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), left)
        return value

    def call_of_input(self, input_id: str) -> Call | None:
        return next((call for call in self.calls.values() if call.input_id == input_id), None)
