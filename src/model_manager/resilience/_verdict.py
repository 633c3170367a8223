"""What each kind of failure calls for: a table, read by class and never by text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from model_manager import errors


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may follow a failure of one class."""

    retry: Literal["never", "at_once", "as_told"]
    """Whether the same candidate may be asked again, and after which wait: `as_told`
    waits for what the provider asked, or backs off where it asked nothing."""
    fallback: Literal["anyone", "larger_window", "nobody"]
    """Who may be asked instead."""
    fault: float = 0.0
    """What it weighs against the model in the breaker: 1, 0.5 or nothing."""
    rest: Literal["none", "cooldown", "suspend_model", "suspend_endpoint"] = "none"
    """Whether one such failure is enough to leave the model, or the whole endpoint,
    alone for a while; how long is the breaker's to say."""


VERDICTS: Final[Mapping[type[errors.ProviderError], Verdict]] = MappingProxyType(
    {
        # Nothing was processed: asking again is free and usually works.
        errors.ConnectionFailedError: Verdict("at_once", "anyone", fault=1.0),
        errors.ServerError: Verdict("as_told", "anyone", fault=1.0),
        # It works as it should: it is asked less, and not counted as ill.
        errors.RateLimitError: Verdict("as_told", "anyone", rest="cooldown"),
        # Waiting does not bring money back.
        errors.QuotaExhaustedError: Verdict("never", "anyone", rest="suspend_endpoint"),
        # A silent provider stays silent; asking twice doubles the wait.
        errors.ProviderTimeoutError: Verdict("never", "anyone", fault=1.0),
        # The breaker narrows it to the model where the status is 403.
        errors.AuthenticationError: Verdict("never", "anyone", rest="suspend_endpoint"),
        errors.ModelNotFoundError: Verdict("never", "anyone", rest="suspend_model"),
        errors.LocalResourceError: Verdict(
            "never", "anyone", fault=1.0, rest="suspend_model"
        ),
        errors.RemoteModelError: Verdict("never", "anyone"),
        # Our own refusals: nothing was sent, so nothing was learnt of the provider.
        errors.EgressRefusedError: Verdict("never", "anyone"),
        errors.UnavailableError: Verdict("never", "anyone"),
        errors.ContextWindowError: Verdict("never", "larger_window"),
        # Routing around a refusal must be somebody's decision, not an accident.
        errors.ContentFilterError: Verdict("never", "nobody"),
        # A malformed request fails everywhere; do not burn the chain on it.
        errors.BadRequestError: Verdict("never", "nobody"),
        errors.UnsupportedFeatureError: Verdict("never", "anyone"),
        errors.MalformedResponseError: Verdict("at_once", "anyone", fault=0.5),
        errors.StreamInterruptedError: Verdict("at_once", "anyone", fault=1.0),
        # What no adapter could name: somebody else may do better.
        errors.ProviderError: Verdict("never", "anyone", fault=1.0),
    }
)


def verdict_on(error: errors.ProviderError) -> Verdict:
    """Return the verdict of the error's own class, or of the nearest one above it."""
    for cls in type(error).__mro__:
        found = VERDICTS.get(cls)
        if found is not None:
            return found
    return VERDICTS[errors.ProviderError]
