"""What Anthropic and the servers that speak its protocol mean by their errors.

Decided by `error.details.error_code`, `error.type` and status. The last resort is a
short table of phrases for the failures that have no code of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

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
from model_manager.providers._failures import (
    Verdict,
    kind_of_status,
    safe_code,
    status_of_kind,
)

# By `error_code`. Source: the SDK's `types/shared/*_error_details.py`, 2.11. A ramp
# limit ends by itself after `retry-after`, so it is a rate limit. State: 2026-11.
_CODES: Final[Mapping[str, type[ProviderError]]] = MappingProxyType(
    {
        "enforced_spend_limit_reached": QuotaExhaustedError,
        "contract_spend_limit_reached": QuotaExhaustedError,
        "linked_organization_spend_limit_reached": QuotaExhaustedError,
        "linked_organization_billing_unavailable": QuotaExhaustedError,
        "user_profile_billing_not_authorized": QuotaExhaustedError,
        "user_profile_not_billable": QuotaExhaustedError,
        "ramp_limit_exceeded": RateLimitError,
        "organization_on_hold": AuthenticationError,
        "api_key_scope_missing": AuthenticationError,
        "request_body_too_large_after_decoding": ContextWindowError,
    }
)

# By `type`, before the status: a gateway may send another one. Source: the SDK's
# `ErrorType`, docs.claude.com/en/api/errors, and llama.cpp build 11669 for
# `exceed_context_size_error`, `not_supported_error`, `unavailable_error` and
# `server_error`. State: 2026-11.
_TYPES: Final[Mapping[str, type[ProviderError]]] = MappingProxyType(
    {
        "authentication_error": AuthenticationError,
        "billing_error": QuotaExhaustedError,
        "permission_error": AuthenticationError,
        "not_found_error": ModelNotFoundError,
        "request_too_large": ContextWindowError,
        "rate_limit_error": RateLimitError,
        "overloaded_error": OverloadedError,
        "exceed_context_size_error": ContextWindowError,
        "not_supported_error": UnsupportedFeatureError,
        "unavailable_error": OverloadedError,
    }
)

# Types that say too little when there is a status, and all there is inside a stream.
_STREAM_TYPES: Final[Mapping[str, type[ProviderError]]] = MappingProxyType(
    {
        "invalid_request_error": BadRequestError,
        "api_error": ServerError,
        "server_error": ServerError,
        "timeout_error": ServerError,
        "conflict_error": ServerError,
    }
)

# Plain `invalid_request_error`s with no code, so that only their words tell them from a
# malformed request: a prompt beyond Anthropic's window; a model that the router of
# llama.cpp (build 11669) does not have. State: 2026-11.
_PHRASES: Final[tuple[tuple[re.Pattern[str], type[ProviderError]], ...]] = (
    (re.compile(r"\Aprompt is too long\b"), ContextWindowError),
    (
        re.compile(r"\Ainput length and `max_tokens` exceed context limit\b"),
        ContextWindowError,
    ),
    (re.compile(r"\Amodel '[^']*' not found\Z"), ModelNotFoundError),
)
_BAD_REQUEST: Final = 400


def classify(status: int | None, body: object) -> Verdict:
    """Return what an error answer means.

    Args:
        status: The HTTP status, `None` for an error event inside a stream.
        body: The decoded JSON body or event; text or `None` where it is no JSON.
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        error = {}
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    number = error.get("code")
    if status is None and isinstance(number, int):
        status = number  # llama.cpp repeats the status in the body.
    name = safe_code(code) or safe_code(error.get("type"))
    kind = _look_up(_CODES, code) or _look_up(_TYPES, error.get("type"))
    if kind is None and status is None:
        kind = _look_up(_STREAM_TYPES, error.get("type")) or ServerError
    if status in {_BAD_REQUEST, None} and kind in {None, BadRequestError}:
        kind = _by_words(error) or kind
    if kind is None:
        kind = kind_of_status(status)
    return Verdict(kind=kind, status=status or status_of_kind(kind), code=name)


def _look_up(
    table: Mapping[str, type[ProviderError]], name: object
) -> type[ProviderError] | None:
    return table.get(name) if isinstance(name, str) else None


def _by_words(error: Mapping[str, object]) -> type[ProviderError] | None:
    message = error.get("message")
    if isinstance(message, str):
        for pattern, kind in _PHRASES:
            if pattern.search(message):
                return kind
    return None
