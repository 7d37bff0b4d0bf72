"""Show what a head reports until it ends, then download its results."""

import contextlib
import sys
import time
from typing import Any

import modal

from cluster import settings
from cluster.calls import Pauses, ask, call_state, described, passes, patiently
from cluster.event_queue import read_events
from cluster.volume_files import download
from tune.cli.early_end import EarlyEnd
from tune.cli.presentation import Presentation
from tune.config.search import SearchConfig
from tune.errors import ResultsError, SearchPaused, UserError
from tune.events import Message, SearchNamed

WAIT_SECONDS = 1.0
"""How long a read waits for events before it asks whether the head has ended."""
CANCEL_SECONDS = 60.0
"""How long Ctrl-C waits for the head to end its trials' calls."""


def watch(call: str, events: str, config: SearchConfig, presentation: Presentation, weights: bool = False) -> int:
    """Show what the head reports until it ends, then download; return the exit code. Ctrl-C stops the search.

    call: id of the head's. events: the partition of its events. weights: download those of all trials, too.
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
            answer = answer_of(call, queue, events, display)
    except KeyboardInterrupt:
        if _detached():
            print(f"the search keeps running; watch it, or fetch its results, with: {resume}", file=sys.stderr)
            raise
        print("stopping the search ...", file=sys.stderr)
        _end(call)
        presentation.finish(interrupted_outcome("", "by Ctrl-C") | {"name": config.search.name})
        print(f"interrupted; finished work is kept on Modal; resume with: {resume}", file=sys.stderr)
        return 130
    if "error" in answer:
        raise UserError(answer["error"])
    if "paused" in answer:
        end = EarlyEnd.of(SearchPaused(answer["paused"]))
        presentation.finish(interrupted_outcome("", end.reason) | {"name": config.search.name})
        print(f"{end.line}; finished work is kept on Modal; resume with: {resume}", file=sys.stderr)
        return end.code
    return fetch_results(config, presentation, weights)


def fetch_results(config: SearchConfig, presentation: Presentation, weights: bool = False) -> int:
    """Download a search's results and show them; return the exit code. weights: of all trials, too."""
    from tune.cli.tables import present_results
    from tune.results.layout import ResultsFolder

    folder = ResultsFolder(config.search.results / str(config.search.name))
    try:
        download(settings.results_volume, folder.name, folder.root, weights)
    except Exception as error:
        if not passes(error):
            raise
        raise ResultsError(
            f"the results of {folder.name} are on Modal, but could not all be downloaded ({described(error)}); "
            f"fetch the rest with: modal run cluster/launch.py --resume {folder.name}"
        ) from error
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


def answer_of(call: str, queue: modal.Queue, events: str, display: Any) -> dict[str, Any]:
    """Return the head's answer. An exception of the head is raised unchanged; an outage of Modal is waited out."""
    answer: dict[str, Any] | None = None
    pauses, unreachable = Pauses(longest=30.0), False
    while True:
        problem: BaseException | None = None
        try:
            news = read_events(queue, events, WAIT_SECONDS if answer is None else 0.2)
        except Exception as error:
            if not passes(error):
                raise
            news, problem = [], error
        for event in news:
            # It names the folder in the head's container; the user gets a copy elsewhere.
            if not isinstance(event, SearchNamed):
                display.emit(event)
        if answer is not None and not news:
            return answer
        if not news:
            found = ask(call)
            if found.state == "over" and found.error is not None:
                raise found.error
            answer = found.result if found.state == "over" else None
            problem = found.error if found.state == "unknown" else problem
        if problem is not None and answer is None:
            if not unreachable:
                display.emit(Message(f"Modal cannot be reached ({described(problem)}); the search goes on, waiting"))
            unreachable = True
            time.sleep(pauses.next())
        elif unreachable:
            display.emit(Message("Modal can be reached again"))
            unreachable = False
            pauses.reset()


def _end(call: str) -> None:
    """Cancel the head and wait until it has ended its trials' calls; say so if Modal does not answer."""
    with contextlib.suppress(KeyboardInterrupt):
        try:
            patiently(modal.FunctionCall.from_id(call).cancel, CANCEL_SECONDS)
        except Exception as error:
            stop = f"modal app stop {settings.app.app_id or settings.APP_NAME}"
            print(f"could not stop the search ({described(error)}); it may still run; end it with: {stop}",
                  file=sys.stderr)  # fmt: skip
            return
        deadline = time.monotonic() + CANCEL_SECONDS
        while call_state(call) != "over" and time.monotonic() < deadline:
            time.sleep(0.5)


def _detached() -> bool:
    """Return whether `modal run --detach` started this process."""
    import click

    context = click.get_current_context(silent=True)
    return bool(context and (context.obj or {}).get("detach"))


__all__ = ["CANCEL_SECONDS", "WAIT_SECONDS", "answer_of", "fetch_results", "stop_status_line", "watch"]
