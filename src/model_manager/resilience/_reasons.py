"""What the breaker says: for how long, why, and what to do about it."""

from __future__ import annotations

from typing import Final

from model_manager.config import Breaker
from model_manager.errors import (
    AuthenticationError,
    LocalResourceError,
    ModelNotFoundError,
    ProviderError,
    QuotaExhaustedError,
    UnavailableError,
)
from model_manager.resilience._rests import Record
from model_manager.types import Candidate, Rest

FORBIDDEN: Final = 403
"""The status of a key that is good, but not for this model."""
_QUOTA_REST = 300.0
_KEY_REST = 60.0
_CLOUD_MODEL_REST = 300.0
_LOCAL_MODEL_REST = 60.0
"""A local model may be pulled at any moment."""
_MEMORY_REST = 30.0
"""Memory may be free again by then."""
_SHORTEST_SPAN = 1.0
"""Seconds over which calls are taken at least to see how many end in a second."""


def why_open(record: Record, settings: Breaker, last: str) -> str | None:
    """Return why a model is left alone from now on; `None` where it is not.

    Args:
        record: How its calls went.
        settings: The configuration's `breaker` section.
        last: What the last of them ended in; empty after an answer.
    """
    counts = record.counts
    the_last = f", the last: {last}" if last else ""
    a_second = counts.calls / max(counts.window, _SHORTEST_SPAN)
    # Where hundreds of calls end in a second, three that fail one after the other are
    # chance: then all that end in one second must.
    if record.failures >= max(settings.failures, a_second):
        return f"{record.in_a_row} failures in a row{the_last}"
    if counts.calls < settings.min_calls:
        return None
    if counts.faults >= settings.failure_rate * counts.calls:
        return f"{counts.faults:g} of {counts.calls} calls failed{the_last}"
    if counts.slow >= settings.slow_rate * counts.calls:
        return f"{counts.slow} of {counts.calls} calls were slow{the_last}"
    return None


def suspension(error: ProviderError, candidate: Candidate) -> float:
    """Return the seconds for which a model or endpoint is not asked."""
    if isinstance(error, QuotaExhaustedError):
        return _QUOTA_REST
    if isinstance(error, LocalResourceError):
        return _MEMORY_REST
    if isinstance(error, ModelNotFoundError):
        return _LOCAL_MODEL_REST if candidate.is_local else _CLOUD_MODEL_REST
    return _KEY_REST


def named(error: ProviderError) -> str:
    """Name a failure without its text, which may be long."""
    return str(error.status) if error.status is not None else type(error).__name__


def told(error: ProviderError) -> str:
    """Say in words why a model or endpoint is suspended."""
    if isinstance(error, QuotaExhaustedError):
        what = "its credit or quota is used up"
    elif isinstance(error, ModelNotFoundError):
        what = "it does not have the model"
    elif isinstance(error, LocalResourceError):
        what = "it could not load or run the model"
    elif isinstance(error, AuthenticationError):
        what = "its key was refused"
    else:
        what = "it refused the call"
    return f"{what} ({named(error)})"


def unavailable(candidate: Candidate, rest: Rest) -> UnavailableError:
    """Return the error of a call that may not be sent now."""
    return UnavailableError(
        f"{candidate.label} is left alone for {rest.seconds:.1f} s: {rest.reason}.",
        provider=candidate.endpoint,
        model=candidate.model,
        code=rest.kind,
        retry_after=rest.seconds,
        remedy=rest.remedy,
    )
