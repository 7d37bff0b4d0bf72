"""All Modal settings in one place: the app, its image, its Volumes, its keys and its numbers, each with its reason.

Everything else in this package reads them from here; nothing here runs a search.
"""

import logging
import os
from pathlib import Path, PurePosixPath

import modal

APP_NAME = "embedtune"
app = modal.App(APP_NAME)

# Where things lie in a container.
RESULTS = Path("/results")
TRIALS = Path("/trials")
HUB = Path("/hub")
CACHE = Path("/root/.cache/embedtune")
"""tune's default cache, so that the configuration of a search reads the same here and on the user's machine."""

# Four Volumes, because a reload() needs all files of a Volume closed, and each has writers of its own.
results_volume = modal.Volume.from_name("embedtune-results", create_if_missing=True, version=2)
"""NAME/ is a search's results folder; written by its head alone. .data/ uploaded pairs, .heads/ who runs a search."""
trials_volume = modal.Volume.from_name("embedtune-trials", create_if_missing=True, version=2)
"""NAME/DIGEST/ is a trial's directory; written by the container that trains it, read by the head."""
snapshots_volume = modal.Volume.from_name("embedtune-snapshots", create_if_missing=True, version=2)
"""Embedded texts and views; written while embedding, then only read."""
hub_volume = modal.Volume.from_name("embedtune-hub", create_if_missing=True, version=2)
"""The hub's cache of base models: downloaded once for all searches."""

QUEUE_NAME = "embedtune"
"""One named Queue for all searches: an ephemeral one would go with the head that opened it, and a head may come back.
Every call and every watched search has a partition of its own; Modal clears a partition a day after its last put."""

KEYS = ("HF_TOKEN", "OPENAI_API_KEY", "COHERE_API_KEY", "CO_API_KEY")
# Always one Secret of the same keys: a list that depends on the user's machine would differ in the container.
keys = modal.Secret.from_dict({key: os.environ.get(key, "") for key in KEYS})

HEAD_GPUS = ["L4", "A10G", "T4"]
"""In this order, whichever is free first: the head embeds with fp32 models of some 100M weights, which fit into any."""
TRIAL_GPUS = ["T4", "L4", "A10G"]
"""Cheapest first: a trial is a Dense layer on vectors that are in memory; a faster card would wait for Python."""
HEAD_CORES = 8.0
HEAD_MEMORY_MB = 32 * 1024
"""Per concurrent trial the head has one waiting process; see tests/benchmarks/modal_cost.py for what it takes."""
HEAD_TIMEOUT = 24 * 60 * 60
"""Modal's longest. A longer search goes on by --resume."""
EMBED_TIMEOUT = 6 * 60 * 60
BUYER_CORES = 1.0
BUYER_MEMORY_MB = 8 * 1024
"""A closed model's vectors are bought: a container without GPU waits for answers and writes them down."""
WHOLE_TRIAL_GPU = "L4"
"""Of a search that trains base models themselves: the cheapest card with bf16, which doubles their speed and more."""
TRIAL_TIMEOUT = 60 * 60
"""Per attempt; trials take seconds to minutes. What is over it is taken for hung, and goes on from its last state."""
WHOLE_TRIAL_TIMEOUT = 6 * 60 * 60
"""The same where base models are trained themselves: 47,000 pairs, eight times, through a large one take hours."""
TRIAL_RETRIES = modal.Retries(max_retries=3, initial_delay=1.0, backoff_coefficient=1.0)
"""For lost containers alone: failures of our own are returned, not raised. No back-off: the state is there."""
TRIAL_MAX_CONTAINERS = 200
"""A fuse. The trials in flight are bounded by --max-concurrent already."""
TRIAL_SCALEDOWN = 60
"""Seconds that an idle container waits for the next trial; the head sends it within one, so more would be waste."""
TRIAL_CORES = 2.0
TRIAL_MEMORY_MB = 8 * 1024
"""A view is texts x dims x 4 bytes, in memory: 2 GB for 700,000 texts of 768 dims."""
JOBS = 8
"""Trials at the same time where the user does not say: a search of 40 is 5 rounds, and ASHA still learns from rungs."""

COMMIT_SECONDS = float(os.environ.get("EMBEDTUNE_COMMIT_SECONDS", "30"))
"""A lost container costs at most this much training. (Tests set it lower, to lose a container between two commits.)"""
LEDGER_SECONDS = 2.0
"""A new call's id is on the Volume this long after it is on the head's disk."""
POLL_SECONDS = 2.0
"""How long a reader waits for a report before it asks whether the call is still alive."""
END_SECONDS = 30.0
"""How long cancelled calls may take to end."""


def _image() -> modal.Image:
    image = modal.Image.debian_slim(python_version="3.11")
    if modal.is_local():
        # Containers are handed the finished image; these files are on the user's machine alone.
        root = Path(__file__).resolve().parents[1]
        image = image.add_local_file(root / "constraints.txt", "/build/constraints.txt", copy=True)
        image = image.pip_install_from_pyproject(
            str(root / "pyproject.toml"),
            optional_dependencies=["demo", "openai", "cohere"],
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
            # Or Modal's runtime writes two lines to the user's terminal for every trial that is cancelled.
            "MODAL_LOGLEVEL": "ERROR",
            # The head's Ray is reachable from its own container alone, so it asks for no token.
            "RAY_AUTH_MODE": "disabled",
        }
    ).add_local_python_source("tune", "cluster", ignore=["**/__pycache__/**"])


image = _image()


def mounts(**volumes: modal.Volume) -> dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount]:
    """Volumes by the name of their place: results, trials, snapshots, hub."""
    places = {"results": RESULTS, "trials": TRIALS, "snapshots": CACHE, "hub": HUB}
    return {str(places[name]): volume for name, volume in volumes.items()}


def quiet() -> None:
    """The libraries' notices off, in a container: what it writes goes to the user's terminal."""
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)


def queue() -> modal.Queue:
    """The Queue of all searches."""
    return modal.Queue.from_name(QUEUE_NAME, create_if_missing=True)
