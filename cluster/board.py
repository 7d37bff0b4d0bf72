"""TensorBoard over the results Volume: `modal deploy cluster/board.py`. Shows new results without a restart.

Closed by default: requests need a proxy token of the workspace (headers Modal-Key and Modal-Secret).
`EMBEDTUNE_BOARD=open modal deploy cluster/board.py` opens it to anyone who knows its address.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import modal

if modal.is_local() and str(Path(__file__).resolve().parents[1]) not in sys.path:
    # Modal imports a file given by path alone; our packages are next to its folder.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import settings

OPEN = os.environ.get("EMBEDTUNE_BOARD", "") == "open"
RELOAD_SECONDS = 5.0
"""The least time between two reloads of the Volume; TensorBoard itself rereads its files as often."""
IDLE_SECONDS = 300
"""How long the container stays up after the last request; an open page sends one every 30 s."""

app = modal.App("embedtune-board")


def _image() -> modal.Image:
    image = modal.Image.debian_slim(python_version="3.11")
    if modal.is_local():
        constraints = Path(__file__).resolve().parents[1] / "constraints.txt"
        image = image.add_local_file(constraints, "/build/constraints.txt", copy=True)
        image = image.pip_install("tensorboard", extra_options="-c /build/constraints.txt")
    return image.add_local_python_source("cluster", ignore=["**/__pycache__/**"])


Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ReloadingWsgi:
    """A WSGI application that reloads the Volume before a request, at most every RELOAD_SECONDS."""

    def __init__(self, inner: Wsgi, reload: Callable[[], Any]) -> None:
        self._inner = inner
        self._reload = reload
        self._lock = threading.Lock()
        self._at = 0.0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if time.monotonic() - self._at >= RELOAD_SECONDS and self._lock.acquire(blocking=False):
            try:
                # Reloading fails while TensorBoard reads a file; then the next request tries again.
                with contextlib.suppress(Exception):
                    self._reload()
                    self._at = time.monotonic()
            finally:
                self._lock.release()
        return self._inner(environ, start_response)


@app.function(
    image=_image(),
    volumes=settings.mounts(results=settings.results_volume),
    max_containers=1,
    scaledown_window=IDLE_SECONDS,
)
@modal.concurrent(max_inputs=50)
@modal.wsgi_app(requires_proxy_auth=not OPEN)
def board() -> Wsgi:
    """Serve every search on the Volume; its trials are TensorBoard runs NAME/runs/TRIAL."""
    from tensorboard import default, program
    from tensorboard.backend import application

    tensorboard = program.TensorBoard(plugins=default.get_plugins())
    # The fast loader keeps its files open, which prevents reloading the Volume.
    tensorboard.configure(
        argv=["tensorboard", "--logdir", str(settings.RESULTS), "--load_fast", "false", "--reload_interval", "5"]
    )
    provider, multiplexer = tensorboard._make_data_provider()
    inner = application.TensorBoardWSGIApp(
        tensorboard.flags, tensorboard.plugin_loaders, provider, tensorboard.assets_zip_provider, multiplexer
    )
    return ReloadingWsgi(inner, settings.results_volume.reload)
