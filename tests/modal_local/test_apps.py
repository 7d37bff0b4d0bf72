"""Apps on the stand-in: Ctrl-C, detached, and deployed as a web site."""

import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import wait_for
from tests.modal_local.toy import Start, modal

pytestmark = [pytest.mark.modal, pytest.mark.timeout(60)]


@pytest.fixture
def sigint_not_ignored() -> Iterator[None]:
    """Restore Ctrl-C: a shell that runs pytest in the background makes it and its children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_not_ignored")
def test_ctrl_c_ends_the_app_and_its_containers(start: Start, toy: Path) -> None:
    stand_in = start()
    with subprocess.Popen(
        modal("run", "toy_app.py", "sleep"),
        cwd=toy,
        env=stand_in.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as client:
        wait_for(lambda: [call for call in stand_in.calls if call.state == "running"], 20)
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate(timeout=30)
    assert "App aborted" in output
    stand_in.wait_until_idle()
    assert [call.state for call in stand_in.calls] == ["cancelled"]
    wait_for(lambda: all(container.ended for container in stand_in.containers), 20)


def test_a_detached_app_keeps_running_without_its_client(start: Start, toy: Path) -> None:
    stand_in = start()
    began = time.monotonic()
    command = modal("run", "--detach", "toy_app.py", "leave")
    subprocess.run(command, cwd=toy, env=stand_in.env, check=True, capture_output=True, timeout=50)
    assert [call.done for call in stand_in.calls] == [False], time.monotonic() - began
    stand_in.wait_until_idle()
    assert [call.state for call in stand_in.calls] == ["success"]


def test_a_deployed_site_answers_over_http(start: Start, toy: Path) -> None:
    stand_in = start()
    command = modal("deploy", "toy_site.py")
    subprocess.run(command, cwd=toy, env=stand_in.env, check=True, capture_output=True, timeout=50)
    url = stand_in.web_url("site")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=20)
    key, secret = stand_in.proxy_token

    def ask(body: bytes | None) -> tuple[bytes, str]:
        headers = {"Modal-Key": key, "Modal-Secret": secret}
        request = urllib.request.Request(f"{url}/some/path?a=1", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.read(), response.headers["X-Path"]

    assert ask(None) == (b"site says a=1", "/some/path")
    assert ask(b"posted") == (b"site says posted", "/some/path")
    assert len(stand_in.containers) == 1
