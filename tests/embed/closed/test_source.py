"""Closed models against a real HTTP server: what is bought is kept, every failure is one line, no key gets out."""

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.command import background, wait_for
from tests.helpers.embed_server import COHERE_PATH, KEY, OPENAI_PATH, OWN_MODEL, EmbedServer, embed, embed_server
from tune.data.demo import demo_pairs
from tune.data.sides import SIDES, LabelledPairs
from tune.embed.closed import ClosedName, ClosedOptions, ClosedSource, check_closed, clients
from tune.embed.closed.clients import KEYS
from tune.embed.closed.source import ask_all
from tune.embed.prepare import prepare_base
from tune.embed.snapshot import Snapshot, text_key
from tune.embed.view import View
from tune.errors import ModelError
from tune.metrics.score import roc_auc

TEXTS = [f"where is the swift purse number {i}" for i in range(100)]
OPENAI, COHERE = "openai:text-embedding-3-small", "cohere:embed-v4.0"
COHERE_256 = f"{COHERE}@256"


@pytest.fixture(scope="module")
def one_server() -> Iterator[EmbedServer]:
    with embed_server() as server:
        yield server
    assert not [thread for thread in threading.enumerate() if thread.name == "embed request"]


@pytest.fixture
def server(one_server: EmbedServer, monkeypatch: pytest.MonkeyPatch) -> EmbedServer:
    one_server.reset()
    for variable in ("OPENAI_BASE_URL", "CO_API_URL", "CO_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return one_server


def source_of(server: EmbedServer, name: str = OPENAI, max_length: int | None = None, **options: Any) -> ClosedSource:
    url = server.cohere_url if name.startswith("cohere:") else server.openai_url
    values: dict[str, Any] = {"base_url": url, "max_retries": 0, "timeout": 20.0, "texts_per_request": 10}
    return ClosedSource(name, ClosedOptions(**(values | options)), max_length)


def snapshot_of(source: ClosedSource, root: Path) -> Snapshot:
    return Snapshot(root, source.fingerprint, source.known_dims)


def prompt_of(source: ClosedSource) -> str:
    return source.prompts(False)[0]


def stored(snapshot: Snapshot, source: ClosedSource) -> set[str]:
    lacking = set(snapshot.lacking(prompt_of(source), TEXTS))
    return {text for text in TEXTS if text not in lacking}


# What is bought


@pytest.mark.parametrize(("name", "path"), [(OPENAI, OPENAI_PATH), (COHERE, COHERE_PATH)])
def test_vectors_come_in_order_and_a_text_is_bought_once(
    server: EmbedServer, tmp_path: Path, name: str, path: str
) -> None:
    source = source_of(server, name, texts_per_request=None)
    snapshot, prompt = snapshot_of(source, tmp_path), prompt_of(source)
    told: list[tuple[int, int]] = []
    assert snapshot.embed(source, prompt, [*TEXTS, *TEXTS[:5]], lambda *now: told.append(now)) == 100
    assert snapshot.embed(source, prompt, TEXTS) == 0
    assert snapshot_of(source, tmp_path).embed(source_of(server, name), prompt, [*TEXTS, "a new one"]) == 1
    vectors = snapshot.vectors([text_key(prompt, text) for text in TEXTS])
    assert np.allclose(vectors, embed(TEXTS, 1536), atol=1e-6) and vectors.shape == (100, 1536)
    assert set(server.book.texts().values()) == {1} and {sold[0] for sold in server.book.sold} == {path}
    # Cohere takes 96 texts; a server that is not OpenAI's gets 32.
    requests = sorted(asked for _, asked, _ in server.book.requests)
    assert requests == ([1, 4, 32, 32, 32] if name == OPENAI else [1, 4, 96])
    assert told[-1] == (100, 100)


@pytest.mark.parametrize("name", ["openai:text-embedding-3-large@256", "cohere:embed-v4.0@256"])
def test_dims_are_asked_of_the_api(server: EmbedServer, name: str) -> None:
    source = source_of(server, name)
    assert source.dims == 256
    vectors = source.embed(TEXTS[:3], prompt_of(source))
    assert np.allclose(vectors, embed(TEXTS[:3], 3072 if "large" in name else 1536, 256), atol=1e-6)
    assert (server.book.bodies[0].get("dimensions") or server.book.bodies[0].get("output_dimension")) == 256


@pytest.mark.parametrize("name", ["openai:text-embedding-ada-002@1536", "cohere:embed-english-v3.0@1024"])
def test_a_models_own_dims_are_not_asked(server: EmbedServer, name: str) -> None:
    source = source_of(server, name)
    assert source.embed(TEXTS[:1], prompt_of(source)).shape == (1, source.dims)
    assert not {"dimensions", "output_dimension"} & set(server.book.bodies[0])


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_aucs_are_real(server: EmbedServer, name: str) -> None:
    matching = [(a, b) for a, b, label in demo_pairs() if label][:60]
    first, second = [a for a, _ in matching] * 2, [b for _, b in matching + matching[7:] + matching[:7]]
    labels = np.repeat([1, 0], 60)
    source = source_of(server, name, texts_per_request=96)
    a, b = (source.embed(texts, prompt_of(source)) for texts in (first, second))
    own_a, own_b = (embed(texts, 256) for texts in (first, second))
    auc = roc_auc((a * b).sum(1), labels)
    assert auc == pytest.approx(roc_auc((own_a * own_b).sum(1), labels), abs=1e-3) and auc > 0.8


def test_cohere_buys_a_text_as_query_and_as_document(server: EmbedServer, tmp_path: Path) -> None:
    source = source_of(server, COHERE)
    assert source.prompts(True) == ("[search_query] ", "[search_document] ")
    assert source.prompts(False) == ("[search_query] ", "[search_query] ")
    assert source_of(server, COHERE, input_type="clustering").prompts(True) == ("[clustering] ", "[clustering] ")
    assert source.prompts(True, ("Q: ", None)) == ("[search_query] Q: ", "[search_document] ")
    snapshot = snapshot_of(source, tmp_path)
    for prompt in source.prompts(True):
        assert snapshot.embed(source, prompt, TEXTS[:2]) == 2
    query, document = (snapshot.vectors([text_key(prompt, TEXTS[0])]) for prompt in source.prompts(True))
    assert not np.allclose(query, document)
    sold = {(COHERE_PATH, kind, text) for kind in ("search_query", "search_document") for text in TEXTS[:2]}
    assert set(server.book.sold) == sold
    # Asked for outright, the same input type is the same purchase.
    explicit = source_of(server, COHERE, input_type="search_query")
    assert snapshot_of(explicit, tmp_path).embed(explicit, explicit.prompts(True)[1], TEXTS[:2]) == 0
    with pytest.raises(ValueError, match="input type"):
        source.embed(TEXTS[:1], "")


def test_prompts_go_before_the_text(server: EmbedServer) -> None:
    source_of(server).embed(["hello"], source_of(server).prompts(True, ("query: ", None))[0])
    cohere = source_of(server, COHERE)
    cohere.embed(["hello"], cohere.prompts(True, ("query: ", None))[0])
    assert set(server.book.texts()) == {"query: hello"}


def test_a_server_without_a_key_and_an_unknown_model(
    server: EmbedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.key = None
    source = source_of(server, f"openai:{OWN_MODEL}")
    with pytest.raises(ModelError, match="not known before its first vectors; give @DIMS"):
        _ = source.dims
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", TEXTS[:15]) == 15 and source.dims == snapshot.dims == 256
    # A later run knows the dims from what it has.
    again = snapshot_of(source_of(server, f"openai:{OWN_MODEL}"), tmp_path)
    assert again.dims == 256 and np.allclose(again.vectors([text_key("", TEXTS[3])]), embed(TEXTS[3:4], 256), atol=1e-6)
    server.fault_from("other_dims")
    with pytest.raises(ModelError, match=r"vectors of 255 dims now, and those of .* have 256"):
        again.embed(source_of(server, f"openai:{OWN_MODEL}"), "", TEXTS)
    assert "dimensions" not in server.book.bodies[0]


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_at_most_so_many_requests_are_in_flight(server: EmbedServer, name: str) -> None:
    server.delay = 0.05
    source = source_of(server, name, max_in_flight=3, texts_per_request=5)
    taken = [places for places, _ in source.embed_batches(TEXTS, prompt_of(source))]
    assert sorted(place for places in taken for place in places) == list(range(100))
    assert server.book.most_open == 3


def test_a_batch_is_given_at_once_and_no_more_is_asked_than_is_taken(server: EmbedServer) -> None:
    source = source_of(server, max_in_flight=2)
    batches = source.embed_batches(TEXTS, "")
    next(batches)
    wait_for(lambda: len(server.book.requests) >= 2, 10)
    time.sleep(0.2)
    assert len(server.book.requests) == 2, "one taken and unstored, one waiting"
    batches.close()


def test_the_first_failure_is_raised_after_what_is_under_way() -> None:
    late = threading.Event()

    def ask(item: int) -> int:
        if item == 1:
            raise ModelError("broken")
        if item == 0:
            late.wait(5)
        return item

    answers = ask_all(ask, range(10), 3)
    assert next(answers) == (2, 2)
    late.set()
    got: list[int] = []
    with pytest.raises(ModelError, match="broken"):
        got.extend(item for item, _ in answers)
    assert 0 in got and len(got) <= 2


# Killed, refused, cut off


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
    # Lost at most what was in flight: two requests of 10 texts.
    assert set(sold) == set(TEXTS) and sum(sold.values()) <= 120
    assert np.allclose(snapshot.vectors([text_key(prompt_of(source), t) for t in TEXTS]), embed(TEXTS, 1536), atol=1e-6)


def test_two_runs_at_a_time_buy_a_text_once(server: EmbedServer, tmp_path: Path) -> None:
    server.delay = 0.05
    sources = [source_of(server) for _ in range(2)]
    snapshots = [snapshot_of(source, tmp_path) for source in sources]
    bought: list[int] = []

    def run(at: int) -> None:
        bought.append(snapshots[at].embed(sources[at], prompt_of(sources[at]), TEXTS[: 60 + 40 * at]))

    runs = [threading.Thread(target=run, args=(at,)) for at in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join(60)
    assert sum(bought) == 100 and set(server.book.texts().values()) == {1}
    assert stored(snapshots[1], sources[1]) == set(TEXTS)


def test_vectors_that_are_other_when_bought_again_have_a_view_of_their_own(server: EmbedServer, tmp_path: Path) -> None:
    label = np.array([0, 1], np.int8)
    sides = {name: LabelledPairs(TEXTS[at : at + 2], TEXTS[at + 2 : at + 4], label) for at, name in enumerate(SIDES)}
    digests = []
    for lost in (False, True):
        source = source_of(server)
        if lost:
            [shard] = (tmp_path / "snapshots" / source.fingerprint).glob("*.npy")
            rows = np.load(shard)
            rows["vector"] *= -1
            np.save(shard, rows)
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
told = lambda done, total: print(done, "stored", flush=True)
Snapshot(Path(sys.argv[2]), source.fingerprint, source.dims).embed(source, "", texts, told)
"""


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(server: EmbedServer, tmp_path: Path) -> None:
    server.fault_from("hang", 3)
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), server.openai_url, str(tmp_path)]
    log = tmp_path / "log"
    with background(command, dict(os.environ), log) as process:
        wait_for(lambda: "20 stored" in log.read_text(), 60)
        process.send_signal(signal.SIGINT)
        # Its own timeout is 60 s, seven times over.
        assert process.wait(20) != 0
    assert "KeyboardInterrupt" in log.read_text() and "SECRET" not in log.read_text()
    assert len(stored(snapshot_of(source_of(server), tmp_path), source_of(server))) == 20


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_a_storm_of_429_buys_nothing_twice(server: EmbedServer, tmp_path: Path, name: str) -> None:
    source = source_of(server, name, max_in_flight=2)
    snapshot = snapshot_of(source, tmp_path)
    server.fault_from("rate_limit", 4)
    with pytest.raises(ModelError, match=r"too many requests \(429\).*30 of 100 texts are kept") as caught:
        snapshot.embed(source, prompt_of(source), TEXTS)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert len(stored(snapshot_of(source, tmp_path), source)) == 30
    server.fault_from("rate_limit", 10_000)
    assert snapshot.embed(source, prompt_of(source), TEXTS) == 70
    assert set(server.book.texts().values()) == {1} and len(server.book.texts()) == 100


@pytest.mark.parametrize(("name", "kind"), [(OPENAI, "rate_limit"), (COHERE, "rate_limit"), (OPENAI, "error")])
def test_the_sdk_tries_again(server: EmbedServer, name: str, kind: Any) -> None:
    server.fault(kind, 1)
    source = source_of(server, name, max_retries=1)
    began = time.monotonic()
    assert source.embed(TEXTS[:3], prompt_of(source)).shape == (3, 1536)
    assert kind == "error" or time.monotonic() - began >= 1, "Retry-After is kept to"
    assert set(server.book.texts().values()) == {1}


FAILURES = [
    (OPENAI, "quota", r"quota or credit is used up \(429\)"),
    (COHERE_256, "quota", r"quota or credit is used up \(402\)"),
    (COHERE_256, "month", r"quota or credit is used up \(429\)"),
    (OPENAI, "rate_limit", r"too many requests \(429\)"),
    (OPENAI, "error", r"fails \(500\), also after 0 retries"),
    (COHERE_256, "error", r"fails \(500\), also after 0 retries"),
    (OPENAI, "too_long", r"above the model's limit \(400\): This model's maximum"),
    (COHERE_256, "too_long", r"above the model's limit \(400\): This model's maximum"),
    (OPENAI, "hang", r"no answer from 127.0.0.1:\d+/v1 within 0.5 s"),
    (COHERE_256, "hang", r"no answer from 127.0.0.1:\d+ within 0.5 s"),
    (OPENAI, "cut", "no connection to .* or it was cut"),
    (COHERE_256, "cut", "no connection to .* or it was cut"),
    (COHERE_256, "wrong_order", "another order than the texts"),
    (OPENAI, "same_index", "cannot be put in order"),
    (OPENAI, "short", "10 texts were sent and 9 vectors came back"),
    (COHERE_256, "short", "10 texts were sent and 9 vectors came back"),
    (OPENAI, "other_dims", "vectors of 1535 dims came back, not of 1536"),
    (COHERE_256, "other_dims", "vectors of 255 dims came back, not of 256"),
    (OPENAI, "ragged", "of several lengths"),
    (COHERE_256, "ragged", "of several lengths"),
    (OPENAI, "nan", "not finite"),
    (OPENAI, "zero", "vector of zeros"),
    (COHERE_256, "zero", "vector of zeros"),
    (OPENAI, "page", "no list of vectors; is base_url right"),
    (OPENAI, "empty", "no list of vectors; is base_url right"),
    (COHERE_256, "empty", "holds no vectors; is base_url right"),
]


@pytest.mark.parametrize(("name", "kind", "says"), FAILURES)
def test_a_failure_is_one_line_and_what_was_bought_is_kept(
    server: EmbedServer, tmp_path: Path, name: str, kind: Any, says: str
) -> None:
    server.fault_from(kind, 3)
    source = source_of(server, name, max_in_flight=1, timeout=0.5 if kind == "hang" else 20.0)
    snapshot = snapshot_of(source, tmp_path)
    with pytest.raises(ModelError, match=says) as caught:
        snapshot.embed(source, prompt_of(source), TEXTS)
    said = str(caught.value)
    assert said.startswith(f"base model {name}: ") and "\n" not in said and KEY not in said
    assert said.endswith("20 of 100 texts are kept, the next run goes on from there")
    assert stored(snapshot_of(source, tmp_path), source) == set(TEXTS[:20])
    server.reset()
    assert snapshot.embed(source_of(server, name), prompt_of(source), TEXTS) == 80
    keys = [text_key(prompt_of(source), text) for text in TEXTS]
    assert np.allclose(snapshot.vectors(keys), embed(TEXTS, 1536, source.dims), atol=1e-6)
    assert not set(server.book.texts()) & set(TEXTS[:20])


@pytest.mark.parametrize("kind", ["wrong_order", "no_index"])
def test_openai_vectors_are_put_in_order_by_their_index(server: EmbedServer, kind: Any) -> None:
    server.fault_from(kind)
    assert np.allclose(source_of(server).embed(TEXTS), embed(TEXTS, 1536), atol=1e-6)


def test_cohere_without_the_texts_in_the_answer(server: EmbedServer) -> None:
    server.echo = False
    source = source_of(server, COHERE)
    assert np.allclose(source.embed(TEXTS, prompt_of(source)), embed(TEXTS, 1536), atol=1e-6)


def test_an_unknown_model_and_no_server(server: EmbedServer) -> None:
    with pytest.raises(ModelError, match=r"no such model \(404\).*`text-embedding-9` does not exist"):
        source_of(server, "openai:text-embedding-9").embed(["a"])
    nobody = ClosedOptions(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(ModelError, match=r"no connection to 127.0.0.1:9/v1"):
        ClosedSource(OPENAI, nobody).embed(["a"])
    with pytest.raises(ModelError, match=r"no connection to 127.0.0.1:9/v1"):
        ClosedSource(COHERE, nobody).embed(["a"], "[search_query] ")


# Texts


def test_a_text_above_the_limit_is_cut_or_refused_before_anything_is_bought(server: EmbedServer) -> None:
    long = "swift purse " * 4000
    cut = source_of(server)
    cut.embed(["a", long])
    sent = max(server.book.texts(), key=len)
    assert long.startswith(sent) and 20_000 < len(sent) < len(long)
    refuse = source_of(server, too_long="refuse")
    server.reset()
    with pytest.raises(ModelError, match=r"has about 16000 tokens \(an estimate\), above its 8191"):
        refuse.embed([*TEXTS, long])
    # Cohere cuts by its own tokenizer.
    source = source_of(server, "cohere:embed-english-v3.0")
    source.embed([long], prompt_of(source))
    assert server.book.bodies[-1]["truncate"] == "END" and server.book.bodies[-1]["texts"] == [long]
    refuse = source_of(server, "cohere:embed-english-v3.0", too_long="refuse")
    refuse.embed(["a"], prompt_of(source))
    assert server.book.bodies[-1]["truncate"] == "NONE"
    short = source_of(server, max_length=5)
    short.embed([long])
    assert server.book.bodies[-1]["input"] == [long[:15]] and short.fingerprint != cut.fingerprint


def test_odd_texts(server: EmbedServer) -> None:
    source = source_of(server)
    assert source.embed([]).shape == (0, 1536)
    assert source.embed(["half a pair \ud83d", "emoji 🙂", "中文"]).shape == (3, 1536)
    with pytest.raises(ModelError, match="text 2 of 3 is empty"):
        source.embed(["a", " \n", "b"])
    assert len(server.book.requests) == 1


# Keys


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_a_wrong_key_is_one_line_without_the_key(
    server: EmbedServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    with pytest.raises(ModelError, match=r"the key in \w+_API_KEY is refused \(401\)") as caught:
        source = source_of(server, name)
        source.embed(["a"], prompt_of(source))
    error: BaseException | None = caught.value
    assert error is not None and error.__context__ is None and error.__cause__ is None
    assert KEY not in repr(error) and b"SECRET" not in pickle.dumps(error)


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_the_key_is_nowhere(server: EmbedServer, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(server, name)
    with caplog.at_level(logging.DEBUG):
        for logger in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "cohere"):
            caplog.set_level(logging.DEBUG, logger)
        snapshot_of(source, tmp_path).embed(source, prompt_of(source), TEXTS[:20])
        server.fault_from("error")
        with pytest.raises(ModelError):
            source.embed(["other"], prompt_of(source))
    assert caplog.records, "the SDKs' own logs are on"
    assert "SECRET" not in caplog.text and not any("SECRET" in repr(record.args) for record in caplog.records)
    pickled = pickle.dumps(source)
    assert b"SECRET" not in pickled and "SECRET" not in repr(source) + repr(vars(source))
    assert not any(b"SECRET" in file.read_bytes() for file in tmp_path.rglob("*.npy"))
    server.reset()
    copy = pickle.loads(pickled)
    assert copy.fingerprint == source.fingerprint and copy.embed(["a"], prompt_of(copy)).shape == (1, 1536)


def test_check_closed_needs_no_network(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for variable in (*KEYS["openai"], *KEYS["cohere"], "OPENAI_BASE_URL", "CO_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    openai, cohere = ClosedName("openai", "text-embedding-3-small"), ClosedName("cohere", "embed-v4.0")
    official, own = ClosedOptions(), ClosedOptions(base_url="http://127.0.0.1:8080/v1")
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    for name, says in ((openai, "set OPENAI_API_KEY"), (cohere, "set COHERE_API_KEY or CO_API_KEY")):
        with pytest.raises(ModelError, match=says) as caught:
            check_closed(name, official)
        assert "\n" not in str(caught.value)
    check_closed(openai, own)
    # The provider itself, spelled out, wants a key too.
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        check_closed(openai, ClosedOptions(base_url="https://api.openai.com/v1/"))
    monkeypatch.setenv("CO_API_KEY", KEY)
    check_closed(cohere, official)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u200bSECRET")
    with pytest.raises(ModelError, match="holds characters that no key has") as caught:
        check_closed(openai, official)
    assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    with pytest.raises(ModelError, match="OPENAI_BASE_URL is set, but only a given base_url counts"):
        check_closed(openai, official)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1/")
    check_closed(openai, official)
    assert not caplog.records
    monkeypatch.setattr(clients, "_TOLD", set())
    for _ in range(2):
        check_closed(openai, own)
    [told] = caplog.messages
    assert told.endswith("the key in OPENAI_API_KEY goes to 127.0.0.1:8080/v1")
    check_closed(openai, ClosedOptions(base_url="http://models.example.com/v1"))
    assert (
        "the key in OPENAI_API_KEY goes to models.example.com/v1 unencrypted" in caplog.text
        and "SECRET" not in caplog.text
    )


@pytest.mark.parametrize("provider", ["openai", "cohere"])
def test_a_missing_sdk_is_one_line(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=re.escape(f"run pip install 'embedtune[{provider}]'")):
        check_closed(ClosedName(provider, "any"), ClosedOptions())


def test_reading_a_name_imports_no_sdk() -> None:
    code = (
        "import sys; from tune.embed.closed import parse_closed, ClosedSource; "
        "ClosedSource('openai:text-embedding-3-small'); from tune.embed.closed.prices import estimate; "
        "assert not {'openai', 'cohere', 'torch'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


# Snapshots of small batches


def test_small_shards_are_put_together(server: EmbedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune.embed.snapshot.TEXTS_PER_SHARD", 30)
    source = source_of(server, texts_per_request=4)
    snapshot = snapshot_of(source, tmp_path)
    for part in (TEXTS[:50], TEXTS):
        snapshot.embed(source, "", part)
        for one in (snapshot, snapshot_of(source, tmp_path)):
            keys = [text_key("", text) for text in part]
            assert len(one) == len(part) and np.allclose(one.vectors(keys), embed(part, 1536), atol=1e-6)
    assert len(list(snapshot.directory.glob("*.npy"))) < 3 + 8
    assert set(server.book.texts().values()) == {1}


def test_a_reader_misses_nothing_while_shards_are_put_together(
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
        there = list(written)
        reader = Snapshot(tmp_path, "of", None)
        if there:
            assert np.array_equal(reader.vectors(there)[:, 0], np.arange(len(there)))
        opened += 1
    writer.join()
    assert opened > 3 and not caplog.text
