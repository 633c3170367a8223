"""The pool on real sockets: who is told what when a connection fails or ends."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from model_manager.providers import HttpPool, WireError, _http
from model_manager.providers._http import HttpAnswer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return head


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """Serve on loopback; yield the address."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(pool: HttpPool, url: str, *, local: bool = True) -> HttpAnswer:
    """Post one byte and return the answer, whose body is still to be read."""
    client = pool.client(local=local)
    return await client.send("POST", url, headers={}, body=b"x", connect=5)


async def text_of(pool: HttpPool, url: str, *, local: bool = True) -> bytes:
    answer = await post(pool, url, local=local)
    try:
        return await answer.whole()
    finally:
        answer.close()


async def fault_of(pool: HttpPool, url: str, *, local: bool = True) -> str:
    with pytest.raises(WireError) as caught:
        await text_of(pool, url, local=local)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    await pool.aclose()
    return caught.value.fault


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a polite end."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_keeps_a_connection_for_the_next_call() -> None:
    seen: list[object] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer)
        await answer_ok(reader, writer)

    pool = HttpPool()
    async with serving(count) as url:
        for _ in range(3):
            assert await text_of(pool, url) == b"ok"
        await pool.aclose()

    assert len(seen) == 1


async def test_guarded_and_open_clients_share_nothing() -> None:
    pool = HttpPool()
    seen: list[object] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer)
        await answer_ok(reader, writer)

    clients = [
        pool.client(local=False),
        pool.client(local=True),
        pool.client(local=True, networks=("10.0.0.0/8",)),
    ]
    async with serving(count) as url:
        for client in clients * 2:
            answer = await client.send("GET", url, headers={}, connect=5)
            assert await answer.whole() == b"ok"
            answer.close()
        await pool.aclose()

    assert len({id(client) for client in clients}) == 3
    assert len(seen) == 3


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert await fault_of(HttpPool(), f"http://127.0.0.1:{port}/") == "unreachable"


@pytest.mark.parametrize("local", [True, False])
async def test_a_name_that_does_not_resolve_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, *, local: bool
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)

    url = "http://no-such-host.invalid/"
    assert await fault_of(HttpPool(), url, local=local) == "unreachable"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "nonsense", "http://1"])
async def test_what_is_no_address_is_unreachable(url: str) -> None:
    assert await fault_of(HttpPool(), url) == "unreachable"


@pytest.mark.parametrize("politely", [True, False])
async def test_a_connection_that_ends_before_the_answer_is_lost(
    *, politely: bool
) -> None:
    async def vanish(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        if not politely:
            reset(writer)

    async with serving(vanish) as url:
        assert await fault_of(HttpPool(), url) == "lost"


@pytest.mark.parametrize("how", ["politely", "with a reset", "with garbage"])
async def test_a_body_that_ends_too_early_is_cut(how: str) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()
        if how != "politely":
            await asyncio.sleep(0.05)
        if how == "with a reset":
            reset(writer)
        if how == "with garbage":
            writer.write(b"no chunk of HTTP")
            await reader.read()  # the client is to end it

    pool = HttpPool()
    received = b""

    async def read(answer: HttpAnswer) -> None:
        nonlocal received
        while piece := await answer.piece():
            received += piece

    async with serving(cut) as url:
        answer = await post(pool, url)
        with pytest.raises(WireError) as caught:
            await read(answer)
        answer.close()
        await pool.aclose()

    assert caught.value.fault == "cut"
    assert caught.value.__context__ is None
    assert received == b"hello"


async def answering(said: bytes) -> str:
    """Return what becomes of an answer that is exactly these bytes."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(said)
        await writer.drain()

    async with serving(say) as url:
        return await fault_of(HttpPool(), url)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
    ],
)
async def test_what_cannot_be_understood_is_unreadable(said: bytes) -> None:
    assert await answering(said) == "unreadable"


async def test_an_answer_beyond_all_measure_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_http, "_ANSWER_BYTES", 1000)

    pieces = b"190\r\n" + b"x" * 400 + b"\r\n"
    assert await answering(CHUNKED + pieces * 1000) == "unreadable"


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_packed_answers_are_unpacked(
    coding: str, pack: Callable[[bytes], bytes]
) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        body = pack(b"hello " * 5000)
        head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n"
        writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    pool = HttpPool()
    async with serving(say) as url:
        assert await text_of(pool, url) == b"hello " * 5000
        await pool.aclose()


async def test_the_beginning_of_an_error_is_enough_and_never_fails() -> None:
    async def endless(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        writer.write(CHUNKED)
        with suppress(ConnectionError):
            while True:
                writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()

    pool = HttpPool()
    async with serving(endless) as url, serving(cut) as other:
        long, short = await post(pool, url), await post(pool, other)
        assert await long.beginning() == b"x" * 65_536
        assert await short.beginning() == b"hello"
        long.close()
        short.close()
        await pool.aclose()


async def test_a_handshake_that_stalls_is_a_connect_timeout() -> None:
    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    pool = HttpPool()
    async with serving(stall) as url:
        with pytest.raises(WireError) as caught:
            await pool.client(local=False).send(
                "GET", url.replace("http:", "https:"), headers={}, connect=0.1
            )
        await pool.aclose()

    assert caught.value.fault == "connect_timeout"


async def test_closing_an_unread_answer_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def endless(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()
        await reader.read()
        gone.set()

    pool = HttpPool()
    async with serving(endless) as url:
        answer = await post(pool, url)
        assert await answer.piece() == b"hello"
        answer.close()
        await asyncio.wait_for(gone.wait(), 5)
        await pool.aclose()


@pytest.mark.parametrize("begun", [True, False])
async def test_cancelling_closes_the_connection(*, begun: bool) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def endless(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        if begun:
            writer.write(CHUNKED + b"5\r\nhello\r\n")
            await writer.drain()
        asked.set()
        await reader.read()
        gone.set()

    async def call(url: str) -> None:
        answer = await post(pool, url)
        try:
            await answer.whole()
        finally:
            answer.close()

    pool = HttpPool()
    async with serving(endless) as url:
        task = asyncio.create_task(call(url))
        await asked.wait()
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)
        await pool.aclose()


async def test_no_environment_variable_redirects_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    pool = HttpPool()

    async with serving(answer_ok) as url:
        for local in (True, False):
            assert await text_of(pool, url, local=local) == b"ok"
        await pool.aclose()


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    async def bounce(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for _ in range(2):
            head = await read_request(reader)
            assert b"cookie" not in head.lower()
            writer.write(
                b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\n"
                b"set-cookie: tracked=1\r\ncontent-length: 0\r\n\r\n"
            )
            await writer.drain()

    pool = HttpPool()
    async with serving(bounce) as url:
        answers = [await post(pool, url) for _ in "ab"]
        statuses = [answer.status for answer in answers]
        for answer in answers:
            answer.close()
        await pool.aclose()

    assert statuses == [307, 307]


async def test_a_pool_can_be_used_again_after_it_was_closed() -> None:
    pool = HttpPool()
    async with serving(answer_ok) as url:
        await text_of(pool, url)
        await pool.aclose()
        assert await text_of(pool, url) == b"ok"
        await pool.aclose()
