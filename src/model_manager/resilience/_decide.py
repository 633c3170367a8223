"""Whether to try again, ask the next one, or stop: one pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model_manager.config import Retry
from model_manager.errors import ProviderError
from model_manager.resilience._verdict import Verdict, verdict_on

_AT_ONCE_DELAY = 0.05
"""Seconds before a retry after a lost connection: long enough for a listener that is
just restarting, short enough not to be felt."""
_UNTOLD_RATE_LIMIT_DELAY = 0.5
"""Seconds at least after a 429 that names no wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How a call stands at the moment a candidate failed."""

    tries_here: int
    """Sends to this candidate so far."""
    tries_in_all: int
    others_left: bool
    """Whether another candidate stands behind this one."""
    remaining: float
    """Seconds until the call's deadline."""
    handed_out: bool = False
    """Whether a piece of the failed answer already reached the caller."""
    barred: str = ""
    """Why the same candidate may not be asked again now; empty where it may."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, and why in words."""

    action: Literal["retry", "next", "stop"]
    why: str
    wait: float = 0.0
    """Seconds to sleep before a retry."""


def decide(
    error: ProviderError, situation: Situation, *, settings: Retry, chance: float
) -> Decision:
    """Judge a failure.

    Args:
        error: What happened.
        situation: How the call stands.
        settings: The configuration's `retry` section.
        chance: A random number in [0, 1) for the jitter.
    """
    verdict = verdict_on(error)
    refused_retry = _why_no_retry(verdict, situation, settings)
    if refused_retry is None:
        wait = _wait(error, verdict, situation, settings=settings, chance=chance)
        limit = settings.max_wait if situation.others_left else settings.max_wait_last
        if wait > limit:
            refused_retry = f"a wait of {wait:.1f} s is longer than {limit:g} s"
        elif wait >= situation.remaining:
            refused_retry = f"a wait of {wait:.1f} s does not fit the deadline"
        else:
            return Decision("retry", f"try again after {wait:.2f} s", wait)
    if verdict.fallback == "nobody":
        return Decision("stop", "nobody else is asked after this kind of failure")
    if situation.tries_in_all >= settings.attempts_per_call:
        return Decision("stop", f"{situation.tries_in_all} attempts were made")
    then = "ask the next candidate" if situation.others_left else "nobody is left"
    return Decision("next", f"{then}: {refused_retry}")


def _why_no_retry(
    verdict: Verdict, situation: Situation, settings: Retry
) -> str | None:
    if situation.barred:
        return situation.barred
    if verdict.retry == "never":
        return "asking the same one again does not help"
    if situation.tries_here >= settings.attempts_per_candidate:
        return f"it was tried {situation.tries_here} times"
    if situation.handed_out and situation.others_left:
        return "an answer that broke is begun anew by another"
    # The last attempt of a call belongs to a candidate that has not failed yet.
    reserved = 1 if situation.others_left else 0
    if situation.tries_in_all + reserved >= settings.attempts_per_call:
        return "the call's attempts are used up"
    return None


def _wait(
    error: ProviderError,
    verdict: Verdict,
    situation: Situation,
    *,
    settings: Retry,
    chance: float,
) -> float:
    if error.retry_after is not None:
        return max(0.0, error.retry_after)
    if verdict.retry == "at_once":
        return _AT_ONCE_DELAY
    # Full jitter between half and all of an exponential step, so that agents that
    # failed together do not come back together.
    step = settings.base_delay * 2.0 ** (situation.tries_here - 1)
    wait = (0.5 + 0.5 * chance) * min(settings.max_delay, step)
    is_rate_limit = error.status == 429  # noqa: PLR2004 - the status is the name
    return max(wait, _UNTOLD_RATE_LIMIT_DELAY) if is_rate_limit else wait
