"""`python -m tune serve` as a user runs it: what it prints, how it ends, and what it refuses before it listens."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from tests.helpers.command import background, environment, tune_here, wait_for
from tests.helpers.embed_server import EmbedServer
from tests.helpers.serving import running, save_export, some_texts
from tune.config.closed import ClosedConfig
from tune.embed.closed import ClosedName, ClosedOptions
from tune.embed.exported import load_exported
from tune.export.write import Adapter, write_adapted
from tune.pipeline.serve import ServeOptions, get_ready
from tune.serve.app import make_app
from tune.serve.served import load_served
from tune.serve.server import address_of, listen

KEY = "sesame-0123"


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_export(tmp_path_factory.mktemp("command"))


@dataclass(frozen=True)
class Started:
    """A running `python -m tune serve`."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def url(self) -> str:
        """The address it printed, which ends with /v1."""

        def printed() -> list[str]:
            assert self.process.poll() is None, self.log.read_text()
            return [line for line in self.log.read_text().splitlines() if line.startswith("serving ")]

        return str(wait_for(printed, 120)[0].rsplit(" ", 1)[1])


@pytest.fixture
def started(best: Path, tmp_path: Path) -> Iterator[Started]:
    """The results folder served with a key, in small batches."""
    command = [sys.executable, "-m", "tune", "serve", str(best.parent), "--port", "0", "--max-batch", "4"]
    with background(command, {**environment(), "EMBEDTUNE_API_KEY": KEY}, tmp_path / "log") as process:
        yield Started(process, tmp_path / "log")


def test_it_serves_and_answers_what_is_under_way_before_sigterm_ends_it(started: Started, best: Path) -> None:
    client = openai.OpenAI(base_url=started.url, api_key=KEY, max_retries=0, timeout=60)
    assert started.url.startswith("http://127.0.0.1:")
    texts = some_texts(2048)
    answers: list[openai.types.CreateEmbeddingResponse] = []
    asking = threading.Thread(
        target=lambda: answers.append(client.embeddings.create(model="tickets", input=texts, timeout=60))
    )
    asking.start()
    health = f"{started.url.removesuffix('/v1')}/health"
    wait_for(lambda: httpx.get(health, timeout=30).json()["waiting"] > 0, 30)
    started.process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert started.process.wait(60) == 0
    got = np.array([one.embedding for one in answers[0].data])
    assert np.abs(got - load_exported(best).encode(texts)).max() < 1e-6
    out = started.log.read_text()
    assert "serving tickets (32 dims, loaded in" in out and out.endswith("stopped\n") and "Traceback" not in out
    curl = next(line for line in out.splitlines() if line.startswith("try: curl"))
    assert "$EMBEDTUNE_API_KEY" in curl and KEY not in out
    with pytest.raises(httpx.ConnectError):
        httpx.get(health)


def test_ctrl_c_ends_it_with_130(started: Started) -> None:
    assert httpx.get(f"{started.url}/models").status_code == 401
    started.process.send_signal(signal.SIGINT)
    assert started.process.wait(60) == 130
    assert started.log.read_text().endswith("interrupted\n") and "Traceback" not in started.log.read_text()


def unfinished(url: str) -> socket.socket:
    """Return a connection that has sent half a request for embeddings, with the key."""
    address = httpx.URL(url)
    client = socket.create_connection((address.host, address.port or 0), timeout=60)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode())
    return client


def test_a_second_ctrl_c_ends_it_at_once_without_a_traceback(started: Started) -> None:
    with unfinished(started.url):
        assert httpx.get(started.url, timeout=60).status_code == 404, "the unfinished request came before this one"
        started.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            started.process.wait(1)
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(25) == 130, "the first alone would take 30 s"
    assert "Traceback" not in started.log.read_text()


def test_a_request_that_never_ends_is_cut_off_when_the_server_ends(
    best: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.serve.server.GRACE_SECONDS", 1)
    with running(make_app(load_served(best), key=KEY)) as url:
        client = unfinished(f"{url}/v1")
        assert httpx.get(url, timeout=60).status_code == 404, "the unfinished request came before this one"
    with client:
        assert b"the server is stopping" in client.recv(4096)
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text


def test_what_cannot_be_served_is_refused_in_one_line(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBEDTUNE_API_KEY", raising=False)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "embedtune.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "embedtune.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, why in (
            ((tmp_path,), "is not an exported model (has no embedtune.json); give results/NAME/best"),
            ((tmp_path / "none",), "is not an exported model (does not exist)"),
            ((tmp_path / "damaged",), "embedtune.json cannot be read"),
            ((tmp_path / "empty", "--port", 0), "is not a model folder"),
            ((best, "--port", port), f"cannot listen on 127.0.0.1, port {port} (Address already in use)"),
            ((best, "--port", 70_000), "--port must be 0 to 65535, not 70000"),
            ((best, "--port", -1), "--port must be 0 to 65535, not -1"),
            ((best, "--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
            ((best, "--max-batch", 0), "--max-batch must be at least 1, not 0"),
            ((best, "--wait-ms", "nan"), "--wait-ms must be at least 0, not nan"),
            ((best, "--api-key-env", "UNSET_KEY"), "--api-key-env UNSET_KEY: this environment variable is not set"),
            ((best, "--api-key", "x"), "no such option --api-key: keys come from the environment alone"),
        ):
            ran = tune_here(capsys, "serve", *arguments)
            assert ran.code == 2 and why in ran.err and ran.err.count("\n") == 1, (arguments, ran)


def test_help_is_short_and_loads_nothing() -> None:
    code = (
        "import sys\nfrom tune.cli import main\ntry:\n    main(['serve', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'numpy', 'starlette', 'uvicorn') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines()[-1] == "[]" and "--port" in ran.stdout and "--wait-ms" not in ran.stdout


@pytest.fixture
def closed(server: EmbedServer, tmp_path: Path) -> Path:
    """An export on a closed model behind the test's server."""
    weight = np.random.default_rng(0).normal(size=(16, 256)).astype(np.float32)
    options = ClosedOptions(base_url=server.cohere_url, max_retries=0)
    name, prompts = ClosedName("cohere", "embed-v4.0", 256), ("[search_query] ", "[search_document] ")
    return write_adapted(tmp_path / "closed", Adapter({"linear.weight": weight}, name, options, "identity", prompts))


def test_an_export_on_a_closed_model_buys_only_when_that_is_allowed(
    closed: Path, server: EmbedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBEDTUNE_API_KEY", raising=False)
    ran = tune_here(capsys, "serve", closed, "--port", 0)
    assert ran.code == 2 and "every request would buy its texts from the provider" in ran.err
    ran = tune_here(capsys, "serve", closed, "--port", 0, "--host", "0.0.0.0", "--allow-purchases")
    assert ran.code == 2 and "needs a key, or anyone who reaches this machine spends your money" in ran.err
    assert server.book.sold.total() == 0
    served = load_served(closed, purchases=True, closed=ClosedConfig(cohere_base_url=server.cohere_url))
    assert server.book.sold.total() == 0, "loading buys nothing"
    with running(make_app(served)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        texts = ["blue cheese", "red wine", "blue cheese"]
        answer = client.embeddings.create(model="closed:document", input=texts)
        assert server.book.sold.total() == 2 and answer.usage.prompt_tokens > 0
        expected = served.model.encode(texts, "b")
        assert np.abs(np.array([one.embedding for one in answer.data]) - expected).max() < 1e-6


def test_an_open_address_without_a_key_is_warned_about(best: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDTUNE_API_KEY", raising=False)
    for host, variable, warned in (("0.0.0.0", None, True), ("0.0.0.0", "OWN_KEY", False), ("127.0.0.1", None, False)):
        monkeypatch.setenv("OWN_KEY", KEY)
        ready = get_ready(ServeOptions(best, host=host, port=0, key_variable=variable, served_name="own"))
        ready.listening.close()
        assert ready.warning.startswith("anyone who reaches this machine on port") == warned
        assert ready.key == (variable or "") and ready.served.name == "own"


def test_connections_send_small_packets_at_once() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(address_of(listening), timeout=10):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "answers would wait 40 ms"


def test_a_missing_extra_is_named(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = tune_here(capsys, "serve", best)
    assert ran.code == 2 and "serving needs uvicorn; run pip install 'embedtune[serve]'" in ran.err
