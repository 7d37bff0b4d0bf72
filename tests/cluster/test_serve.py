"""`modal deploy cluster/serve.py` as a user runs it, offline: the API through Modal's own client and runtime."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from tests.helpers.command import Ran
from tests.helpers.modal_launch import REPOSITORY, environment, modal_local
from tests.helpers.serving import save_export, some_texts
from tests.modal_local import ModalLocal
from tune.embed.exported import load_exported

pytestmark = [pytest.mark.modal, pytest.mark.timeout(250)]

KEY = "sesame-0123"


@dataclass(frozen=True)
class Deployed:
    """A stand-in with an export on its results Volume."""

    stand_in: ModalLocal
    best: Path

    def deploy(self, **variables: str) -> Ran:
        """Run `modal deploy cluster/serve.py`. variables: EMBEDTUNE_SERVE... without their beginning."""
        given = {f"EMBEDTUNE_{name}": value for name, value in variables.items()}
        done = subprocess.run(
            [sys.executable, "-m", "modal", "deploy", "cluster/serve.py"],
            cwd=REPOSITORY, env={**environment(self.stand_in), **given}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    @property
    def url(self) -> str:
        """Of the last deployment."""
        return self.stand_in.web_url("serve")

    @property
    def proxy_headers(self) -> dict[str, str]:
        """The workspace's proxy token."""
        return dict(zip(("Modal-Key", "Modal-Secret"), self.stand_in.proxy_token, strict=True))

    def client(self, key: str = "unused", proxy: bool = True) -> openai.OpenAI:
        """The official client. proxy: whether it sends the workspace's proxy token."""
        headers = self.proxy_headers if proxy else {}
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key, default_headers=headers, max_retries=0, timeout=100
        )


@pytest.fixture(scope="module")
def modal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    root = tmp_path_factory.mktemp("modal_serve")
    best = save_export(root, by_dims={"8": {}, "32": {}})
    with modal_local(root) as stand_in:
        deployed = Deployed(stand_in, best)
        # The first deployment makes the Volume, as a search would have.
        ran = deployed.deploy(SERVE="tickets")
        assert ran.code == 0, ran.out + ran.err
        shutil.copytree(best.parent, stand_in.volume("embedtune-results") / "tickets")
        yield deployed
        assert stand_in.errors == [] and stand_in.unknown_rpcs == []


def test_requests_through_modal_get_the_export_s_vectors(modal: Deployed) -> None:
    assert httpx.get(f"{modal.url}/health", timeout=100).status_code == 401, "closed by default"
    client, texts = modal.client(), some_texts(40)
    for word, side in (("query", "a"), ("document", "b")):
        answer = client.embeddings.create(model=f"tickets:{word}", input=texts)
        expected = load_exported(modal.best).encode(texts, side)
        assert np.abs(np.array([one.embedding for one in answer.data]) - expected).max() < 1e-6
    with pytest.raises(openai.BadRequestError, match="dimensions must be 8 or 32 for this model, not 9"):
        client.embeddings.create(model="tickets", input="t1w1", dimensions=9)
    health = httpx.get(f"{modal.url}/health", headers=modal.proxy_headers, timeout=100).json()
    assert health["model"] == "tickets" and health["loaded_seconds"] > 0
    assert "cold start: tickets loaded in" in modal.stand_in.logs()


def test_a_key_instead_of_the_proxy_and_a_search_that_is_not_there(modal: Deployed) -> None:
    ran = modal.deploy(SERVE="other", SERVE_AUTH="key", API_KEY=KEY)
    assert ran.code == 0 and KEY not in ran.out + ran.err
    with pytest.raises(openai.InternalServerError, match="the Volume embedtune-results has no search other"):
        modal.client(KEY, proxy=False).models.list()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "say which search to serve: EMBEDTUNE_SERVE=NAME modal deploy cluster/serve.py"),
        ({"SERVE": "../x"}, "say which search to serve"),
        ({"SERVE": "tickets", "SERVE_AUTH": "open"}, "EMBEDTUNE_SERVE_AUTH must be proxy or key, not open"),
        (
            {"SERVE": "tickets", "SERVE_AUTH": "key"},
            "needs the key in EMBEDTUNE_API_KEY, or anyone could use the model",
        ),
    ],
)
def test_a_deployment_that_cannot_work_is_refused(modal: Deployed, variables: dict[str, str], message: str) -> None:
    ran = modal.deploy(**variables)
    assert ran.code == 1 and message in ran.err and "Traceback" not in ran.out + ran.err
