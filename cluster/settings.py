"""All Modal settings in one place: the app, its image, Volumes, keys and numbers, each with its reason.

The rest of the package reads them from here; nothing here runs a search.
"""

import logging
import os
from pathlib import Path, PurePosixPath

import modal

APP_NAME = "embedtune"
app = modal.App(APP_NAME)

# Paths in a container.
RESULTS = Path("/results")
TRIALS = Path("/trials")
HUB = Path("/hub")
CACHE = Path("/root/.cache/embedtune")
"""tune's default cache, so that a search's configuration reads the same here and on the user's machine."""

# Four Volumes, because reload() needs all files of a Volume closed, and each Volume has different writers.
results_volume = modal.Volume.from_name("embedtune-results", create_if_missing=True, version=2)
"""NAME/ is a search's results folder, written by its head only. .data/: uploaded pairs. .heads/: who runs a search."""
trials_volume = modal.Volume.from_name("embedtune-trials", create_if_missing=True, version=2)
"""NAME/DIGEST/ is a trial's directory; written by the container that trains it, read by the head."""
snapshots_volume = modal.Volume.from_name("embedtune-snapshots", create_if_missing=True, version=2)
"""Embedded texts and views; written while embedding, read-only afterwards."""
hub_volume = modal.Volume.from_name("embedtune-hub", create_if_missing=True, version=2)
"""The Hugging Face hub's cache of base models, downloaded once for all searches."""

QUEUE_NAME = "embedtune"
"""One named Queue for all searches: an ephemeral one would disappear with the head that opened it, and a head may
restart. Each search has a partition for the news of its calls, each watched search one for its events; Modal clears a
partition a day after its last put."""

DICT_NAME = "embedtune"
"""One named Dict for all searches: which call of a trial may train, and which head runs a search (`claims.py`)."""

KEYS = ("HF_TOKEN", "OPENAI_API_KEY", "COHERE_API_KEY", "CO_API_KEY")
# Always one Secret with the same keys: a list that depends on the user's machine would differ in the container.
keys = modal.Secret.from_dict({key: os.environ.get(key, "") for key in KEYS})

HEAD_GPUS = ["L4", "A10G", "T4"]
"""In order of preference: the head embeds with fp32 models of about 100M weights, which fit into any of them."""
TRIAL_GPUS = ["T4", "L4", "A10G"]
"""Cheapest first: a trial trains a Dense layer on vectors in memory; a faster card would wait for Python."""
HEAD_CORES = 8.0
HEAD_MEMORY_MB = 32 * 1024
"""For embedding: texts, vectors and views. A thousand concurrent trials take well under 2 GB of it, measured by
tests/benchmarks/concurrent_calls.py."""
HEAD_TIMEOUT = 24 * 60 * 60
"""Modal's maximum. Continue a longer search with --resume."""
EMBED_TIMEOUT = 6 * 60 * 60
BUYER_CORES = 1.0
BUYER_MEMORY_MB = 8 * 1024
"""A closed model's vectors are bought: a container without a GPU waits for answers and writes them down."""
WHOLE_TRIAL_GPU = "L4"
"""For searches that train base models: the cheapest card with bf16, which more than doubles their speed."""
TRIAL_TIMEOUT = 60 * 60
"""Per attempt; trials take seconds to minutes. A longer attempt counts as hung; the next one resumes."""
WHOLE_TRIAL_TIMEOUT = 6 * 60 * 60
"""The same where base models are trained: 47,000 pairs, eight times, through a large one take hours."""
TRIAL_RETRIES = modal.Retries(max_retries=3, initial_delay=1.0, backoff_coefficient=1.0)
"""For lost containers only: our own failures are returned, not raised. No back-off: the saved state is there."""
MAX_JOBS = 1000
"""Most concurrent trials of a search: what tests/benchmarks/concurrent_calls.py has shown that one head can drive."""
TRIAL_MAX_CONTAINERS = MAX_JOBS
"""A safety limit. --max-concurrent already bounds the trials in flight."""
TRIAL_SCALEDOWN = 60
"""Seconds that an idle container waits for the next trial; the head sends it within one, so more would be waste."""
TRIAL_CORES = 2.0
TRIAL_MEMORY_MB = 8 * 1024
"""A view is texts x dims x 4 bytes, in memory: 2 GB for 700,000 texts of 768 dims."""
JOBS = 8
"""Default of concurrent trials: a search of 40 takes 5 rounds, and ASHA still learns from its rungs."""

COMMIT_SECONDS = float(os.environ.get("EMBEDTUNE_COMMIT_SECONDS", "30"))
"""Seconds between two commits of a container, and so the most training or buying that a lost container costs.
EMBEDTUNE_COMMIT_SECONDS in the container's environment sets it."""
LEDGER_SECONDS = 2.0
"""A new call's id is on the Volume at most this long after it is on the head's disk."""
POLL_SECONDS = 2.0
"""How long a reader waits for a report before it asks whether the call is still alive; longer if there are over 100."""
END_SECONDS = 30.0
"""How long cancelled calls may take to end."""
ASK_SECONDS = float(os.environ.get("EMBEDTUNE_ASK_SECONDS", "300"))
"""How long a command or the end of a search waits for Modal's control plane before it says that nobody answers.
EMBEDTUNE_ASK_SECONDS in the environment sets it."""
OUTAGE_SECONDS = 1800.0
"""How long a running search waits for it where it cannot go on without. Longer, and the search pauses."""


def make_image(*extras: str) -> modal.Image:
    """Return the image with these extras of the project, its packages pinned by constraints.txt."""
    image = modal.Image.debian_slim(python_version="3.11")
    if modal.is_local():
        # Containers get the finished image; these files exist on the user's machine only.
        root = Path(__file__).resolve().parents[1]
        image = image.add_local_file(root / "constraints.txt", "/build/constraints.txt", copy=True)
        image = image.pip_install_from_pyproject(
            str(root / "pyproject.toml"),
            optional_dependencies=list(extras),
            extra_options="-c /build/constraints.txt",
        )
    return image.env(
        {
            "HF_HOME": str(HUB),
            "HOME": "/root",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "TOKENIZERS_PARALLELISM": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Otherwise Modal's runtime prints two lines on the user's terminal for every cancelled trial.
            "MODAL_LOGLEVEL": "ERROR",
            # The head's Ray is reachable from its own container only, so it needs no token.
            "RAY_AUTH_MODE": "disabled",
        }
    ).add_local_python_source("tune", "cluster", ignore=["**/__pycache__/**"])


image = make_image("demo", "openai", "cohere")


def mounts(**volumes: modal.Volume) -> dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]:
    """Return the given Volumes by mount path. Keywords: results, trials, snapshots, hub."""
    places = {"results": RESULTS, "trials": TRIALS, "snapshots": CACHE, "hub": HUB}
    return {str(places[name]): volume for name, volume in volumes.items()}


def quiet() -> None:
    """Silence the libraries' notices in a container: its output goes to the user's terminal."""
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)


def claims() -> modal.Dict:
    """Return the Dict of all searches."""
    return modal.Dict.from_name(DICT_NAME, create_if_missing=True)


def queue() -> modal.Queue:
    """Return the Queue of all searches."""
    return modal.Queue.from_name(QUEUE_NAME, create_if_missing=True)


def trial_gpus(whole: bool, given: str | None) -> str | list[str]:
    """Return the GPU of a search's trials, or those of which Modal takes any. given: by the user, or None.

    whole: whether the search trains base models.
    """
    return given or (WHOLE_TRIAL_GPU if whole else TRIAL_GPUS)
