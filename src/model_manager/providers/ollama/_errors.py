"""What Ollama's failures mean; it has statuses and prose, but no error codes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from model_manager.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContextWindowError,
    EgressRefusedError,
    LocalResourceError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    RemoteModelError,
    ServerError,
    StreamInterruptedError,
    UnsupportedFeatureError,
)
from model_manager.providers._failures import refusal, refusal_words
from model_manager.providers._wire import WireError

_Kind = type[ProviderError]

# Pieces of the server's error texts, in lower case, the first that is found wins. Read
# from Ollama 0.32.15's answers and 0.33.0-rc2's source, November 2026. The texts
# themselves are never shown: some repeat parts of the request.
_MARKERS: Final[tuple[tuple[str, _Kind], ...]] = (
    ("exceed_context_size", ContextWindowError),
    ("exceeds the available context size", ContextWindowError),
    ("exceeds the context length", ContextWindowError),
    ("longer than the context length", ContextWindowError),
    ("exceeds maximum context length", ContextWindowError),
    ("server busy", OverloadedError),
    ("maximum pending requests", OverloadedError),
    ("must be of type", BadRequestError),
    ("invalid format", BadRequestError),
    ("does not support", UnsupportedFeatureError),
    ("out of memory", LocalResourceError),
    ("cudamalloc failed", LocalResourceError),
    ("failed to allocate", LocalResourceError),
    ("unable to allocate", LocalResourceError),
    ("not enough memory", LocalResourceError),
    ("more system memory", LocalResourceError),
    ("insufficient memory", LocalResourceError),
    ("failed to load", LocalResourceError),
    ("unable to load", LocalResourceError),
    ("error loading model", LocalResourceError),
    ("failed to start", LocalResourceError),
    ("timed out waiting for llama", LocalResourceError),
    ("has terminated", LocalResourceError),
    ("unexpectedly stopped", LocalResourceError),
    ("error was encountered while running the model", LocalResourceError),
)

_STATUSES: Final[Mapping[int, _Kind]] = MappingProxyType(
    {
        401: AuthenticationError,
        402: QuotaExhaustedError,
        403: AuthenticationError,
        404: ModelNotFoundError,
        408: ServerError,
        409: ServerError,
        429: RateLimitError,
        499: ServerError,
        501: UnsupportedFeatureError,
        503: OverloadedError,
        529: OverloadedError,
    }
)

# What these statuses say holds, whatever the text beside them.
_FOR_CERTAIN: Final = frozenset(
    {AuthenticationError, ModelNotFoundError, QuotaExhaustedError, RateLimitError}
)

_IN_STREAM: Final[Mapping[_Kind, int]] = MappingProxyType(
    {
        BadRequestError: 400,
        ContextWindowError: 400,
        UnsupportedFeatureError: 400,
        OverloadedError: 503,
    }
)

_WORDS: Final[Mapping[_Kind, tuple[str, str]]] = MappingProxyType(
    {
        AuthenticationError: (
            "refuses access",
            "Check the endpoint's base_url and, where it wants one, its key.",
        ),
        BadRequestError: (
            "says that the request is malformed",
            "Check the call's tools, its schema and the model's options.",
        ),
        ConnectionFailedError: (
            "could not be reached",
            "Start the server with `ollama serve`, or correct its base_url.",
        ),
        ContextWindowError: (
            "was sent more than fits its context",
            "Shorten the prompt, or raise the model's num_ctx option.",
        ),
        EgressRefusedError: (
            "would have taken local work off this machine",
            "Correct its base_url, or list your network under privacy.local_networks.",
        ),
        LocalResourceError: (
            "could not be loaded or stopped while it ran",
            "Free memory (see `ollama ps`), or use a smaller model or num_ctx.",
        ),
        MalformedResponseError: (
            "gave an answer that is empty or cannot be read",
            "Try again; if it lasts, check that base_url leads to an Ollama server.",
        ),
        ModelNotFoundError: (
            "is not installed there",
            "Run `ollama pull` for it yourself, or choose an installed model.",
        ),
        OverloadedError: (
            "is too busy",
            "Try again in a moment, or send less at once.",
        ),
        ProviderTimeoutError: (
            "did not answer in time",
            "Raise 'timeouts' in the configuration, or use a smaller model.",
        ),
        QuotaExhaustedError: (
            "has no credit or quota left for this key",
            "Top up the account or raise its limit; waiting does not help.",
        ),
        RateLimitError: (
            "limits the rate of requests",
            "Wait a moment, or send less at once.",
        ),
        RemoteModelError: (
            "would be answered by another machine, not by this local server",
            "Use an installed local model, or set the endpoint's data_zone to 'cloud'.",
        ),
        ServerError: (
            "failed on its side",
            "Try again; if it lasts, look at the server's log.",
        ),
        StreamInterruptedError: (
            "broke off its answer",
            "Try again; if it lasts, look at the server's log.",
        ),
        UnsupportedFeatureError: (
            "cannot do what was asked of it",
            "Leave out the tools, images or thinking, or choose another model.",
        ),
    }
)

_FIRST_ERROR_STATUS: Final = 400
_FIRST_SERVER_STATUS: Final = 500
_NOT_FOUND: Final = 404
_NOT_OLLAMA: Final = (
    "answered like a server that is not Ollama",
    "Write base_url without a path, e.g. http://127.0.0.1:11434.",
)
_REDIRECT: Final = (
    "answered with a redirect, which is never followed",
    "Write the address that it leads to as the endpoint's base_url.",
)


@dataclass(frozen=True, slots=True)
class Failures:
    """Words the failures of one model at one endpoint.

    Args:
        endpoint: The endpoint's name in the configuration.
        model: The model asked for; empty when the server itself is meant.
    """

    endpoint: str
    model: str = ""

    def new(
        self,
        kind: _Kind,
        *,
        status: int | None = None,
        what: str | None = None,
        remedy: str | None = None,
    ) -> ProviderError:
        """Build the error; `what` and `remedy` replace the usual words of its kind."""
        usual = _WORDS[kind]
        label = f"{self.endpoint}/{self.model}" if self.model else self.endpoint
        detail = "" if status is None else f" ({status})"
        return kind(
            f"{label} {what or usual[0]}{detail}.",
            provider=self.endpoint,
            model=self.model,
            status=status,
            remedy=remedy or usual[1],
        )

    def of_response(self, status: int, body: bytes) -> ProviderError:
        """Return what an answer with an error status means, whatever its body is."""
        if status < _FIRST_ERROR_STATUS:
            # The model is not at this address, and will not be on a second try.
            return self.new(
                ModelNotFoundError,
                status=status,
                what=_REDIRECT[0],
                remedy=_REDIRECT[1],
            )
        text = _error_text(body)
        if status == _NOT_FOUND and text is None:
            # Unknown paths are answered in plain text, unknown models in JSON.
            return self.new(
                ModelNotFoundError,
                status=status,
                what=_NOT_OLLAMA[0],
                remedy=_NOT_OLLAMA[1],
            )
        return self.new(_kind_of(status, text or ""), status=status)

    def of_line(self, error: object) -> ProviderError:
        """Return what an `error` inside a stream means, as its own answer would."""
        kind = _by_marker(_text_of(error) or "") or ServerError
        return self.new(kind, status=_IN_STREAM.get(kind, _FIRST_SERVER_STATUS))

    def of_wire(self, error: WireError) -> ProviderError:
        """Return what a failure before the answer's end means."""
        if error.fault == "refused":
            refused = self.new(EgressRefusedError, what=refusal_words(error))
            return refusal(refused, error)
        if error.fault == "unreadable":
            return self.new(MalformedResponseError)
        if error.fault == "cut":
            return self.new(StreamInterruptedError)
        if error.fault == "lost":
            return self.new(
                ConnectionFailedError, what="closed the connection before it answered"
            )
        failed = self.new(ConnectionFailedError)
        failed.may_be_billed = False
        return failed

    def not_installed(self, stand_ins: Iterable[str]) -> ProviderError:
        """Return the error that names the command to run and what is there instead."""
        others = ", ".join(stand_ins)
        instead = f"use an installed model: {others}" if others else "choose another"
        return self.new(
            ModelNotFoundError,
            remedy=f"Run `ollama pull {self.model}` yourself, or {instead}.",
        )


def _kind_of(status: int, text: str) -> _Kind:
    known = _STATUSES.get(status)
    if known in _FOR_CERTAIN:
        return known
    # Prose goes before the other statuses: some mistakes of the caller come as 500.
    by_marker = _by_marker(text)
    if by_marker is not None:
        return by_marker
    if known is not None:
        return known
    return ServerError if status >= _FIRST_SERVER_STATUS else BadRequestError


def _by_marker(text: str) -> _Kind | None:
    lowered = text.lower()
    return next((kind for marker, kind in _MARKERS if marker in lowered), None)


def _error_text(body: bytes) -> str | None:
    """Return the `error` of a JSON body, or `None` when there is none to read."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return _text_of(decoded.get("error")) if isinstance(decoded, dict) else None


def _text_of(error: object) -> str | None:
    if isinstance(error, dict):
        return json.dumps(error)
    return error if isinstance(error, str) else None
