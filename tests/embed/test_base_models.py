"""What is known of a base model without loading it: whether it is static vectors, so for LoRA and learning rates."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.tiny import save_tiny_bert
from tune.embed.base_models import is_static

ASK = """
from tune.embed.base_models import check_lora, is_static
print(is_static("someone/words"), is_static("someone/words"), is_static("someone/missing"))
check_lora("someone/words")
"""


@pytest.fixture
def hub(tmp_path: Path, tiny_model: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub that has the list of modules of one static model; its address, and the paths it was asked for."""
    files = tmp_path / "hub" / "someone" / "words" / "resolve" / "main"
    files.mkdir(parents=True)
    (files / "modules.json").write_bytes((tiny_model / "modules.json").read_bytes())
    asked: list[str] = []

    class Hub(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(tmp_path / "hub")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def run(code: str, hub: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that is online with this hub, and has an empty cache."""
    named = {"HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **named}, capture_output=True, text=True, timeout=60, check=False)


def test_a_folder_says_what_it_is(tiny_model: Path, tmp_path: Path) -> None:
    assert is_static(str(tiny_model)) and is_static("wordllama")
    assert not is_static(str(save_tiny_bert(tmp_path))) and not is_static("minilm")


def test_a_hub_model_is_asked_once_and_nothing_is_kept(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = hub
    home = tmp_path / "home"
    ran = run(ASK, address, home)
    assert ran.stdout.split() == ["True", "True", "False"], ran.stderr
    assert "ModelError: [space] train: lora needs attention layers, and someone/words has none" in ran.stderr
    assert sum("words/resolve/main/modules.json" in path for path in asked) == 1, asked
    # A model with one cached file is taken for a complete one.
    assert not list(home.rglob("modules.json"))


def test_without_a_network_the_answer_is_quick(tmp_path: Path) -> None:
    code = "import time; from tune.embed.base_models import is_static as ask\n"
    code += "began = time.monotonic(); print(ask('someone/words'), time.monotonic() - began < 5)"
    ran = run(code, "http://127.0.0.1:9", tmp_path)
    assert ran.stdout.split() == ["False", "True"], ran.stderr
