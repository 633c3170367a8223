"""A value for each loop: made once there, closed there, left alone after a fork."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_manager.providers import LoopLocal


class Thing:
    """A value that remembers where it was made and where it was closed."""

    def __init__(self) -> None:
        """Note the loop."""
        self.made_in = asyncio.get_running_loop()
        self.closed_in: asyncio.AbstractEventLoop | None = None


async def close(thing: Thing) -> None:
    await asyncio.sleep(0)
    assert thing.closed_in is None
    thing.closed_in = asyncio.get_running_loop()


def things() -> LoopLocal[Thing]:
    return LoopLocal(Thing, close)


async def test_gives_the_same_value_within_one_loop() -> None:
    local = things()

    assert local.get() is local.get()
    await local.aclose()


def test_refuses_to_make_a_value_without_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        things().get()


def test_closes_each_value_in_its_own_loop_when_the_loop_ends() -> None:
    local = things()

    async def use() -> Thing:
        return local.get()

    used = [asyncio.run(use()) for _ in range(3)]

    assert len({id(thing) for thing in used}) == 3
    assert all(thing.closed_in is thing.made_in for thing in used)


def test_threads_with_loops_of_their_own_get_values_of_their_own() -> None:
    local = things()
    together = threading.Barrier(8)

    async def use() -> Thing:
        thing = local.get()
        for _ in range(20):
            await asyncio.sleep(0)
            assert local.get() is thing
        return thing

    def work() -> list[Thing]:
        together.wait()
        return [asyncio.run(use()) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        used = [t for f in [pool.submit(work) for _ in range(8)] for t in f.result()]

    assert len({id(thing) for thing in used}) == 40
    assert all(thing.closed_in is thing.made_in for thing in used)


async def test_explicit_close_closes_once_and_a_later_use_starts_anew() -> None:
    local = things()
    first = local.get()

    await local.aclose()
    await local.aclose()
    second = local.get()

    assert first.closed_in is first.made_in
    assert second is not first
    assert second.closed_in is None
    await local.aclose()


async def test_explicit_close_leaves_the_values_of_other_loops_to_them() -> None:
    local = things()
    ready, finish = threading.Event(), asyncio.Event()
    theirs: list[tuple[Thing, asyncio.AbstractEventLoop, bool]] = []

    async def elsewhere() -> None:
        thing = local.get()
        theirs.append((thing, asyncio.get_running_loop(), False))
        ready.set()
        await finish.wait()
        theirs.append((thing, asyncio.get_running_loop(), thing.closed_in is None))

    other = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    other.start()
    await asyncio.to_thread(ready.wait)
    mine = local.get()

    await local.aclose()
    theirs[0][1].call_soon_threadsafe(finish.set)
    await asyncio.to_thread(other.join)

    assert mine.closed_in is mine.made_in
    thing, loop, was_open = theirs[1]
    assert was_open, "it was still in use there"
    assert thing.closed_in is loop, "it ended with its loop"


def test_explicit_close_is_not_held_up_by_a_loop_that_no_longer_runs() -> None:
    local = things()
    stopped = asyncio.new_event_loop()

    async def use() -> Thing:
        return local.get()

    stopped.run_until_complete(use())
    asyncio.run(local.aclose())

    stopped.run_until_complete(stopped.shutdown_asyncgens())
    stopped.close()


def test_a_loop_closed_without_shutdown_is_forgotten() -> None:
    local = things()
    careless = asyncio.new_event_loop()

    async def use() -> Thing:
        return local.get()

    thing = careless.run_until_complete(use())
    careless.close()
    asyncio.run(use())
    asyncio.run(local.aclose())

    assert thing.closed_in is None


async def test_dropping_the_last_reference_closes_the_value() -> None:
    local = things()
    thing = local.get()

    del local
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)

    assert thing.closed_in is thing.made_in


async def test_a_factory_that_fails_leaves_nothing_behind() -> None:
    made: list[Thing] = []

    def make() -> Thing:
        made.append(Thing())
        if len(made) == 1:
            raise OSError(28, "no space")
        return made[-1]

    local = LoopLocal(make, close)
    with pytest.raises(OSError, match="no space"):
        local.get()

    assert local.get() is made[1]
    await local.aclose()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_starts_anew_and_closes_nothing_of_its_parent() -> None:
    local = things()
    outcome: list[int] = []

    async def in_parent() -> Thing:
        thing = local.get()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"1" if in_child(thing) else b"0")
            os._exit(0)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - the child ends at once
        outcome.append(int(os.read(reading, 1)))
        os.close(reading)
        os.close(writing)
        return thing

    def in_child(inherited: Thing) -> bool:
        asyncio.events._set_running_loop(None)

        async def use() -> Thing:
            return local.get()

        made = asyncio.run(use())
        asyncio.run(local.aclose())
        gc.collect()
        return made is not inherited and inherited.closed_in is None

    thing = asyncio.run(in_parent())

    assert outcome == [1]
    assert thing.closed_in is thing.made_in
