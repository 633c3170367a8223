"""How a failed attempt is worded: safe facts in, an error of our tree out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from model_manager.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContentFilterError,
    ContextWindowError,
    EgressRefusedError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    UnsupportedFeatureError,
)
from model_manager.providers._wire import NEVER_CONNECTED, WireError, WireFault

# A provider's code is an identifier; anything else might be prose with a prompt in it.
_CODE = re.compile(r"[A-Za-z0-9_.:\-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a failure came from; nothing in it leads to a request or a key."""

    endpoint: str
    model: str = ""
    request_id: str | None = None
    retry_after: float | None = None

    @property
    def label(self) -> str:
        """`endpoint/model`, or the endpoint alone."""
        return f"{self.endpoint}/{self.model}" if self.model else self.endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer means: the class of the error, its status and code."""

    kind: type[ProviderError]
    status: int | None = None
    code: str | None = None


_WORDS: Mapping[type[ProviderError], tuple[str, str]] = MappingProxyType(
    {
        ConnectionFailedError: (
            "could not be reached",
            "Check that the server runs and that its base_url is right.",
        ),
        ProviderTimeoutError: (
            "did not answer in time",
            "Try again, or raise 'timeouts' in the configuration.",
        ),
        ServerError: (
            "failed on its side",
            "Try again; if it lasts, look at its status page or the server's log.",
        ),
        OverloadedError: (
            "is too busy",
            "Try again in a moment, or give the agent a fallback model.",
        ),
        RateLimitError: (
            "limits the rate of requests",
            "Wait, send less at once, or ask the provider for a higher limit.",
        ),
        QuotaExhaustedError: (
            "has no credit or quota left for this key",
            "Top up the account or raise its spending limit; waiting does not help.",
        ),
        AuthenticationError: (
            "refused the key",
            "Check the endpoint's key and what it may do.",
        ),
        ModelNotFoundError: (
            "was not found",
            "Check the model's name and the endpoint's base_url.",
        ),
        ContextWindowError: (
            "was sent more than its context window holds",
            "Shorten the prompt, or use a model with a larger context window.",
        ),
        ContentFilterError: (
            "refused the content",
            "Change the prompt; another model is not asked by default.",
        ),
        UnsupportedFeatureError: (
            "cannot do what was asked",
            "Leave out the option it does not support, or choose another model.",
        ),
        BadRequestError: (
            "says that the request is malformed",
            "Check the call's messages, tools, schema and the model's options.",
        ),
        EgressRefusedError: (
            "would have taken local work off this machine",
            "Correct its base_url, or list your network under privacy.local_networks.",
        ),
        MalformedResponseError: (
            "gave an answer that is empty or cannot be read",
            "Try again; if it lasts, check that the endpoint speaks this protocol.",
        ),
        StreamInterruptedError: (
            "broke off its answer",
            "Try again; if it lasts, look at the server's log.",
        ),
    }
)

_STATUSES: Mapping[int, type[ProviderError]] = MappingProxyType(
    {
        401: AuthenticationError,
        402: QuotaExhaustedError,
        403: AuthenticationError,
        404: ModelNotFoundError,
        408: ServerError,
        409: ServerError,
        413: ContextWindowError,
        429: RateLimitError,
        501: UnsupportedFeatureError,
        503: OverloadedError,
        529: OverloadedError,
    }
)

_FIRST_ERROR_STATUS = 400
_FIRST_SERVER_STATUS = 500
_REDIRECT = (
    "answered with a redirect, which is never followed",
    "Write the address that it leads to as the endpoint's base_url.",
)


def kind_of_status(status: int | None) -> type[ProviderError]:
    """Return the class of error that a status alone stands for."""
    if status is None or status >= _FIRST_SERVER_STATUS:
        return _STATUSES.get(status or 0, ServerError)
    if status < _FIRST_ERROR_STATUS:
        # A redirect: the model is not at this address, and will not be on a second try.
        return ModelNotFoundError
    return _STATUSES.get(status, BadRequestError)


def status_of_kind(kind: type[ProviderError]) -> int | None:
    """Return the usual status of a class, for errors inside a stream."""
    return _USUAL_STATUS.get(kind)


_USUAL_STATUS: Mapping[type[ProviderError], int] = MappingProxyType(
    {
        AuthenticationError: 401,
        BadRequestError: 400,
        ContentFilterError: 400,
        ContextWindowError: 400,
        ModelNotFoundError: 404,
        OverloadedError: 529,
        QuotaExhaustedError: 402,
        RateLimitError: 429,
        ServerError: 500,
        UnsupportedFeatureError: 400,
    }
)


def safe_code(value: object) -> str | None:
    """Return a provider's code if it is an identifier, else `None`."""
    if isinstance(value, str) and _CODE.fullmatch(value):
        return value
    return None


def failure(
    source: Source,
    verdict: Verdict | type[ProviderError],
    *,
    what: str | None = None,
    remedy: str | None = None,
) -> ProviderError:
    """Build the error: `<endpoint>/<model> <what> (<status>, <code>). <remedy>`.

    `what` and `remedy` replace the usual words of the class.
    """
    if not isinstance(verdict, Verdict):
        verdict = Verdict(kind=verdict)
    usual = _WORDS[verdict.kind]
    if verdict.status is not None and verdict.status < _FIRST_ERROR_STATUS:
        usual = _REDIRECT
    facts = [str(verdict.status)] if verdict.status is not None else []
    facts += [verdict.code] if verdict.code else []
    detail = f" ({', '.join(facts)})" if facts else ""
    return verdict.kind(
        f"{source.label} {what or usual[0]}{detail}.",
        provider=source.endpoint,
        model=source.model,
        status=verdict.status,
        code=verdict.code,
        request_id=source.request_id,
        retry_after=source.retry_after,
        remedy=remedy or usual[1],
    )


def wire_failure(source: Source, error: WireError) -> ProviderError:
    """Build the error for an exchange that failed on the wire."""
    kind = _ON_THE_WIRE[error.fault]
    if kind is not EgressRefusedError:
        failed = failure(source, kind)
        failed.may_be_billed = error.fault not in NEVER_CONNECTED
        return failed
    return refusal(failure(source, kind, what=refusal_words(error)), error)


def refusal_words(error: WireError) -> str:
    """Return what is said of an address that local work may not reach."""
    return (
        f"leads to {error.address}, which is neither this machine nor a listed network"
    )


def refusal(failed: ProviderError, error: WireError) -> ProviderError:
    """Return the error with the address that was refused."""
    if isinstance(failed, EgressRefusedError):
        failed.address = error.address
    return failed


_ON_THE_WIRE: Mapping[WireFault, type[ProviderError]] = MappingProxyType(
    {
        "unreachable": ConnectionFailedError,
        "connect_timeout": ConnectionFailedError,
        "lost": ConnectionFailedError,
        "cut": StreamInterruptedError,
        "unreadable": MalformedResponseError,
        "refused": EgressRefusedError,
    }
)
