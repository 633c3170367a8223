"""The loop that tries one candidate again; the only file that knows tenacity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState

from model_manager.errors import ProviderError
from model_manager.resilience._decide import Decision

T = TypeVar("T")


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    *,
    judge: Callable[[ProviderError, int], Decision],
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Run `attempt` until it succeeds or `judge` no longer says `retry`.

    Args:
        attempt: One whole try.
        judge: Gets the failure and how many tries were made, from 1.
        sleep: How to wait, seconds.

    Raises:
        ProviderError: The last failure, as it came. Whatever else the attempt raises,
            cancellation first, passes untouched.
    """
    try:
        return await attempt()
    except ProviderError as error:
        decision = judge(error, 1)
        if decision.action != "retry":
            raise
    # The loop begins where one is needed: most calls succeed at once, and need none.
    await sleep(decision.wait)
    wait = 0.0

    def again(state: RetryCallState) -> bool:
        nonlocal wait
        error = state.outcome.exception() if state.outcome is not None else None
        if not isinstance(error, ProviderError):
            return False
        decision = judge(error, state.attempt_number + 1)
        wait = decision.wait
        return decision.action == "retry"

    loop = AsyncRetrying(
        retry=again, wait=lambda _state: wait, sleep=sleep, reraise=True
    )
    return await loop(attempt)
