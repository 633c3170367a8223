"""Synchronous calls that are interrupted or closed: the caller learns what happened."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from model_manager import ModelManager, _portal
from model_manager._portal import Portal
from model_manager.errors import ModelManagerError
from model_manager.sync import SyncStream
from model_manager.testing import Answer, OpenAIServer, Silence, StallStream
from model_manager.types import TextDelta

needs_sigint = pytest.mark.skipif(
    sys.platform == "win32", reason="one thread cannot interrupt another there"
)


@contextmanager
def ctrl_c(when: Callable[[], object]) -> Iterator[None]:
    """Interrupt the main thread, as Ctrl-C does, once `when` returns."""

    def press() -> None:
        when()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(press)
        with pytest.raises(KeyboardInterrupt):
            yield
        pressed.result(timeout=30)


def manager_of(server: OpenAIServer) -> ModelManager:
    return ModelManager(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "m"}},
            "model_providers": {
                "up": {"base_url": server.base_url, "models": {"m": {}}}
            },
        },
        environ={},
    )


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as made:
        yield made


@needs_sigint
@pytest.mark.parametrize("reading", ["events", "text"])
@pytest.mark.parametrize("fault", [Silence(), StallStream(after=2)])
def test_ctrl_c_in_a_stream_is_seen_as_ctrl_c_and_hangs_up(
    server: OpenAIServer, fault: Any, reading: str
) -> None:
    server.always(fault)
    manager = manager_of(server)
    asked = threading.Event()

    def seen() -> None:
        while not server.requests:
            asked.wait(0.01)
        asked.wait(0.2)  # longer than the pieces before the stall take

    with manager.sync, ctrl_c(seen), manager.sync.stream("a", "hi") as stream:
        list(stream if reading == "events" else stream.text)

    asyncio.run(server.wait_for_disconnects(1))


@needs_sigint
def test_an_interrupt_passes_only_after_the_call_has_ended(portal: Portal) -> None:
    begun, steps = threading.Event(), []

    async def slow_to_end() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)
            steps.append("ended")

    with ctrl_c(begun.wait):
        portal.call(slow_to_end)

    assert steps == ["ended"]


class Stubborn:
    """A stream that does not let itself be cancelled until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.pieces: Any = None

    def __aiter__(self) -> AsyncIterator[object]:
        """Begin."""
        self.pieces = self._run()
        return self.pieces  # type: ignore[no-any-return]  # made in the line above

    async def _run(self) -> AsyncIterator[object]:
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(self.let_go.wait)
        yield None

    async def __aexit__(self, *_: object) -> None:
        """Close what was begun."""
        await self.pieces.aclose()


@needs_sigint
def test_an_interrupt_passes_in_time_from_a_call_that_does_not_end(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_portal, "_PATIENCE", 0.05)
    stubborn: Any = Stubborn()

    with ctrl_c(stubborn.begun.wait), SyncStream(stubborn, portal) as stream:
        next(iter(stream))

    stubborn.let_go.set()


@pytest.mark.parametrize("reading", ["events", "text"])
@pytest.mark.parametrize("again", [False, True])
def test_a_stream_that_closing_cut_never_looks_whole(
    server: OpenAIServer, reading: str, *, again: bool
) -> None:
    server.always(StallStream(after=2))
    manager = manager_of(server)

    with manager.sync.stream("a", "hi") as stream:
        pieces = iter(stream) if reading == "events" else stream.text
        assert isinstance(next(pieces), (TextDelta, str))
        manager.sync.close()
        if again:
            manager.sync.health()
        with pytest.raises(ModelManagerError, match="closed while"):
            next(pieces)

    manager.sync.close()


def test_leaving_a_stream_after_the_close_starts_no_loop_again(
    server: OpenAIServer,
) -> None:
    server.always(StallStream(after=2))
    manager = manager_of(server)

    with manager.sync.stream("a", "hi") as stream:
        next(iter(stream))
        manager.sync.close()

    assert not [t for t in threading.enumerate() if "model_manager-sync" in t.name]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_stream_begun_before_a_fork_is_refused_in_the_child() -> None:
    """In a process of its own: a fork beside pytest's threads proves nothing."""
    program = """
import os
from model_manager._portal import Portal
from model_manager.errors import ModelManagerError

async def nothing():
    pass

portal = Portal()
line = portal.line()
line.call(nothing)
child = os.fork()
if child == 0:
    try:
        line.call(nothing)
    except ModelManagerError as error:
        os._exit(7 if "forked" in str(error) else 1)
    os._exit(2)
line.call(nothing)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
portal.close()
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )

    assert done.returncode == 0, done.stderr


def test_calls_that_race_with_closing_end_one_way_or_the_other(portal: Portal) -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "answer"

    def ask() -> str:
        try:
            return portal.call(answer)
        except ModelManagerError as error:
            return error.what

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(400)]
        while not all(call.done() for call in asked):
            portal.close()
        said = {call.result(timeout=30) for call in asked}

    assert said <= {"answer", "sync was closed while this call was under way."}


def test_a_stream_read_to_its_end_is_whole_whatever_is_closed_later(
    server: OpenAIServer,
) -> None:
    server.always(Answer(text="all of it"))
    manager = manager_of(server)

    with manager.sync.stream("a", "hi") as stream:
        text = "".join(stream.text)
        manager.sync.close()

    assert text == stream.response.text == "all of it"
