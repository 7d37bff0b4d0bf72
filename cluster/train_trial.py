"""train_trial: the Modal function that trains one trial: a plain function, since generators can be neither spawned
nor retried. Its directory on the trials Volume is the one truth about the trial; the Queue only carries news of it.
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
from cluster.call_stream import TrialNews

logger = logging.getLogger(__name__)

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
    """Trains a trial, or goes on with it, or replays it; returns the last message.

    order: config (of the trial), place (its directory under the trials Volume), view (digest), queue and partition
    (where news goes). What cannot be trained is returned as `failed`; raised is only what another container may not
    meet: Modal then retries.
    """
    try:
        return _train(order)
    except TimeoutError as error:
        # A call that failed by this would look to its reader like one that has no result yet.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _train(order: dict[str, Any]) -> TrialNews:
    from tune.config.trial import TrialConfig
    from tune.train.directory import TrialDirectory
    from tune.train.kinds import kind_of
    from tune.train.stream import TrialFailed

    message: TrialNews = {
        "reports": [],
        "failed": None,
        "container": os.environ.get("MODAL_TASK_ID", ""),
        "began": time.time(),
    }
    news = _News(order["queue"], order["partition"])
    news.tell(message)
    directory = settings.TRIALS / order["place"]
    # Another container may have begun this trial.
    settings.trials_volume.reload()
    config = TrialConfig(**order["config"])
    view = _view(order["view"], config)
    saved = time.monotonic()
    stream = kind_of(config).open(config, directory, view)
    try:
        for report in stream:
            message["reports"].append(report.metrics())
            if report.last or time.monotonic() - saved >= settings.COMMIT_SECONDS:
                settings.trials_volume.commit()
                saved = time.monotonic()
            news.tell(message)
    except TrialFailed as error:
        message["failed"] = str(error)
    except (OSError, modal.exception.Error):
        raise
    except Exception as error:
        TrialDirectory(directory).fail(error)
        message["failed"] = f"{type(error).__name__}: {error}"
    finally:
        # Also after a cancel or an interrupt: what was trained until now is paid for.
        stream.close()
        _undisturbed(settings.trials_volume.commit)
    news.tell(message)
    news.close()
    return message


def _view(digest: str, config: Any) -> Any:
    """The view of that digest, read into memory: a mapped file would keep its Volume from being reloaded.

    A later search may have added to it what a trial of `config` (a TrialConfig) needs.
    """
    from tune.embed.view import View
    from tune.train.kinds import kind_of

    directory = settings.CACHE / "views" / digest
    if not all((directory / name).exists() for name in kind_of(config).view_files(config)):
        settings.snapshots_volume.reload()
    if digest not in _views:
        _views[digest] = View.open(directory, map_memory=False)
        while len(_views) > _KEPT_VIEWS:
            _views.popitem(last=False)
    _views.move_to_end(digest)
    return _views[digest]


class _News:
    """Puts the latest message on the queue from a thread of its own, so that training never waits for the network.

    A message that a newer one overtakes is not sent: the newer one holds it.
    """

    def __init__(self, queue: str, partition: str) -> None:
        self._queue = modal.Queue.from_id(queue)
        self._partition = partition
        self._waiting: TrialNews | None = None
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, message: TrialNews) -> None:
        """Hands the message over as it is now."""
        with self._change:
            self._waiting = {**message, "reports": list(message["reports"])}
            self._change.notify()

    def close(self) -> None:
        """Waits until the last message is sent. If it cannot be, the call's return value says the same."""
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
                logger.warning("news of the trial could not be sent: %s", error)


def _undisturbed(work: Callable[[], Any]) -> None:
    """Runs `work` to its end though the call be cancelled or interrupted meanwhile; then raises what disturbed it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    disturbed: BaseException | None = None
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as error:
            disturbed = error
    if disturbed is not None:
        raise disturbed
    if failed:
        raise failed[0]
