"""The oldest sentence-transformers that an export promises gives its vectors, in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.helpers.bases import save_router
from tests.helpers.exported_trials import FROZEN, exported_trial
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model, topic_pairs
from tune.export.servers import ST, servers_of

SIDES = {"train": topic_pairs(90, 0), "val": topic_pairs(60, 1), "test": topic_pairs(60, 2)}
TEXTS = ["t0w1 t1w2", "t3w3", " ".join(TOPIC_WORDS), "an unknown word"]
OLDEST = {"3": "3.0.1", "3.2": "3.2.1", "5": "5.0.0"}
"""Promised version -> the release that stands for it."""

_ENCODE = """
import json, sys
import numpy as np
import sentence_transformers
texts, model = json.loads(sys.argv[1]), sentence_transformers.SentenceTransformer(sys.argv[2], device="cpu")
np.save(sys.argv[3], model.encode(texts, show_progress_bar=False))
print(sentence_transformers.__version__)
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the promised version -> PYTHONPATH of its release, with transformers 4 and this environment's torch."""
    folder = tmp_path_factory.mktemp("old")
    shared = folder / "shared"
    _install(shared, "transformers==4.49.0")
    # That of this environment would not import beside the hub client that transformers 4 needs.
    _install(shared, "--no-deps", "datasets==3.6.0")
    for release in OLDEST.values():
        _install(folder / release, "--no-deps", f"sentence-transformers=={release}")
    torch = sysconfig.get_paths()["purelib"]
    return {since: [str(folder / release), str(shared), torch] for since, release in OLDEST.items()}


def _install(target: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if done.returncode:
        pytest.skip(f"no package index is reachable, or it lacks {what[-1]}: {done.stderr.strip()[-200:]}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("since", OLDEST)
def test_the_oldest_promised_version_gives_the_same_vectors(
    old: dict[str, list[str]], since: str, tmp_path: Path
) -> None:
    bases = {
        "3": lambda: save_tiny_bert(tmp_path / "base"),
        "3.2": lambda: save_tiny_model(tmp_path / "base", words=TOPIC_WORDS),
        "5": lambda: save_router(tmp_path / "base"),
    }
    model = exported_trial(str(bases[since]()), SIDES, tmp_path, {**FROZEN, "bias": since == "3.2"}).model
    assert servers_of(model)[ST].since == since
    # -I would drop PYTHONPATH; its folders come before those of this environment.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(old[since]), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", _ENCODE, json.dumps(TEXTS), str(model), str(tmp_path / "vectors.npy")]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] == OLDEST[since]
    expected = SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    assert abs(np.load(tmp_path / "vectors.npy") - expected).max() < 1e-5
