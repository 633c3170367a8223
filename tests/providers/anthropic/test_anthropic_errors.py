import json
from pathlib import Path
from typing import Any

import pytest

from model_manager.errors import (
    AuthenticationError,
    BadRequestError,
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


def _error(
    kind: str, code: str | None = None, message: str = "the prompt was SECRET"
) -> dict[str, Any]:
    error: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error}


_TOO_LONG = "prompt is too long: 207791 tokens > 200000 maximum"
_TOO_LONG_TOGETHER = (
    "input length and `max_tokens` exceed context limit: 182831 + 64000 > 200000"
)
_ROWS: list[tuple[int, object, type[ProviderError]]] = [
    (400, _error("invalid_request_error"), BadRequestError),
    (400, _error("invalid_request_error", message=_TOO_LONG), ContextWindowError),
    (
        400,
        _error("invalid_request_error", message=_TOO_LONG_TOGETHER),
        ContextWindowError,
    ),
    (
        400,
        _error("invalid_request_error", message="a tool says prompt is too long"),
        BadRequestError,
    ),
    (
        400,
        _error("invalid_request_error", message="model 'tiny' not found"),
        ModelNotFoundError,
    ),
    (
        400,
        _error("invalid_request_error", "enforced_spend_limit_reached"),
        QuotaExhaustedError,
    ),
    (401, _error("authentication_error"), AuthenticationError),
    (402, _error("billing_error"), QuotaExhaustedError),
    (403, _error("permission_error"), AuthenticationError),
    (403, _error("billing_error", "contract_spend_limit_reached"), QuotaExhaustedError),
    (404, _error("not_found_error"), ModelNotFoundError),
    (404, b"<html>Not Found</html>", ModelNotFoundError),
    (408, b"", ServerError),
    (409, _error("conflict_error"), ServerError),
    (413, _error("request_too_large"), ContextWindowError),
    (422, b"", BadRequestError),
    (429, _error("rate_limit_error"), RateLimitError),
    (429, _error("rate_limit_error", "ramp_limit_exceeded"), RateLimitError),
    (
        429,
        _error("rate_limit_error", "enforced_spend_limit_reached"),
        QuotaExhaustedError,
    ),
    (429, b"", RateLimitError),
    (500, _error("api_error"), ServerError),
    (500, b"<html>oops</html>", ServerError),
    (500, _error("overloaded_error"), OverloadedError),
    (501, b"", UnsupportedFeatureError),
    (502, b"", ServerError),
    (503, b"", OverloadedError),
    (504, _error("timeout_error"), ServerError),
    (529, _error("overloaded_error"), OverloadedError),
    (307, b"", ModelNotFoundError),
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
    headers = {"request-id": "req_1", "retry-after": "7"}
    if status == 307:
        headers["location"] = "https://elsewhere.example.org/"
    wire.says(body, status=status, headers=headers)
    attempt = wire.attempt("anthropic", streaming=streaming)
    error, chunks = await wire.error(wire.provider("anthropic"), attempt)
    assert type(error) is kind
    assert error.status == status
    assert (error.provider, error.model) == ("my-anthropic", "claude-sonnet-5-5")
    assert (error.request_id, error.retry_after) == ("req_1", 7.0)
    assert "SECRET" not in str(error)
    assert error.remedy
    assert chunks == []
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("err_401_messages.json", 401, AuthenticationError),
        ("err_messages_context_overflow.json", 400, ContextWindowError),
        ("err_messages_no_messages.json", 500, ServerError),
    ],
)
async def test_recorded_errors_of_a_compatible_server_are_understood(
    wire: Any, name: str, status: int, kind: type[ProviderError]
) -> None:
    wire.says((_RECORDED / name).read_bytes(), status=status)
    attempt = wire.attempt("anthropic")
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert (type(error), error.status) == (kind, status)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (_error("overloaded_error"), OverloadedError, 529),
        (_error("rate_limit_error"), RateLimitError, 429),
        (_error("api_error"), ServerError, 500),
        (_error("invalid_request_error"), BadRequestError, 400),
        (_error("invalid_request_error", message=_TOO_LONG), ContextWindowError, 400),
        (_error("billing_error"), QuotaExhaustedError, 402),
        (_error("something_new"), ServerError, 500),
        ({"type": "error"}, ServerError, 500),
        ({"error": {"code": 503, "type": "x"}}, OverloadedError, 503),
    ],
)
async def test_an_error_event_raises_what_the_http_error_would(
    wire: Any, body: object, kind: type[ProviderError], status: int
) -> None:
    event = f"event: error\ndata: {json.dumps(body)}\n\n".encode()
    wire.streams(event, headers={"request-id": "r"})
    attempt = wire.attempt("anthropic", streaming=True)
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert (type(error), error.status, error.request_id) == (kind, status, "r")
    assert "SECRET" not in str(error)


async def test_the_code_is_the_most_exact_name(wire: Any) -> None:
    wire.says(_error("rate_limit_error", "ramp_limit_exceeded"), status=429)
    attempt = wire.attempt("anthropic")
    error, _ = await wire.error(wire.provider("anthropic"), attempt)
    assert error.code == "ramp_limit_exceeded"
