"""The proxy does to connections what its faults are named for, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.testing import (
    AnswerWith,
    BlackHole,
    CutAfter,
    FaultyProxy,
    HalfCloseAfter,
    InsertAt,
    OpenAIServer,
    PassOn,
    Refuse,
    ResetAfter,
    Spoil,
)

ASK = b"GET / HTTP/1.0\r\n\r\n"
ANSWER = b"".join(b"%04d" % number for number in range(1000))


def descriptors() -> set[tuple[str, str]]:
    """Return what is open here, and what each of it is; nothing where none can tell."""
    found: set[tuple[str, str]] = set()
    folder = Path("/proc/self/fd")
    for path in folder.iterdir() if folder.exists() else ():
        # The one that lists the folder is gone already.
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, str(path.readlink())))
    return found


class Canned:
    """A server that answers every connection with the same bytes, then closes it."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.asked.append(await reader.read(100))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()


@pytest.fixture
def canned() -> Canned:
    return Canned()


@pytest.fixture
async def proxy(canned: Canned) -> AsyncIterator[FaultyProxy]:
    server = await asyncio.start_server(canned.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, FaultyProxy(f"http://127.0.0.1:{port}/v1") as made:
        yield made


async def connect(
    proxy: FaultyProxy,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(proxy.base_url.removesuffix("/v1").rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port)


async def ask(proxy: FaultyProxy) -> tuple[bytes, str]:
    """Return what came, and how it ended: `FIN` or `RST`."""
    reader, writer = await connect(proxy)
    got = b""
    end = "FIN"
    try:
        writer.write(ASK)
        while piece := await reader.read(100):
            got += piece
    except ConnectionResetError:
        end = "RST"
    writer.close()
    return got, end


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (PassOn(), (ANSWER, "FIN")),
        (PassOn(connect_delay=0.01, first_byte_delay=0.01), (ANSWER, "FIN")),
        (PassOn(piece=500, pause=0.001), (ANSWER, "FIN")),
        (CutAfter(0), (b"", "FIN")),
        (CutAfter(1234), (ANSWER[:1234], "FIN")),
        (ResetAfter(0), (b"", "RST")),
        (ResetAfter(1234), (ANSWER[:1234], "RST")),
        (InsertAt(0, b"xy"), (b"xy" + ANSWER, "FIN")),
        (InsertAt(1234, b"xy"), (ANSWER[:1234] + b"xy" + ANSWER[1234:], "FIN")),
        (AnswerWith(b"no HTTP"), (b"no HTTP", "FIN")),
        (Refuse(), (b"", "RST")),
    ],
    ids=repr,
)
async def test_a_connection_gets_what_its_fault_says(
    proxy: FaultyProxy, spoil: Spoil, expected: tuple[bytes, str]
) -> None:
    proxy.script(spoil)

    # A reset may overtake what was written before it; then less has come.
    got, end = await ask(proxy)
    assert end == expected[1]
    assert got == expected[0] or (end == "RST" and expected[0].startswith(got))

    assert (await ask(proxy))[0] == ANSWER, "the next one passes"
    assert proxy.connections == 2


async def test_half_closed_means_that_only_the_answer_has_ended(
    proxy: FaultyProxy,
) -> None:
    proxy.always(HalfCloseAfter(40))
    reader, writer = await connect(proxy)
    writer.write(ASK)

    got = await reader.read()
    writer.write(b"still here")
    await writer.drain()

    assert got == ANSWER[:40]
    assert proxy.open_connections == 1
    writer.close()
    await proxy.wait_until_idle()


async def test_a_black_hole_takes_everything_and_asks_nobody(
    proxy: FaultyProxy, canned: Canned
) -> None:
    proxy.always(BlackHole())
    reader, writer = await connect(proxy)
    writer.write(ASK)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), timeout=0.05)

    assert canned.asked == []
    assert proxy.open_connections == 1
    writer.close()


async def test_a_refused_connection_never_stands_and_the_port_stays_the_same(
    proxy: FaultyProxy,
) -> None:
    before = proxy.base_url
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await ask(proxy)
    await proxy.accept()

    assert (await ask(proxy))[0] == ANSWER
    assert proxy.base_url == before
    assert proxy.connections == 1


async def test_dropping_breaks_what_is_open_so_that_the_script_holds() -> None:
    async with OpenAIServer() as server, FaultyProxy(server.base_url) as proxy:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{proxy.base_url}/models") as first:
                await first.read()
            proxy.script(AnswerWith())
            async with session.get(f"{proxy.base_url}/models") as kept:
                assert kept.status == 200, "a connection that was open already"

            await proxy.drop()
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{proxy.base_url}/models")
        assert proxy.connections == 2


async def test_a_server_that_is_down_looks_like_a_closed_connection() -> None:
    server = OpenAIServer()
    async with server:
        target = server.base_url
    async with FaultyProxy(target) as proxy:
        assert await ask(proxy) == (b"", "FIN")


async def test_the_script_is_forgotten_on_demand(proxy: FaultyProxy) -> None:
    proxy.script(Refuse())
    proxy.always(Refuse())

    proxy.reset_script()

    assert (await ask(proxy))[0] == ANSWER


@settings(max_examples=30, deadline=None)
@given(
    cut=st.integers(0, len(ANSWER) + 10),
    offset=st.integers(0, len(ANSWER) - 1),
    piece=st.integers(1, 5000),
)
async def test_bytes_pass_unharmed_up_to_the_fault(
    cut: int, offset: int, piece: int
) -> None:
    canned = Canned()
    server = await asyncio.start_server(canned.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, FaultyProxy(f"http://127.0.0.1:{port}") as proxy:
        proxy.script(CutAfter(cut), InsertAt(offset, b"?"), PassOn(piece=piece))

        assert (await ask(proxy))[0] == ANSWER[:cut]
        assert (await ask(proxy))[0] == ANSWER[:offset] + b"?" + ANSWER[offset:]
        assert (await ask(proxy))[0] == ANSWER


async def test_nothing_is_left_when_it_ends(canned: Canned) -> None:
    server = await asyncio.start_server(canned.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        tasks, before = asyncio.all_tasks(), descriptors()
        async with FaultyProxy(f"http://127.0.0.1:{port}") as proxy:
            proxy.always(BlackHole())
            held = [await connect(proxy) for _ in range(5)]
            proxy.always(PassOn(connect_delay=60))
            held += [await connect(proxy) for _ in range(5)]
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0)
        gc.collect()

        # What others have left open may well be closed by now.
        assert asyncio.all_tasks() == tasks
        assert descriptors() - before == set()


def test_it_has_no_address_before_it_starts() -> None:
    proxy = FaultyProxy("http://127.0.0.1:9")

    assert repr(proxy) == "FaultyProxy(not started, connections=0)"
    with pytest.raises(RuntimeError, match="start it first"):
        _ = proxy.base_url
