"""What was bought from closed models is kept: after kill -9, Ctrl-C, in parallel runs and in small shards."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.embed.closed.shared import COHERE, OPENAI, TEXTS, prompt_of, snapshot_of, source_of, stored
from tests.helpers.command import background, wait_for
from tests.helpers.embed_server import EmbedServer, embed
from tune.data.sides import SIDES, LabelledPairs
from tune.embed.prepare import prepare_base
from tune.embed.snapshot import Snapshot, text_key
from tune.embed.view import View

KILLED = """
import os, signal, sys
from pathlib import Path
from tune.embed.closed import ClosedOptions, ClosedSource
from tune.embed.snapshot import Snapshot
name, url, root = sys.argv[1:]
source = ClosedSource(name, ClosedOptions(base_url=url, max_in_flight=2, texts_per_request=10))
texts = [f"where is the swift purse number {i}" for i in range(100)]
def die(done, total):
    if done >= 40:
        os.kill(os.getpid(), signal.SIGKILL)
Snapshot(Path(root), source.fingerprint, source.dims).embed(source, source.prompts(False)[0], texts, die)
"""


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_kill_9_never_buys_a_stored_text_again(server: EmbedServer, tmp_path: Path, name: str) -> None:
    url = server.cohere_url if name == COHERE else server.openai_url
    command = [sys.executable, "-c", textwrap.dedent(KILLED), name, url, str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    source = source_of(server, name)
    snapshot = snapshot_of(source, tmp_path)
    before = stored(snapshot, source)
    assert len(before) == 40
    assert snapshot.embed(source, prompt_of(source), TEXTS) == 60
    sold = server.book.texts()
    assert all(sold[text] == 1 for text in before)
    # At most the two requests in flight were lost, with 10 texts each.
    assert set(sold) == set(TEXTS) and sum(sold.values()) <= 120
    assert np.allclose(snapshot.vectors([text_key(prompt_of(source), t) for t in TEXTS]), embed(TEXTS, 1536), atol=1e-6)


def test_two_runs_in_parallel_buy_a_text_once(server: EmbedServer, tmp_path: Path) -> None:
    server.delay = 0.05
    sources = [source_of(server) for _ in range(2)]
    snapshots = [snapshot_of(source, tmp_path) for source in sources]
    bought: list[int] = []

    def run(at: int) -> None:
        bought.append(snapshots[at].embed(sources[at], prompt_of(sources[at]), TEXTS[: 60 + 40 * at]))

    runs = [threading.Thread(target=run, args=(at,)) for at in range(2)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join(60)
    assert sum(bought) == 100 and set(server.book.texts().values()) == {1}
    assert stored(snapshots[1], sources[1]) == set(TEXTS)


def test_vectors_that_differ_when_bought_again_get_another_view(server: EmbedServer, tmp_path: Path) -> None:
    label = np.array([0, 1], np.int8)
    sides = {name: LabelledPairs(TEXTS[at : at + 2], TEXTS[at + 2 : at + 4], label) for at, name in enumerate(SIDES)}
    digests = []
    for lost in (False, True):
        source = source_of(server)
        if lost:
            [shard] = (tmp_path / "snapshots" / source.fingerprint).glob("*.npy")
            rows = np.load(shard)
            shard.unlink()
            snapshot_of(source, tmp_path / "snapshots").add(rows["key"], -rows["vector"])
        base = prepare_base(source, sides, tmp_path, ("", ""))
        assert prepare_base(source_of(server), sides, tmp_path, ("", "")).digest == base.digest
        vectors, rows = base.rows(tmp_path, sides["val"])
        view = View.open(base.view(tmp_path))
        assert np.array_equal(view.vectors[view.val.a], vectors[rows.a])
        digests.append(base.digest)
    assert len(set(digests)) == 2


INTERRUPTED = """
import sys
from pathlib import Path
from tune.embed.closed import ClosedOptions, ClosedSource
from tune.embed.snapshot import Snapshot
source = ClosedSource("openai:text-embedding-3-small", ClosedOptions(base_url=sys.argv[1], texts_per_request=10))
texts = [f"where is the swift purse number {i}" for i in range(100)]
progress = lambda done, total: print(done, "stored", flush=True)
Snapshot(Path(sys.argv[2]), source.fingerprint, source.dims).embed(source, "", texts, progress)
"""


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(server: EmbedServer, tmp_path: Path) -> None:
    server.fault_from("hang", 3)
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), server.openai_url, str(tmp_path)]
    log = tmp_path / "log"
    with background(command, dict(os.environ), log) as process:
        wait_for(lambda: "20 stored" in log.read_text(), 60)
        process.send_signal(signal.SIGINT)
        # Its timeout is 60 s, seven times over.
        assert process.wait(20) != 0
    assert "KeyboardInterrupt" in log.read_text() and "SECRET" not in log.read_text()
    assert len(stored(snapshot_of(source_of(server), tmp_path), source_of(server))) == 20


def test_small_shards_are_merged(server: EmbedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune.embed.snapshot.TEXTS_PER_SHARD", 30)
    source = source_of(server, texts_per_request=4)
    snapshot = snapshot_of(source, tmp_path)
    for part in (TEXTS[:50], TEXTS):
        snapshot.embed(source, "", part)
        for opened in (snapshot, snapshot_of(source, tmp_path)):
            keys = [text_key("", text) for text in part]
            assert len(opened) == len(part) and np.allclose(opened.vectors(keys), embed(part, 1536), atol=1e-6)
    assert len(list(snapshot.directory.glob("*.npy"))) < 3 + 8
    assert set(server.book.texts().values()) == {1}


def test_a_reader_misses_nothing_while_shards_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tune.embed.snapshot.TEXTS_PER_SHARD", 10)
    written: list[bytes] = []
    ended = threading.Event()

    def write() -> None:
        snapshot = Snapshot(tmp_path, "of", 2)
        for number in range(150):
            key = number.to_bytes(16, "big")
            snapshot.add([key], np.full((1, 2), number, np.float32))
            written.append(key)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    opened = 0
    while not ended.is_set() or opened == 0:
        expected = list(written)
        reader = Snapshot(tmp_path, "of", None)
        if expected:
            assert np.array_equal(reader.vectors(expected)[:, 0], np.arange(len(expected)))
        opened += 1
    writer.join()
    assert opened > 3 and not caplog.text
