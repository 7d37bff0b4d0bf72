"""Shows what a head reports until it ends, then downloads its results."""

import contextlib
import sys
import time
from typing import Any

import modal

from cluster import settings
from cluster.event_queue import read_events
from cluster.ledger import is_over
from cluster.volume_files import download
from tune.config.search import SearchConfig
from tune.errors import UserError
from tune.events import Message, SearchNamed

WAIT_SECONDS = 1.0


CANCEL_SECONDS = 60.0
"""How long Ctrl-C waits for the head to end its trials' calls."""


def watch(call: Any, events: str, config: SearchConfig) -> int:
    """Shows what the head tells until it ends, then downloads. Ctrl-C ends the search in good order."""
    from tune.cli.display import SearchDisplay

    stop_status_line()
    queue = settings.queue()
    display = SearchDisplay()
    resume = f"modal run cluster/launch.py --resume {config.search.name}"
    display.emit(Message(f"search {config.search.name}; go on with it, or fetch its results, by: {resume}"))
    try:
        with display:
            answer = _answer(call, queue, events, display)
    except KeyboardInterrupt:
        if _detached():
            print(f"the search runs on; watch it, or fetch its results, by: {resume}", file=sys.stderr)
            raise
        print("ending the search ...", file=sys.stderr)
        _end(call)
        print(f"interrupted; what is finished is kept on Modal. Go on with it by: {resume}", file=sys.stderr)
        return 130
    if "error" in answer:
        raise UserError(answer["error"])
    return fetch_results(config)


def _answer(call: Any, queue: modal.Queue, events: str, display: Any) -> dict[str, Any]:
    """The head's answer; an error of the head is raised as it was."""
    answer: dict[str, Any] | None = None
    while True:
        news = read_events(queue, events, WAIT_SECONDS if answer is None else 0.2)
        for event in news:
            # The folder in the head's container means nothing to the user, who gets a copy of it below.
            if not isinstance(event, SearchNamed):
                display.emit(event)
        if answer is not None and not news:
            return answer
        if not news:
            with contextlib.suppress(TimeoutError):
                answer = call.get(timeout=0)


def _end(call: Any) -> None:
    """Cancels the head and waits until it has ended its trials' calls."""
    with contextlib.suppress(KeyboardInterrupt):
        call.cancel()
        deadline = time.monotonic() + CANCEL_SECONDS
        while not is_over(call.object_id) and time.monotonic() < deadline:
            time.sleep(0.5)


def stop_status_line() -> None:
    """Modal's own line of status and our table would draw over one another."""
    # No public way; where this one is gone, only the looks suffer.
    with contextlib.suppress(Exception):
        from modal._output.manager import OutputManager

        OutputManager.get().stop_status_spinner()


def _detached() -> bool:
    """Whether this was started by `modal run --detach`."""
    import click

    context = click.get_current_context(silent=True)
    return bool(context and (context.obj or {}).get("detach"))


def fetch_results(config: SearchConfig) -> int:
    from tune.cli.tables import show_results
    from tune.results.layout import ResultsFolder

    folder = ResultsFolder(config.search.results / str(config.search.name))
    download(settings.results_volume, folder.name, folder.root)
    show_results(folder)
    return 0
