"""A closed model on Modal: agreed to here, bought there without a GPU, and kept if its container is lost."""

from pathlib import Path

import pytest

from tests.helpers.command import leaderboard, wait_for
from tests.helpers.embed_server import KEY, EmbedServer, embed_server
from tests.helpers.modal_launch import container_of, environment, launch, launched, modal_local
from tests.helpers.planted import Looked
from tests.helpers.tiny import write_some_pairs
from tests.modal_local import Call, ModalLocal

pytestmark = [pytest.mark.modal, pytest.mark.slow, pytest.mark.timeout(250)]

OPENAI = "openai:text-embedding-3-small"
IN_FLIGHT = 4 * 32


def buyer(stand_in: ModalLocal) -> Call | None:
    return next((call for call in stand_in.calls if call.function == "embed_closed"), None)


def bought(server: EmbedServer) -> int:
    return len(server.book.texts())


def test_it_is_bought_without_a_gpu_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    pairs = write_some_pairs(tmp_path / "some.csv", {"train": 500, "val": 260, "test": 260})
    with embed_server() as server, modal_local(tmp_path, commit_seconds=0.2) as stand_in:
        arguments = (
            "--base-model", OPENAI, "--base-url", server.openai_url, "--data", pairs, "--split-column", "side",
            "--search", "grid", "--dims", "16", "--loss", "cosent", "--epochs", "2", "--max-concurrent", "1",
            "--results", tmp_path / "results", "--name", "paid", "--allow-private-server", "--report", "false",
        )  # fmt: skip
        refused = launch(stand_in, *arguments, "--max-embed-usd", "0")
        assert refused.code == 2 and "at most: texts already on the Volume" in refused.out + refused.err, refused.err
        assert "approve it with --max-embed-usd" in refused.err and not stand_in.calls and not server.book.requests

        server.delay = 0.3
        with launched(stand_in, *arguments, log=tmp_path / "log") as process:
            wait_for(lambda: process.poll() is not None or bought(server) > 2 * IN_FLIGHT, 120)
            call = buyer(stand_in)
            assert call is not None and call.state == "running", (tmp_path / "log").read_text()
            stand_in.end_container(container_of(stand_in, call))
            server.delay = 0.0
            assert process.wait(150) == 0, (tmp_path / "log").read_text()
        log = (tmp_path / "log").read_text()
        call = buyer(stand_in)
        assert call is not None and call.state == "success" and len(call.containers) == 2
        assert {c.gpu for c in stand_in.containers if c.task_id in call.containers} == {""}
        assert not [call for call in stand_in.calls if call.function == "embed_snapshot"]
        # Bought again is only what the lost container had not committed: 0.2 seconds' worth, and what was in flight.
        again = server.book.sold.total() - bought(server)
        assert again <= 3 * IN_FLIGHT and again < bought(server) / 2, again
        rows = leaderboard(tmp_path / "results" / "paid")
        models = [(row["status"], row["base_model"]) for row in rows]
        assert models[0] == ("done", OPENAI) and set(models[1:]) == {("baseline", OPENAI), ("baseline", "tf-idf")}
        assert f"to buy: {OPENAI}" in log and log.count("to buy: ") == 1, "the head does not ask again"
        volumes = [stand_in.volume(f"embedtune-{name}") for name in ("results", "trials", "snapshots")]
        looked = Looked()
        for folder in (*volumes, tmp_path / "results"):
            looked.look(folder, KEY)
        assert looked.files and not looked.with_secret
        assert KEY not in log and environment(stand_in)["OPENAI_API_KEY"] == KEY
        assert stand_in.errors == [] and stand_in.unknown_rpcs == []
