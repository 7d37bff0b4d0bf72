"""Servers that speak OpenAI's API in their own way: limits, formats, indices and answers, as found in the field."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embed.closed.shared import COHERE, OPENAI, TEXTS, prompt_of, snapshot_of, source_of, stored
from tests.helpers.embed_server import OWN_MODEL, EmbedServer, embed
from tune.config.closed import ClosedConfig
from tune.embed.closed import ClosedSource, clients
from tune.embed.closed.prices import Estimate
from tune.embed.closed.tokens import estimate_tokens
from tune.embed.fingerprint import fingerprint
from tune.embed.left_out import text_id, texts_without_vector
from tune.embed.purchase import texts_to_buy
from tune.embed.snapshot import Snapshot, text_key
from tune.errors import ModelError

OWN = f"openai:{OWN_MODEL}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny pauses between repeated requests; every warning is new."""
    monkeypatch.setattr(clients, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(clients, "_WARNED", set())


def own_source(server: EmbedServer, **options: Any) -> ClosedSource:
    """A model that no table knows, 256 dims, with the batches of a server other than OpenAI's."""
    return source_of(server, OWN, **{"texts_per_request": None, **options})


def sizes(server: EmbedServer, status: int) -> list[int]:
    """The number of texts of each request that was answered with this status."""
    return [texts for _, texts, answered in server.book.requests if answered == status]


def is_right(vectors: np.ndarray, texts: list[str] = TEXTS) -> bool:
    return np.allclose(vectors, embed(texts, 256), atol=1e-6)


def test_float64_in_base64_is_measured_with_one_text(server: EmbedServer, tmp_path: Path) -> None:
    server.base64_type = "<f8"
    source = own_source(server)
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", TEXTS) == 100 and snapshot.dims == 256
    assert is_right(snapshot.vectors([text_key("", text) for text in TEXTS]))
    assert sum(server.book.texts().values()) == 101, "one text is bought once more, as numbers"
    assert [body["encoding_format"] for body in server.book.bodies].count("float") == 1
    assert is_right(source.embed(TEXTS[:3]), TEXTS[:3]) and sum(server.book.texts().values()) == 104, "measured once"


def test_the_measured_text_is_in_the_estimate(server: EmbedServer, tmp_path: Path) -> None:
    long, config = "swift purse " * 10, ClosedConfig()

    def estimate(name: str, **options: Any) -> Estimate:
        source = source_of(server, name, **options)
        return texts_to_buy(source, {"": [*TEXTS, long]}, tmp_path, config)

    known, unknown, asked = estimate(OPENAI), estimate(OWN), estimate(f"{OWN}@256")
    assert (known.texts, unknown.texts, asked.texts) == (101, 102, 102)
    assert unknown.tokens - known.tokens == asked.tokens - known.tokens == estimate_tokens(long)
    assert estimate(OWN, base_url=None).texts == 101, "OpenAI's own vectors are not measured"
    source = own_source(server)
    snapshot_of(source, tmp_path / "snapshots").embed(source, "", [*TEXTS, long])
    assert estimate(OWN).texts == 0


def test_float32_of_unknown_dims_is_measured_too(server: EmbedServer) -> None:
    assert is_right(own_source(server, max_in_flight=3).embed(TEXTS))
    assert sum(server.book.texts().values()) == 101


@pytest.mark.parametrize("name", [OPENAI, f"{OWN}@128"])
@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_known_dims_are_measured_if_they_were_asked_for_or_the_size_is_another(
    server: EmbedServer, name: str, kind: str
) -> None:
    server.base64_type = kind
    dims = 128 if "@" in name else 1536
    source = source_of(server, name)
    vectors = source.embed(TEXTS)
    assert np.allclose(vectors, embed(TEXTS, 256 if "@" in name else 1536, dims), atol=1e-6)
    assert sum(server.book.texts().values()) == 100 + ("@" in name or kind == "<f8")
    assert source.embed(TEXTS[:3]).shape == (3, dims)
    assert sum(server.book.texts().values()) == 103 + ("@" in name or kind == "<f8"), "measured once"


@pytest.mark.parametrize(("asked", "kind"), [(128, "<f4"), (128, "<f8"), (512, "<f4"), (512, "<f8")])
def test_a_server_that_ignores_dimensions_is_not_believed(server: EmbedServer, asked: int, kind: str) -> None:
    def ignores_dimensions(body: dict[str, Any]) -> None:
        body.pop("dimensions", None)

    server.refuse, server.base64_type = ignores_dimensions, kind
    with pytest.raises(ModelError, match=f"got vectors of 256 dims instead of {asked}"):
        source_of(server, f"{OWN}@{asked}").embed(TEXTS[:20])


def test_base64_of_another_width_is_asked_for_as_numbers(server: EmbedServer, caplog: Any) -> None:
    server.base64_type = "<f2"
    assert is_right(own_source(server).embed(TEXTS))
    assert [line for line in caplog.messages if "neither float32 nor float64" in line] == [
        f"base model {OWN}: the server sends base64 that is neither float32 nor float64; asking for numbers instead"
    ]
    assert sum(server.book.texts().values()) <= 100 + 1 + 4 * 32


def test_vectors_stored_with_doubled_dims_are_not_mixed_with_right_ones(server: EmbedServer, tmp_path: Path) -> None:
    server.base64_type = "<f8"
    source = own_source(server)
    snapshot_of(source, tmp_path).add([text_key("", TEXTS[0])], np.ones((1, 512), np.float32))
    with pytest.raises(ModelError, match=r"now returns vectors of 256 dims, but those in .* have 512"):
        snapshot_of(source, tmp_path).embed(source, "", TEXTS)


def test_vectors_of_unknown_dims_that_an_earlier_version_stored_are_bought_again(
    server: EmbedServer, tmp_path: Path
) -> None:
    def earlier(source: ClosedSource) -> str:
        model, host = source.closed.model, source.options.server("openai")
        facts = ["openai", model, source.closed.asked_dims, host, None]
        return fingerprint(model.split("/")[-1], facts, ascii_only=True)

    source = own_source(server)
    old = Snapshot(tmp_path, earlier(source), 512)
    old.add([text_key("", text) for text in TEXTS], np.ones((100, 512), np.float32))
    server.base64_type = "<f8"
    assert snapshot_of(source, tmp_path).embed(source, "", TEXTS) == 100 and source.dims == 256
    kept = [
        source_of(server),
        source_of(server, f"{OWN}@256"),
        source_of(server, OWN, base_url=None),
        source_of(server, OPENAI, base_url=None),
    ]
    assert all(known.fingerprint == earlier(known) for known in kept), (
        "dims or numbers are known: nothing is bought again"
    )


def test_an_index_is_left_out_where_it_is_0(server: EmbedServer) -> None:
    server.fault_from("no_zero_index")
    assert np.allclose(source_of(server).embed(TEXTS), embed(TEXTS, 1536), atol=1e-6)
    assert source_of(server).embed(TEXTS[:1]).shape == (1, 1536)


@pytest.mark.parametrize("kind", ["same_index", "from_one", "no_two_indices"])
def test_an_order_that_the_indices_do_not_tell_is_refused(server: EmbedServer, kind: Any) -> None:
    server.fault_from(kind)
    with pytest.raises(ModelError, match="cannot be put in order: the indices are not 0, 1, 2"):
        source_of(server).embed(TEXTS)
    assert np.allclose(source_of(server, texts_per_request=1).embed(TEXTS[:3]), embed(TEXTS[:3], 1536), atol=1e-6)


DASHSCOPE = {
    "error": {
        "message": "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be "
        "larger than 10.: input.contents",
        "type": "InvalidParameter",
        "param": None,
        "code": "InvalidParameter",
    }
}
LIMITS: dict[str, tuple[int, Any, int, int]] = {
    # (status, JSON, most texts, most refusals of 4 requests at a time)
    "DashScope": (400, DASHSCOPE, 10, 4),
    "TEI": (422, {"message": "batch size 32 > maximum allowed batch size 8", "type": "Validation"}, 8, 4),
    "Azure": (400, {"error": {"message": "Too many inputs. The max number of inputs is 16.", "code": None}}, 16, 4),
    "LiteLLM": (400, {"error": {"message": "litellm: Too many inputs. The max number of inputs is 1."}}, 1, 4),
    "Mistral": (
        400,
        {"object": "error", "message": "Too many inputs in request, split into more batches.", "code": "3210"},
        5,
        4 * 3,
    ),
    "Gemini": (400, [{"error": {"code": 400, "message": "* requests: at most 7 requests can be in one batch"}}], 7, 4),
    "FastAPI": (
        422,
        {"detail": [{"loc": ["body", "input"], "msg": "List should have at most 9 items", "input": TEXTS}]},
        9,
        4,
    ),
    "a bare 413": (413, "<html>413 Request Entity Too Large</html>", 6, 4 * 3),
}


@pytest.mark.parametrize("server_kind", LIMITS)
def test_a_server_that_takes_fewer_texts_is_asked_for_fewer(
    server: EmbedServer, tmp_path: Path, server_kind: str
) -> None:
    status, reply, most, refusals = LIMITS[server_kind]
    server.refuse = lambda body: (status, reply) if len(body["input"]) > most else None
    source = source_of(server, texts_per_request=None)
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", TEXTS) == 100
    assert np.allclose(snapshot.vectors([text_key("", text) for text in TEXTS]), embed(TEXTS, 1536), atol=1e-6)
    assert set(server.book.texts().values()) == {1} and len(server.book.texts()) == 100
    assert max(sizes(server, 200)) <= most and len(sizes(server, status)) <= refusals
    # What was learned is kept for the texts of the other prompt.
    server.book.requests.clear()
    assert snapshot.embed(source, "q: ", TEXTS) == 100 and sizes(server, status) == []


def test_cohere_behind_a_gateway_is_asked_for_fewer_texts(server: EmbedServer) -> None:
    reply = {"message": "invalid request: total number of texts must be at most 20 - received 96"}
    server.refuse = lambda body: (400, reply) if len(body["texts"]) > 20 else None
    source = source_of(server, COHERE, texts_per_request=None)
    assert np.allclose(source.embed(TEXTS, prompt_of(source)), embed(TEXTS, 1536), atol=1e-6)
    assert set(server.book.texts().values()) == {1} and max(sizes(server, 200)) == 20 and len(sizes(server, 400)) <= 2


def test_texts_bought_before_a_failure_in_a_part_are_kept(server: EmbedServer, tmp_path: Path) -> None:
    server.refuse = lambda body: (400, DASHSCOPE) if len(body["input"]) > 10 else None
    server.fault_from("quota", 4)
    source = source_of(server, texts_per_request=None, max_in_flight=1)
    snapshot = snapshot_of(source, tmp_path)
    with pytest.raises(ModelError, match=r"quota or credit is used up .*20 of 100 texts are kept"):
        snapshot.embed(source, "", TEXTS)
    assert stored(snapshot_of(source, tmp_path), source) == set(TEXTS[:20])


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid model name passed in model=m. Call `/v1/models` to view available models for your key."),
        (400, "Incorrect API key provided: this key allows at most 10 inputs"),
        (400, "The model `batch-size-8` does not exist"),
        (422, [{"loc": ["body", "dimensions"], "msg": "Extra inputs are not permitted", "input": 256}]),
        (401, "batch size too large"),
        (404, "too many inputs"),
        (400, "the service has a problem"),
    ],
)
def test_other_refusals_are_asked_once(server: EmbedServer, status: int, message: Any) -> None:
    server.refuse = lambda body: (status, {"detail" if isinstance(message, list) else "message": message})
    with pytest.raises(ModelError) as caught:
        own_source(server, max_in_flight=1).embed(TEXTS)
    assert len(server.book.requests) == 1 and "\n" not in str(caught.value)


def test_a_refused_single_text_is_named_after_a_few_splits(server: EmbedServer) -> None:
    server.refuse = lambda body: (400, DASHSCOPE)
    with pytest.raises(ModelError, match=r"accepts fewer texts per request \(400\).*the text begins 'where is"):
        own_source(server, max_in_flight=1).embed(TEXTS)
    assert sizes(server, 400) == [32, 10, 5, 3, 2, 1]


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (400, {"error": {"message": "encoding_format base64 is not supported by this model"}}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "encoding_format"], "msg": "not permitted"}]}),
        (400, {"object": "error", "message": {"detail": [{"loc": ["body", "encoding_format"], "msg": "no"}]}}),
    ],
)
def test_a_refused_encoding_format_is_left_out(server: EmbedServer, caplog: Any, status: int, reply: Any) -> None:
    server.refuse = lambda body: (status, reply) if "encoding_format" in body else None
    source = own_source(server, max_in_flight=2)
    assert is_right(source.embed(TEXTS)) and is_right(source.embed(TEXTS))
    assert len(sizes(server, status)) <= 2 and set(server.book.texts().values()) == {2}
    assert (
        caplog.messages.count(f"base model {OWN}: the server refuses encoding_format; asking for numbers instead") == 1
    )


def test_a_server_that_ignores_encoding_format_needs_no_measuring(server: EmbedServer) -> None:
    server.refuse = lambda body: body.pop("encoding_format", None) and None
    assert is_right(own_source(server).embed(TEXTS)) and set(server.book.texts().values()) == {1}


@pytest.mark.parametrize("name", [OPENAI, COHERE])
@pytest.mark.parametrize("kind", ["error_body", "cut_json", "page", "empty"])
def test_a_200_without_vectors_is_asked_again(server: EmbedServer, name: str, kind: Any) -> None:
    # A page or nothing at first means a wrong address, but not from a server that has answered before.
    server.fault(kind, 2, 3, 5)
    source = source_of(server, name, max_retries=2, max_in_flight=1)
    assert np.allclose(source.embed(TEXTS, prompt_of(source)), embed(TEXTS, 1536), atol=1e-6)
    assert set(server.book.texts().values()) == {1}


@pytest.mark.parametrize("name", [OPENAI, COHERE])
@pytest.mark.parametrize(
    ("kind", "requests", "says"),
    [
        ("error_body", 3, "returned an error instead of vectors: provider returned an error"),
        ("cut_json", 3, "the answer from .* is truncated or not valid JSON; run again later"),
        ("page", 1, "check base_url"),
        ("empty", 1, "check base_url"),
        ("wrong_key_body", 1, r"the key in \w+_API_KEY was rejected \(401\)"),
    ],
)
def test_a_200_without_vectors_is_asked_again_a_few_times(
    server: EmbedServer, name: str, kind: Any, requests: int, says: str
) -> None:
    server.fault_from(kind)
    source = source_of(server, name, max_retries=2)
    with pytest.raises(ModelError, match=says) as caught:
        source.embed(TEXTS[:5], prompt_of(source))
    assert len(server.book.bodies) == requests and "\n" not in str(caught.value)


def test_no_vectors_beside_an_error_is_an_error(server: EmbedServer) -> None:
    answers = iter([{"data": [], "error": {"message": "overloaded", "code": 503}}, {"data": []}])
    server.refuse = lambda body: (200, next(answers))
    with pytest.raises(ModelError, match=r"failed \(503\), even after 0 retries"):
        source_of(server).embed(TEXTS[:2])
    with pytest.raises(ModelError, match="not a list of vectors; check base_url"):
        source_of(server).embed(TEXTS[:2])


def is_too_long(most: int, status: int, reply: Any) -> Any:
    """A server that refuses a request in which a text has more than `most` characters."""
    return lambda body: (status, reply) if max(map(len, body["input"])) > most else None


LONG = [text if at % 9 else f"{text} " * 40 for at, text in enumerate(TEXTS)]
TOO_LONG: dict[str, tuple[int, Any]] = {
    "TEI": (413, {"message": "`inputs` must have less than 120 tokens. Given: 400", "type": "Validation"}),
    "vLLM": (
        400,
        {"object": "error", "message": "This model's maximum context length is 120 tokens. However, you requested 400"},
    ),
    "Ollama": (400, {"error": {"message": "the input length exceeds the context length", "type": "api_error"}}),
    "llama.cpp": (
        500,
        {"error": {"code": 500, "message": "input (400 tokens) is too large to process. increase the "}},
    ),
    "a bare 413": (413, ""),
}


@pytest.mark.parametrize("server_kind", TOO_LONG)
def test_texts_above_an_unknown_limit_are_cut(
    server: EmbedServer, tmp_path: Path, caplog: Any, server_kind: str
) -> None:
    server.refuse = is_too_long(400, *TOO_LONG[server_kind])
    source = own_source(server, max_in_flight=2)
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", LONG) == 100 and len(source.cut_positions) == 12
    sold = server.book.texts()
    whole = [text for text in LONG if len(text) <= 400]
    cut = [text for text in sold if text not in set(whole)]
    assert all(sold[text] >= 1 for text in whole) and sum(sold.values()) == 101
    assert all(100 < len(text) <= 400 and any(long.startswith(text) for long in LONG) for text in cut)
    named = "tokens" in str(TOO_LONG[server_kind]) and server_kind != "llama.cpp"
    text = "refuses longer texts; they are cut to about" if named else "long texts without naming its limit; each is"
    [line] = [line for line in caplog.messages if text in line]
    assert line.startswith(f"base model {OWN}: ")
    server.book.requests.clear()
    source.embed(LONG)
    assert max(sizes(server, 200)) >= 28, "batches are as large as before, without the long texts"
    assert named == ({status for _, _, status in server.book.requests} == {200}), "a limit that was named is known now"


def test_a_listed_models_limit_is_not_lowered_by_one_odd_text(server: EmbedServer) -> None:
    odd = "x1" * 3000
    reply = {"error": {"message": "This model's maximum context length is 8192 tokens, however you requested 9000"}}
    server.refuse = lambda body: (
        (400, reply) if any(len(text) > 2000 and "x1" in text for text in body["input"]) else None
    )
    source = source_of(server)
    plain = "swift purse " * 500
    source.embed([*TEXTS[:9], odd, plain])
    assert plain in server.book.texts() and source.cut_positions == {9}


@pytest.mark.parametrize("server_kind", ["TEI", "a bare 413"])
def test_texts_above_an_unknown_limit_are_refused(server: EmbedServer, tmp_path: Path, server_kind: str) -> None:
    server.refuse = is_too_long(400, *TOO_LONG[server_kind])
    source = own_source(server, max_in_flight=1, too_long="refuse")
    snapshot = snapshot_of(source, tmp_path)
    texts = [*TEXTS[:40], LONG[45]]
    with pytest.raises(ModelError) as caught:
        snapshot.embed(source, "", texts)
    line = str(caught.value)
    assert "exceeds the model's limit (413)" in line and "\n" not in line
    assert (
        "begins 'where is the swift purse number 45 where" in line
        and "shorten it, set --max-length, or use --too-long truncate" in line
    )
    assert not any(len(text) > 400 for text in server.book.texts())
    asked = [(texts, status) for _, texts, status in server.book.requests]
    assert asked[:3] == [(32, 200), (1, 200), (9, 413)], "the second is to measure"
    if server_kind == "TEI":
        assert len(asked) == 3, "refused at the first such answer"
        assert "32 of 41 texts are kept" in line


def test_requests_with_too_many_tokens_are_halved(server: EmbedServer) -> None:
    reply = {"object": "error", "message": "Too many tokens in batch. Max is 800 got 9000", "code": "3051"}
    server.refuse = lambda body: (400, reply) if sum(map(len, body["input"])) > 1000 else None
    source = own_source(server)
    assert is_right(source.embed(TEXTS)) and not source.cut_positions
    assert sum(server.book.texts().values()) == 101 and len(sizes(server, 400)) <= 4


def test_not_a_number_keeps_the_rest_of_its_batch(server: EmbedServer, tmp_path: Path) -> None:
    server.fault("nan", 2)
    source = source_of(server, max_in_flight=1)
    snapshot = snapshot_of(source, tmp_path)
    with pytest.raises(ModelError, match=r"not finite, for the text 'where is the swift purse number 10'; .*19 of 100"):
        snapshot.embed(source, "", TEXTS)
    assert stored(snapshot_of(source, tmp_path), source) == set(TEXTS[:20]) - {TEXTS[10]}
    assert snapshot.embed(source, "", TEXTS) == 81 and server.book.texts()[TEXTS[10]] == 2


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_a_vector_of_zeros_is_kept_and_its_text_named(server: EmbedServer, tmp_path: Path, name: str) -> None:
    server.zero = {TEXTS[3]}
    source = source_of(server, name)
    snapshot, prompt = snapshot_of(source, tmp_path), prompt_of(source)
    assert snapshot.embed(source, prompt, TEXTS) == 100 and snapshot.embed(source, prompt, TEXTS) == 0
    assert texts_without_vector(snapshot, {prompt: TEXTS}) == [text_id(TEXTS[3])]
    with pytest.raises(
        ModelError, match=r"returned a zero vector for the text 'where .* number 3'; leave this text out"
    ):
        source.embed(TEXTS[:5], prompt)
    server.zero = set(TEXTS[:20])
    with pytest.raises(ModelError, match="got vectors of zeros for 10 of 10 texts; check the server"):
        source.embed(TEXTS, prompt)


def test_base64_where_numbers_are_asked_for(server: EmbedServer) -> None:
    server.refuse = lambda body: body.update(encoding_format="base64")
    with pytest.raises(ModelError, match="answers in base64 only, of unknown dims; add @DIMS to the name"):
        own_source(server).embed(TEXTS)
    server.base64_type = "<f8"
    assert np.allclose(source_of(server).embed(TEXTS), embed(TEXTS, 1536), atol=1e-6), "1536 dims are known"


def test_damaged_base64_is_refused(server: EmbedServer) -> None:
    half = base64.b64encode(b"\0" * 6).decode()
    server.refuse = lambda body: (200, {"data": [{"index": at, "embedding": half} for at in range(len(body["input"]))]})
    with pytest.raises(ModelError, match="are not numbers or differ in length"):
        source_of(server).embed(TEXTS)
