"""The pool on real sockets: who is told what when a connection fails or ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest

from model_manager.providers import HttpPool

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
            answer = await pool.client(local=True).post(url, content=b"x")
            assert answer.text == "ok"
        await pool.aclose()

    assert len(seen) == 1


async def test_local_and_cloud_endpoints_never_share_a_client() -> None:
    pool = HttpPool(
        transport=lambda: httpx2.MockTransport(lambda _: httpx2.Response(204))
    )

    assert pool.client(local=True) is not pool.client(local=False)
    assert pool.client(local=True) is pool.client(local=True)
    await pool.aclose()


async def test_a_transport_of_ones_own_replaces_the_wire() -> None:
    pool = HttpPool(
        transport=lambda: httpx2.MockTransport(lambda _: httpx2.Response(204))
    )

    answer = await pool.client(local=False).get("https://example.invalid/")

    assert answer.status_code == 204
    await pool.aclose()


async def test_a_refused_connection_is_a_connect_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pool = HttpPool()

    with pytest.raises(httpx2.ConnectError):
        await pool.client(local=True).post(f"http://127.0.0.1:{port}/", content=b"x")
    await pool.aclose()


async def test_a_name_that_does_not_resolve_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    pool = HttpPool()

    with pytest.raises(httpx2.ConnectError):
        await pool.client(local=False).get("http://no-such-host.invalid/")
    await pool.aclose()


@pytest.mark.parametrize("politely", [True, False])
async def test_a_connection_lost_before_the_answer_is_no_timeout(
    *, politely: bool
) -> None:
    async def vanish(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        if not politely:
            reset(writer)

    pool = HttpPool()
    async with serving(vanish) as url:
        with pytest.raises((httpx2.NetworkError, httpx2.ProtocolError)):
            await pool.client(local=True).post(url, content=b"x")
        await pool.aclose()


@pytest.mark.parametrize("politely", [True, False])
async def test_a_body_that_is_cut_is_no_timeout(*, politely: bool) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()
        if not politely:
            await asyncio.sleep(0.05)
            reset(writer)

    pool = HttpPool()
    received = b""

    async def read(answer: httpx2.Response) -> None:
        nonlocal received
        async for data in answer.aiter_bytes():
            received += data

    async with serving(cut) as url:
        async with pool.client(local=True).stream("POST", url) as answer:
            with pytest.raises((httpx2.NetworkError, httpx2.ProtocolError)):
                await read(answer)
        await pool.aclose()

    assert received == b"hello"


async def test_what_is_not_http_is_a_protocol_error() -> None:
    async def babble(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        writer.write(b"SSH-2.0-nonsense\r\n\r\n")
        await writer.drain()

    pool = HttpPool()
    async with serving(babble) as url:
        with pytest.raises(httpx2.RemoteProtocolError):
            await pool.client(local=True).post(url, content=b"x")
        await pool.aclose()


async def test_silence_is_a_read_timeout_where_one_is_asked_for() -> None:
    async def silence(
        reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
    ) -> None:
        await read_request(reader)
        await reader.read()

    pool = HttpPool()
    async with serving(silence) as url:
        with pytest.raises(httpx2.ReadTimeout):
            await pool.client(local=True).post(
                url, content=b"x", timeout=httpx2.Timeout(None, read=0.05)
            )
        await pool.aclose()


async def test_a_handshake_that_stalls_is_a_connect_timeout() -> None:
    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    pool = HttpPool()
    async with serving(stall) as url:
        with pytest.raises(httpx2.ConnectTimeout):
            await pool.client(local=False).get(
                url.replace("http:", "https:"),
                timeout=httpx2.Timeout(None, connect=0.1),
            )
        await pool.aclose()


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
        async with pool.client(local=True).stream("POST", url) as answer:
            async for _ in answer.aiter_bytes():
                break
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
        async with pool.client(local=True).stream("POST", url) as answer:
            async for _ in answer.aiter_bytes():
                pass

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
            answer = await pool.client(local=local).post(url, content=b"x")
            assert answer.text == "ok"
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
        client = pool.client(local=True)
        statuses = [(await client.post(url, content=b"x")).status_code for _ in "ab"]
        await pool.aclose()

    assert statuses == [307, 307]


async def test_a_pool_can_be_used_again_after_it_was_closed() -> None:
    pool = HttpPool()
    async with serving(answer_ok) as url:
        await pool.client(local=True).post(url, content=b"x")
        await pool.aclose()
        answer = await pool.client(local=True).post(url, content=b"x")
        await pool.aclose()

    assert answer.text == "ok"
