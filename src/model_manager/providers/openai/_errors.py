"""What OpenAI and its compatible servers mean by their errors.

Decided by code, type and status. The last resort is a short table of phrases for
servers that give neither code nor type for two failures that another model may survive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

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
from model_manager.providers._failures import (
    Verdict,
    kind_of_status,
    safe_code,
    status_of_kind,
)

# Looked up by the error's `code`, then by its `type`. Sources: the SDK's literals and
# platform.openai.com/docs/guides/error-codes; llama.cpp's server (`*_error`), read from
# recorded answers of build 11669. State: 2026-11.
_CODES: Final[Mapping[str, type[ProviderError]]] = MappingProxyType(
    {
        "insufficient_quota": QuotaExhaustedError,
        "billing_hard_limit_reached": QuotaExhaustedError,
        "billing_not_active": QuotaExhaustedError,
        "billing_error": QuotaExhaustedError,
        "account_deactivated": AuthenticationError,
        "rate_limit_exceeded": RateLimitError,
        "rate_limit_error": RateLimitError,
        "invalid_api_key": AuthenticationError,
        "authentication_error": AuthenticationError,
        "permission_error": AuthenticationError,
        "model_not_found": ModelNotFoundError,
        "context_length_exceeded": ContextWindowError,
        "exceed_context_size_error": ContextWindowError,
        "content_policy_violation": ContentFilterError,
        "content_filter": ContentFilterError,
        "invalid_prompt": ContentFilterError,
        "moderation_blocked": ContentFilterError,
        "bio_policy": ContentFilterError,
        "misalignment_policy_violation": ContentFilterError,
        "unsupported_parameter": UnsupportedFeatureError,
        "unsupported_value": UnsupportedFeatureError,
        "not_supported_error": UnsupportedFeatureError,
        "overloaded_error": OverloadedError,
        "server_overloaded": OverloadedError,
        "unavailable_error": OverloadedError,
    }
)

# Types that say too little when there is a status, and all there is inside a stream.
_STREAM_TYPES: Final[Mapping[str, type[ProviderError]]] = MappingProxyType(
    {
        "invalid_request_error": BadRequestError,
        "not_found_error": ModelNotFoundError,
        "server_error": ServerError,
    }
)

# Servers whose 400 carries no code of its own: vLLM until 0.15 ("maximum context
# length"), LM Studio and SGLang share its words; llama.cpp's router ("model '...' not
# found", build 11669). vLLM from 0.16 on names the parameter instead. State: 2026-11.
_PHRASES: Final[tuple[tuple[re.Pattern[str], type[ProviderError]], ...]] = (
    (re.compile(r"\bmaximum context length\b"), ContextWindowError),
    (re.compile(r"\Amodel '[^']*' not found\Z"), ModelNotFoundError),
)
_CONTEXT_PARAMS: Final = frozenset({"input_tokens"})
_BAD_REQUEST: Final = frozenset({400, 422})


def classify(status: int | None, body: object) -> Verdict:
    """Return what an error answer means.

    Args:
        status: The HTTP status, `None` for an error event inside a stream.
        body: The decoded JSON body or event; text or `None` where it is no JSON.
    """
    error = _error_of(body)
    code, number = _code_of(error)
    status = status or number
    name = safe_code(code) or safe_code(error.get("type"))
    kind = _named(code) or _named(error.get("type"))
    if kind is None and status is None:
        kind = _STREAM_TYPES.get(str(error.get("type")), ServerError)
    if kind is None and status in _BAD_REQUEST:
        kind = _without_code(error)
    if kind is None:
        kind = kind_of_status(status)
    return Verdict(kind=kind, status=status or status_of_kind(kind), code=name)


def _error_of(body: object) -> Mapping[str, object]:
    if not isinstance(body, Mapping):
        return {}
    error = body.get("error", body)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, Mapping) else {}


def _code_of(error: Mapping[str, object]) -> tuple[object, int | None]:
    """Tell a code from an HTTP status, which some servers put in its place."""
    code = error.get("code")
    if isinstance(code, str) and code.isdecimal():
        code = int(code)
    if isinstance(code, int):
        return None, code
    return code, None


def _named(name: object) -> type[ProviderError] | None:
    return _CODES.get(name) if isinstance(name, str) else None


def _without_code(error: Mapping[str, object]) -> type[ProviderError] | None:
    if error.get("param") in _CONTEXT_PARAMS:
        return ContextWindowError
    message = error.get("message")
    if isinstance(message, str):
        for pattern, kind in _PHRASES:
            if pattern.search(message):
                return kind
    return None
