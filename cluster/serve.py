"""The winner of a search behind OpenAI's embeddings API: `EMBEDTUNE_SERVE=NAME modal deploy cluster/serve.py`.

It serves NAME/best from the results Volume. Closed by default: requests need a proxy token of the workspace (headers
Modal-Key and Modal-Secret). Modal passes no arguments to a deployment, so these variables say what to serve, and how:

- EMBEDTUNE_SERVE: the search's name.
- EMBEDTUNE_SERVE_GPU: such as T4; without it the container has cores only.
- EMBEDTUNE_SERVE_AUTH: `proxy` (the default) or `key`. With `key` requests bear EMBEDTUNE_API_KEY instead, for clients
  that cannot send headers of their own; with `proxy` a key that is set is asked for as well.
- EMBEDTUNE_SERVE_PURCHASES: `allow` lets an export on a closed model buy every text that is requested.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import modal

if modal.is_local() and str(Path(__file__).resolve().parents[1]) not in sys.path:
    # Modal imports a file given by path alone; our packages are next to its folder.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

VARIABLES = (
    "EMBEDTUNE_SERVE", "EMBEDTUNE_SERVE_GPU", "EMBEDTUNE_SERVE_AUTH", "EMBEDTUNE_SERVE_PURCHASES", "EMBEDTUNE_API_KEY"
)  # fmt: skip
NAME, GPU, AUTH, PURCHASES, KEY = (os.environ.get(variable, "").strip() for variable in VARIABLES)
EXTRAS = ("openai", "cohere", "onnx", "openvino", "serve")
"""For exports of every kind. The demo's base models are not needed: an export brings its weights."""
CORES, MEMORY_MB = 2.0, 4 * 1024
"""The default is cheap: a small model on two cores answers in tens of milliseconds."""
IDLE_SECONDS = 300
"""How long a container waits for the next request; the one after that pays the cold start."""
MOST_CONTAINERS = 4
"""A limit on cost; more than one starts only where requests outrun it."""
AT_ONCE = 64
"""Requests in one container at the same time; they are encoded together."""


def _problem() -> str:
    """Return what is wrong with the variables, or ""."""
    if not NAME or "/" in NAME or NAME in (".", ".."):
        return "say which search to serve: EMBEDTUNE_SERVE=NAME modal deploy cluster/serve.py"
    if AUTH not in ("", "proxy", "key"):
        return f"EMBEDTUNE_SERVE_AUTH must be proxy or key, not {AUTH}"
    if AUTH == "key" and not KEY:
        return "EMBEDTUNE_SERVE_AUTH=key needs the key in EMBEDTUNE_API_KEY, or anyone could use the model"
    if PURCHASES not in ("", "allow"):
        return f"EMBEDTUNE_SERVE_PURCHASES must be allow, not {PURCHASES}"
    return ""


if modal.is_local() and (problem := _problem()):
    raise SystemExit(f"error: {problem}")

app = modal.App("embedtune-serve")


@app.function(
    image=settings.make_image(*EXTRAS),
    volumes=settings.mounts(results=settings.results_volume),
    # One Secret that always has the same keys: the container, which imports this file again, reads the same values.
    secrets=[settings.keys, modal.Secret.from_dict({name: os.environ.get(name, "") for name in VARIABLES})],
    gpu=GPU or None,
    cpu=CORES,
    memory=MEMORY_MB,
    max_containers=MOST_CONTAINERS,
    scaledown_window=IDLE_SECONDS,
)
@modal.concurrent(max_inputs=AT_ONCE)
@modal.asgi_app(requires_proxy_auth=AUTH != "key")
def serve() -> "Starlette":
    """Load the model, once per container; without one, answer every request with the reason."""
    from tune.embed.export_files import exported_in
    from tune.errors import UserError
    from tune.serve.app import broken_app, make_app
    from tune.serve.served import load_served

    settings.quiet()
    log = logging.getLogger("embedtune.serve")
    folder = settings.RESULTS / NAME
    try:
        if not folder.is_dir():
            raise UserError(f"the Volume embedtune-results has no search {NAME}; deploy with a name it has")
        served = load_served(exported_in(folder), NAME, purchases=PURCHASES == "allow")
    except UserError as error:
        # A container that fails would be started again and again, and paid for.
        log.error("%s", error)
        return broken_app(str(error), KEY or None)
    log.warning("cold start: %s loaded in %.1f s", NAME, served.seconds)
    return make_app(served, key=KEY or None)
