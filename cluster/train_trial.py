"""train_trial: the Modal function that trains one trial; a plain function, since Modal can neither spawn nor retry
generators. The trial's directory on the trials Volume is the source of truth; the Queue only carries news of it.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import modal

from cluster import settings
from cluster.calls import as_own, patiently
from cluster.claims import Claims
from cluster.news import TrialNews

logger = logging.getLogger(__name__)

_STARTED = time.time()
"""When this container started, but for Modal's own imports."""
_KEPT_VIEWS = 2
_views: "OrderedDict[str, Any]" = OrderedDict()
"""Views by digest, kept in memory between the calls of a warm container."""


@settings.app.function(
    image=settings.image,
    gpu=settings.TRIAL_GPUS,
    cpu=settings.TRIAL_CORES,
    memory=settings.TRIAL_MEMORY_MB,
    volumes=settings.mounts(
        trials=settings.trials_volume, snapshots=settings.snapshots_volume, hub=settings.hub_volume
    ),
    secrets=[settings.keys],
    timeout=settings.TRIAL_TIMEOUT,
    retries=settings.TRIAL_RETRIES,
    max_containers=settings.TRIAL_MAX_CONTAINERS,
    scaledown_window=settings.TRIAL_SCALEDOWN,
)
def train_trial(order: dict[str, Any]) -> TrialNews:
    """Train, resume or replay a trial; return the last message.

    order: config (of the trial), place (its directory under the trials Volume), view (digest), queue, partition and
    key (for its news), claims (Dict). A trial that cannot be trained is returned as `failed`. Only errors that another
    container may not meet are raised: Modal retries them. If another call has the key, it is returned as `elsewhere`,
    and nothing is done.
    """
    with as_own():
        message: TrialNews = {
            "reports": [],
            "failed": None,
            "container": os.environ.get("MODAL_TASK_ID", ""),
            "began": time.time(),
            "started": _STARTED,
            "key": order["key"],
            "call": modal.current_function_call_id() or "",
        }
        holder = _holder(order, message["call"])
        return message | {"elsewhere": holder} if holder != message["call"] else _train(order, message)


def _holder(order: dict[str, Any], call: str) -> str:
    """Return the call that trains for the order's key; this one, if it is the first."""
    if not (order.get("claims") and order["key"]):
        return call  # an order of an earlier version
    claims = Claims.of(order["claims"])
    return patiently(lambda: claims.claim(order["key"], call), settings.ASK_SECONDS)


def _train(order: dict[str, Any], message: TrialNews) -> TrialNews:
    from tune.config.trial import TrialConfig
    from tune.train.directory import TrialDirectory
    from tune.train.kinds import kind_of
    from tune.train.stream import TrialFailed

    news = _NewsSender(order["queue"], order["partition"])
    news.send(message)
    directory = settings.TRIALS / order["place"]
    # Another container may have started this trial.
    patiently(settings.trials_volume.reload, settings.ASK_SECONDS)
    config = TrialConfig(**order["config"])
    view = _view(order["view"], config)
    saved = time.monotonic()
    stream = kind_of(config).open(config, directory, view)
    try:
        for report in stream:
            message["reports"].append(report.metrics())
            if report.last or time.monotonic() - saved >= settings.COMMIT_SECONDS:
                patiently(settings.trials_volume.commit, settings.ASK_SECONDS)
                saved = time.monotonic()
            news.send(message)
    except TrialFailed as error:
        message["failed"] = str(error)
    except (OSError, modal.exception.Error):
        raise
    except Exception as error:
        TrialDirectory(directory).fail(error)
        message["failed"] = f"{type(error).__name__}: {error}"
    finally:
        # Also after a cancel or an interrupt: the training so far is paid for.
        stream.close()
        _uninterrupted(lambda: patiently(settings.trials_volume.commit, settings.ASK_SECONDS))
    message["left"] = time.time()
    news.send(message)
    news.close()
    return message


def _view(digest: str, config: Any) -> Any:
    """Return the view with that digest, read into memory: a mapped file would prevent reloading its Volume.

    A later search may have added the files that a trial of `config` (a TrialConfig) needs; then the Volume is reloaded.
    """
    from tune.embed.view import View
    from tune.train.kinds import kind_of

    directory = settings.CACHE / "views" / digest
    if not all((directory / name).exists() for name in kind_of(config).view_files(config)):
        patiently(settings.snapshots_volume.reload, settings.ASK_SECONDS)
    if digest not in _views:
        _views[digest] = View.open(directory, map_memory=False)
        while len(_views) > _KEPT_VIEWS:
            _views.popitem(last=False)
    _views.move_to_end(digest)
    return _views[digest]


class _NewsSender:
    """Puts the latest message on the queue from its own thread, so that training never waits for the network.

    A message that is still waiting when a newer one arrives is not sent: the newer one contains it.
    """

    def __init__(self, queue: str, partition: str) -> None:
        self._queue = modal.Queue.from_id(queue)
        self._partition = partition
        self._waiting: TrialNews | None = None
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, message: TrialNews) -> None:
        """Send a copy of the message in its current state."""
        with self._change:
            self._waiting = {**message, "reports": list(message["reports"])}
            self._change.notify()

    def close(self) -> None:
        """Wait until the last message is sent. If sending fails, the call's return value holds the same."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            with self._change:
                while self._waiting is None and not self._closed:
                    self._change.wait()
                message, self._waiting = self._waiting, None
            if message is None:
                return
            try:
                self._queue.put(message, partition=self._partition, timeout=10)
            except Exception as error:
                logger.warning("could not send news of the trial: %s", error)


def _uninterrupted(work: Callable[[], Any]) -> None:
    """Run `work` to its end even if the call is cancelled or interrupted meanwhile; then raise that interruption."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    interruption: BaseException | None = None
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as error:
            interruption = error
    if interruption is not None:
        raise interruption
    if failed:
        raise failed[0]


__all__ = ["train_trial"]
