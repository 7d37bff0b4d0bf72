"""Show what a head reports until it ends, then download its results."""

import contextlib
import sys
import time
from typing import Any

import modal

from cluster import settings
from cluster.event_queue import read_events
from cluster.ledger import is_over
from cluster.volume_files import download
from tune.cli.presentation import Presentation
from tune.config.search import SearchConfig
from tune.errors import UserError
from tune.events import Message, SearchNamed

WAIT_SECONDS = 1.0
"""How long a read waits for events before it asks whether the head has ended."""
CANCEL_SECONDS = 60.0
"""How long Ctrl-C waits for the head to end its trials' calls."""


def watch(call: Any, events: str, config: SearchConfig, presentation: Presentation) -> int:
    """Show what the head reports until it ends, then download; return the exit code. Ctrl-C stops the search.

    events: the partition of the head's events.
    """
    from tune.cli.verdict import interrupted_outcome

    stop_status_line()
    queue = settings.queue()
    display = presentation.display()
    trust = " --trust-remote-code true" if config.search.trust_remote_code else ""
    resume = f"modal run cluster/launch.py --resume {config.search.name}{trust}"
    display.emit(Message(f"search {config.search.name}; resume it, or fetch its results, with: {resume}"))
    try:
        with display:
            answer = _answer(call, queue, events, display)
    except KeyboardInterrupt:
        if _detached():
            print(f"the search keeps running; watch it, or fetch its results, with: {resume}", file=sys.stderr)
            raise
        print("stopping the search ...", file=sys.stderr)
        _end(call)
        presentation.finish(interrupted_outcome("") | {"name": config.search.name})
        print(f"interrupted; finished work is kept on Modal; resume with: {resume}", file=sys.stderr)
        return 130
    if "error" in answer:
        raise UserError(answer["error"])
    return fetch_results(config, presentation)


def fetch_results(config: SearchConfig, presentation: Presentation) -> int:
    """Download a search's results and show them; return the exit code."""
    from tune.cli.tables import present_results
    from tune.results.layout import ResultsFolder

    folder = ResultsFolder(config.search.results / str(config.search.name))
    download(settings.results_volume, folder.name, folder.root)
    return 0 if present_results(folder, presentation) else 1


def stop_status_line() -> None:
    """Stop Modal's own status line, which would overwrite our table."""
    # Modal has no public way to do it; should this one disappear, only the display suffers.
    with contextlib.suppress(Exception):
        from modal._output.manager import OutputManager

        OutputManager.get().stop_status_spinner()


def quiet_modal() -> None:
    """Turn off Modal's own lines from here on, so that ours are the last ones."""
    # As above; a user can do the same with `modal run --quiet`.
    with contextlib.suppress(Exception):
        from modal._output.manager import OutputManager

        OutputManager.get().set_quiet_mode(True)


def _answer(call: Any, queue: modal.Queue, events: str, display: Any) -> dict[str, Any]:
    """Return the head's answer. An exception of the head is raised unchanged."""
    answer: dict[str, Any] | None = None
    while True:
        news = read_events(queue, events, WAIT_SECONDS if answer is None else 0.2)
        for event in news:
            # It names the folder in the head's container; the user gets a copy elsewhere.
            if not isinstance(event, SearchNamed):
                display.emit(event)
        if answer is not None and not news:
            return answer
        if not news:
            with contextlib.suppress(TimeoutError):
                answer = call.get(timeout=0)


def _end(call: Any) -> None:
    """Cancel the head and wait until it has ended its trials' calls."""
    with contextlib.suppress(KeyboardInterrupt):
        call.cancel()
        deadline = time.monotonic() + CANCEL_SECONDS
        while not is_over(call.object_id) and time.monotonic() < deadline:
            time.sleep(0.5)


def _detached() -> bool:
    """Return whether `modal run --detach` started this process."""
    import click

    context = click.get_current_context(silent=True)
    return bool(context and (context.obj or {}).get("detach"))


__all__ = ["CANCEL_SECONDS", "WAIT_SECONDS", "fetch_results", "stop_status_line", "watch"]
