from __future__ import annotations

import asyncio

import pytest

from model_manager.errors import ProviderError, ServerError
from model_manager.resilience import Decision, retrying


def fault(number: int) -> ServerError:
    return ServerError(f"try {number} failed.", provider="p", model="m")


class Scene:
    """An attempt that fails some times, and what was asked and slept on the way."""

    def __init__(self, *, failures: int, retries: int) -> None:
        self.failures = failures
        self.retries = retries
        self.tries = 0
        self.judged: list[tuple[str, int]] = []
        self.slept: list[float] = []

    async def attempt(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise fault(self.tries)
        return f"answer {self.tries}"

    def judge(self, error: ProviderError, tries: int) -> Decision:
        self.judged.append((error.what, tries))
        if tries > self.retries:
            return Decision("next", "enough")
        return Decision("retry", "again", tries / 10)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self) -> str:
        return await retrying(self.attempt, judge=self.judge, sleep=self.sleep)


async def test_a_first_success_is_neither_judged_nor_slept_after() -> None:
    scene = Scene(failures=0, retries=3)
    assert await scene.run() == "answer 1"
    assert (scene.judged, scene.slept) == ([], [])


async def test_every_failure_is_judged_with_its_number_and_waited_for() -> None:
    scene = Scene(failures=3, retries=3)
    assert await scene.run() == "answer 4"
    assert [tries for _, tries in scene.judged] == [1, 2, 3]
    assert scene.slept == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_the_last_failure_comes_out_as_it_was(retries: int) -> None:
    scene = Scene(failures=9, retries=retries)
    with pytest.raises(ServerError) as caught:
        await scene.run()
    assert caught.value.what.startswith(f"try {retries + 1} ")
    assert caught.value.__context__ is None
    assert scene.tries == retries + 1


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_cancellation_passes_untouched(failures: int) -> None:
    scene = Scene(failures=failures, retries=5)

    async def cancelled() -> str:
        if scene.tries >= failures:
            raise asyncio.CancelledError
        return await scene.attempt()

    with pytest.raises(asyncio.CancelledError):
        await retrying(cancelled, judge=scene.judge, sleep=scene.sleep)
    assert len(scene.judged) == failures
