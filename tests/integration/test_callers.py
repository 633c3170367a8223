"""The ways to call: many at once, many loops, threads, no loop at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model_manager import ModelManager
from model_manager.types import Completed

pytestmark = pytest.mark.real_server
Manage = Callable[..., ModelManager]
Pointed = Callable[..., dict[str, Any]]

CODER = "agent_02_architecte_code_expert"


async def test_eight_calls_at_once_get_eight_answers(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    async def streamed(number: int) -> str:
        async with manager.stream(CODER, f"Number {number}") as stream:
            return "".join([piece async for piece in stream.text])

    async def whole(number: int) -> str:
        return (await manager.generate(CODER, f"Number {number}")).text

    said = await asyncio.gather(*(streamed(n) if n % 2 else whole(n) for n in range(8)))

    assert len(set(said)) == 1
    assert "Grüße" in said[0]


async def test_different_agents_get_their_own_answers_at_once(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat", "think", "random"))

    said = await asyncio.gather(
        *(
            manager.generate(CODER, "Go", model=model, max_output_tokens=64)
            for model in ("tiny-chat", "tiny-think", "tiny-random") * 3
        )
    )

    assert [r.model for r in said] == ["tiny-chat", "tiny-think", "tiny-random"] * 3
    assert "Grüße" in said[0].text
    assert "42" in said[1].text
    assert said[2].finish_reason == "length"


def test_synchronous_callers_get_answers(protocol: str, pointed: Pointed) -> None:
    manager = ModelManager(pointed(protocol, "chat"), environ={})

    with manager.sync as sync:
        whole = sync.generate(CODER, "Go")
        with sync.stream(CODER, "Go") as stream:
            text = "".join(stream.text)
        with sync.stream(CODER, "Go") as stream:
            *_, last = stream
        bound = sync.for_agent(CODER).generate("Go")

    assert "Grüße" in text
    assert text == whole.text == bound.text
    assert isinstance(last, Completed)


def test_synchronous_callers_get_vectors(pointed: Pointed) -> None:
    manager = ModelManager(pointed("openai", "chat", "embed"), environ={})

    with manager.sync as sync:
        vectors = sync.embed(CODER, ["a", "b", "c"]).vectors

    assert len(vectors) == 3


def test_threads_share_one_manager(protocol: str, pointed: Pointed) -> None:
    manager = ModelManager(pointed(protocol, "chat"), environ={})

    with manager.sync as sync, ThreadPoolExecutor(4) as threads:
        said = list(
            threads.map(lambda n: sync.generate(CODER, f"Number {n}").text, range(8))
        )

    assert len(set(said)) == 1


async def test_a_running_loop_may_call_synchronously(
    protocol: str, pointed: Pointed
) -> None:
    manager = ModelManager(pointed(protocol, "chat"), environ={})

    with manager.sync as sync:
        response = sync.generate(CODER, "Go")

    assert "Grüße" in response.text


def test_one_loop_after_another_uses_the_same_manager(
    protocol: str, pointed: Pointed
) -> None:
    manager = ModelManager(pointed(protocol, "chat"), environ={})

    async def once() -> str:
        async with manager.stream(CODER, "Go") as stream:
            pieces = [piece async for piece in stream.text]
        return "".join(pieces) + (await manager.generate(CODER, "Go")).text

    said = {asyncio.run(once()) for _ in range(12)}

    assert len(said) == 1


def test_loops_in_several_threads_use_the_same_manager(
    protocol: str, pointed: Pointed
) -> None:
    manager = ModelManager(pointed(protocol, "chat"), environ={})

    def once(number: int) -> str:
        return asyncio.run(manager.generate(CODER, f"Number {number}")).text

    with ThreadPoolExecutor(4) as threads:
        said = set(threads.map(once, range(8)))

    assert len(said) == 1
