"""What refusals are about, in the words of servers found in the field: too many texts, too long ones, no base64."""

from typing import Any

import pytest

from tune.embed.closed._refusals import Kind, codes_of, kind_of, named_texts, named_tokens, words_of

CASES: list[tuple[int, Kind | None, int | None, int, str]] = [
    # (status, kind, number that it names, texts or tokens asked, reply)
    (
        400,
        "texts",
        10,
        32,
        "<400> InternalError.Algo.InvalidParameter: batch size is invalid, it should not be larger than 10.",
    ),
    (
        400,
        "texts",
        2048,
        2049,
        "Invalid 'input': array too long. Expected an array with maximum length 2048.",
    ),
    (
        400,
        "texts",
        16,
        32,
        "Too many inputs. The max number of inputs is 16. We hope to increase it, see https://x.y/?linkid=2213926",
    ),
    (
        400,
        "texts",
        16,
        32,
        "litellm.BadRequestError: AzureException - Too many inputs. The max number of inputs is 16. Model Group=g",
    ),
    (422, "texts", 32, 64, "batch size 64 > maximum allowed batch size 32"),
    (400, "texts", 96, 97, "invalid request: total number of texts must be at most 96 - received 97"),
    (400, "texts", 100, 128, "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"),
    (400, "texts", None, 32, "Too many inputs in request, split into more batches."),
    (400, "texts", 1000, 1001, "The batch size limit is 1000. Your batch size is 1001."),
    (422, "texts", 512, 513, "body.input: List should have at most 512 items after validation, not 513"),
    (400, "texts", 250, 251, "250 instance(s) is allowed per prediction. Actual: 251."),
    (
        400,
        "texts",
        96,
        97,
        "Malformed input request: expected maxItems: 96, actual: 97, please reformat your input and try again.",
    ),
    (400, "texts", 64, 65, "input数组最大不得超过64条"),
    (400, "texts", 64, 65, "Please provide at most 64 sentences"),
    (400, "request", None, 0, "Too many tokens in batch. Max is 16384 got 20000"),
    (400, "request", None, 0, "Requested 312345 tokens, max 300000 tokens per request"),
    (
        400,
        "request",
        None,
        0,
        "The max allowed tokens per submitted batch is 120000. Your batch has 121000.",
    ),
    (413, "request", None, 0, "<html> <head><title>413 Request Entity Too Large</title></head> nginx </html>"),
    (413, "request", None, 0, ""),
    (400, "request", None, 0, "Input embeddings size is too large, exceeding 150 limit for databricks-bge-large-en."),
    (413, "long", 512, 1024, "`inputs` must have less than 512 tokens. Given: 1024"),
    (413, "long", 512, 700, "input must have less than 512 tokens"),
    (
        400,
        "long",
        512,
        600,
        "This model's maximum context length is 512 tokens. However, you requested 600 tokens in the input.",
    ),
    (
        400,
        "long",
        8192,
        12000,
        "This model's maximum context length is 8192 tokens, however you requested 9000 tokens.",
    ),
    (400, "long", 8192, 9500, "Input id 0 has 9000 tokens, exceeding max 8192 tokens."),
    (400, "long", None, 9500, "the input length exceeds the context length"),
    (
        500,
        "long",
        512,
        900,
        "input (600 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
    ),
    (
        400,
        "long",
        None,
        900,
        "the request exceeds the available context size. try increasing the context size or enable context shift",
    ),
    (400, "long", 512, 1100, "Input length 1100 exceeds maximum allowed token size 512"),
    (400, "long", 8192, 9500, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 8192]"),
    (400, "long", 20000, 25000, "The input token count is 25000 but the model supports up to 20000."),
    (422, "long", None, 9000, "body.input.0: String should have at most 122880 characters"),
    (
        400,
        "long",
        50000,
        60000,
        "Malformed input request: expected maxLength: 50000, actual: 60000, please reformat your input and try again.",
    ),
    (422, "format", None, 0, "body.encoding_format: Extra inputs are not permitted"),
    (400, "format", None, 0, "Argument 'encoding_format' must be null or 'base64'"),
    (400, "format", None, 0, "base64 is not supported by this backend"),
    (422, None, None, 0, "body.dimensions: Extra inputs are not permitted"),
    (
        400,
        None,
        None,
        0,
        "Model does not support matryoshka representation, changing output dimensions will lead to poor results.",
    ),
    (
        400,
        None,
        None,
        0,
        "litellm: Invalid model name passed in model=foo. Call `/v1/models` to view those for your key.",
    ),
    (400, None, None, 0, "Invalid model: too-many-inputs-max-9. Please select a valid model"),
    (400, None, None, 0, "Incorrect API key provided: you can have at most 10 inputs"),
    (400, None, None, 0, "API key not valid. Please pass a valid API key."),
    (400, None, None, 0, "The model `batch-size-100` does not exist"),
    (401, None, None, 0, "batch size too large"),
    (429, None, None, 0, "You have too many inputs in flight; at most 10 texts per minute"),
    (400, None, None, 0, "input is required"),
    (400, None, None, 0, "Invalid token"),
    (400, None, None, 0, "The access token is missing"),
    (400, None, None, 0, "Token expired"),
    (400, None, None, 0, "The security token included in the request is invalid invalid_request_error"),
    (400, None, None, 0, "Value of dimensions exceeds maximum 1024"),
    (400, None, None, 0, "This model only supports text inputs"),
    (400, None, None, 0, "Model name contains invalid characters"),
    (400, "texts", 8, 9, "This model supports only 8 text inputs"),
    (400, "long", 512, 900, "Invalid input: the token count of 900 exceeds 512"),
    (400, "long", 512, 900, "Invalid input token count, max 512 invalid_request_error"),
    (400, "long", 512, 900, "max 512 tokens, model name=m"),
    (400, None, None, 0, "Invalid value for 'input'"),
    (503, None, None, 0, "overloaded"),
]


@pytest.mark.parametrize(("status", "kind", "named", "asked", "reply"), CASES)
def test_a_refusal_says_what_it_is_about(
    status: int, kind: Kind | None, named: int | None, asked: int, reply: str
) -> None:
    assert kind_of(status, reply) == kind
    if kind in ("texts", "long"):
        assert (named_texts if kind == "texts" else named_tokens)(reply, asked) == named


@pytest.mark.parametrize(
    ("body", "words", "codes"),
    [
        ({"message": "too many", "type": "Validation"}, "too many", {"Validation"}),
        ({"error": {"message": "too many", "code": None, "type": "x"}}, "too many", {"x"}),
        ({"error": "too many", "error_type": "Validation"}, "too many", {"Validation"}),
        (
            [{"error": {"code": 400, "message": "too\n many", "status": "INVALID_ARGUMENT"}}],
            "too many",
            {"400", "INVALID_ARGUMENT"},
        ),
        ({"detail": "too many"}, "too many", set()),
        (
            {"detail": [{"loc": ["body", "input", 0], "msg": "too many", "input": "token"}]},
            "body.input.0: too many",
            set(),
        ),
        ({"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "too many"}]}}, "body: too many", set()),
        ({"errors": [{"message": "too many"}]}, "too many", set()),
        ("<html> too\nmany</html>", "<html> too many</html>", set()),
        ({}, "", set()),
        (None, "", set()),
        ({"data": []}, "", set()),
    ],
)
def test_the_words_of_an_error_body(body: Any, words: str, codes: set[str]) -> None:
    assert (words_of(body), codes_of(body)) == (words, codes)
