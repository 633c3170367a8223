import json
from pathlib import Path
from typing import Any

import pytest

from model_manager.errors import (
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextWindowError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitError,
    ServerError,
    UnsupportedFeatureError,
)

_RECORDED = Path(__file__).parent / "recorded"


def _error(code: object = None, kind: object = None, **fields: Any) -> object:
    return {
        "error": {"message": "the prompt was SECRET", "type": kind, "code": code}
        | fields
    }


_ROWS: list[tuple[int, object, type[ProviderError]]] = [
    (400, _error(), BadRequestError),
    (400, _error("context_length_exceeded"), ContextWindowError),
    (400, _error("model_not_found"), ModelNotFoundError),
    (400, _error("content_policy_violation"), ContentFilterError),
    (400, _error("content_filter"), ContentFilterError),
    (400, _error("invalid_prompt"), ContentFilterError),
    (400, _error("unsupported_parameter"), UnsupportedFeatureError),
    (400, _error("unsupported_value"), UnsupportedFeatureError),
    (400, _error(400, "BadRequestError", param="input_tokens"), ContextWindowError),
    (
        400,
        _error(400, message="This model's maximum context length is 16 tokens."),
        ContextWindowError,
    ),
    (401, _error("invalid_api_key"), AuthenticationError),
    (402, _error(), QuotaExhaustedError),
    (403, _error(), AuthenticationError),
    (403, _error("model_not_found"), ModelNotFoundError),
    (404, _error(), ModelNotFoundError),
    (404, {"detail": "Not Found"}, ModelNotFoundError),
    (408, _error(), ServerError),
    (409, _error(), ServerError),
    (413, b"<html>too large</html>", ContextWindowError),
    (418, b"", BadRequestError),
    (422, _error(), BadRequestError),
    (429, _error("rate_limit_exceeded", "tokens"), RateLimitError),
    (429, _error("insufficient_quota", "insufficient_quota"), QuotaExhaustedError),
    (429, _error(None, "insufficient_quota"), QuotaExhaustedError),
    (429, _error("billing_hard_limit_reached"), QuotaExhaustedError),
    (429, b"", RateLimitError),
    (500, _error(None, "server_error"), ServerError),
    (500, b"<html>oops</html>", ServerError),
    (500, {"error": "oops"}, ServerError),
    (501, b"", UnsupportedFeatureError),
    (502, b"<html>Bad gateway</html>", ServerError),
    (503, b"", OverloadedError),
    (504, b"", ServerError),
    (520, b"", ServerError),
    (529, b"", OverloadedError),
    (302, b"", ModelNotFoundError),
    (304, b"", ModelNotFoundError),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("status", "body", "kind"), _ROWS)
async def test_status_and_code_decide_the_class(
    *,
    wire: Any,
    status: int,
    body: object,
    kind: type[ProviderError],
    streaming: bool,
) -> None:
    headers = {"x-request-id": "req_1", "retry-after": "7"}
    if status == 302:
        headers["location"] = "https://elsewhere.example.org/"
    wire.says(body, status=status, headers=headers)
    attempt = wire.attempt("openai", streaming=streaming)
    error, chunks = await wire.error(wire.provider("openai"), attempt)
    assert type(error) is kind
    assert error.status == status
    assert (error.provider, error.model) == ("my-openai", "gpt-6-luna")
    assert (error.request_id, error.retry_after) == ("req_1", 7.0)
    assert str(error).startswith("my-openai/gpt-6-luna ")
    assert str(error).endswith(".")
    assert error.remedy
    assert "SECRET" not in str(error)
    assert chunks == []
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("name", "status", "kind", "code"),
    [
        ("err_401_chat.json", 401, AuthenticationError, "authentication_error"),
        (
            "err_context_overflow.json",
            400,
            ContextWindowError,
            "exceed_context_size_error",
        ),
        (
            "err_embeddings_on_chat_server.json",
            501,
            UnsupportedFeatureError,
            "not_supported_error",
        ),
        ("err_bad_json.json", 400, BadRequestError, "invalid_request_error"),
        (
            "router_err_unknown_model.json",
            400,
            ModelNotFoundError,
            "invalid_request_error",
        ),
    ],
)
async def test_recorded_errors_of_a_compatible_server_are_understood(
    *, wire: Any, name: str, status: int, kind: type[ProviderError], code: str
) -> None:
    wire.says((_RECORDED / name).read_bytes(), status=status)
    error, _ = await wire.error(wire.provider("openai"), wire.attempt("openai"))
    assert (type(error), error.status, error.code) == (kind, status, code)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (_error("rate_limit_exceeded"), RateLimitError, 429),
        (_error("insufficient_quota"), QuotaExhaustedError, 402),
        (_error("server_error", "server_error"), ServerError, 500),
        (_error(None, "overloaded_error"), OverloadedError, 529),
        (_error(None, "invalid_request_error"), BadRequestError, 400),
        (_error(503), OverloadedError, 503),
        (_error("404"), ModelNotFoundError, 404),
        (_error("context_length_exceeded"), ContextWindowError, 400),
        ({"error": "something"}, ServerError, 500),
        ({"error": {"message": "something"}}, ServerError, 500),
    ],
)
async def test_an_error_event_raises_what_the_http_error_would(
    wire: Any, body: object, kind: type[ProviderError], status: int
) -> None:
    wire.streams(
        f"data: {json.dumps(body)}\n\n".encode(), headers={"x-request-id": "r"}
    )
    attempt = wire.attempt("openai", streaming=True)
    error, _ = await wire.error(wire.provider("openai"), attempt)
    assert (type(error), error.status, error.request_id) == (kind, status, "r")
    assert "SECRET" not in str(error)


async def test_a_code_that_is_prose_is_not_repeated(wire: Any) -> None:
    wire.says(_error("your prompt SECRET was bad", "so SECRET"), status=400)
    error, _ = await wire.error(wire.provider("openai"), wire.attempt("openai"))
    assert error.code is None
    assert "SECRET" not in str(error)
