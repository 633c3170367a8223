"""One pool, many event loops: in turn, side by side, and closed from any of them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from model_manager.providers import HttpPool
from model_manager.providers._http import HttpClient

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class ThreadedServer:
    """Answers `ok` from threads of its own, for clients whose loops come and go."""

    def __init__(self) -> None:
        """Start to listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self.connections += 1
            if self._closing:
                connection.close()
                return
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    _closing = False

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while connection.recv(65_536):
                connection.sendall(OK)

    def close(self) -> None:
        self._closing = True
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


async def text_of(client: HttpClient, url: str) -> bytes:
    answer = await client.send("POST", url, headers={}, body=b"x", connect=5)
    try:
        return await answer.whole()
    finally:
        answer.close()


def test_successive_loops_without_closing_leak_nothing() -> None:
    server = ThreadedServer()
    pool = HttpPool()

    async def call() -> None:
        client = pool.client(local=True)
        answers = [text_of(client, server.url) for _ in range(3)]
        assert await asyncio.gather(*answers) == [b"ok"] * 3

    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir())) if os.name == "posix" else 0

    asyncio.run(call())
    before = open_files()
    for _ in range(10):
        asyncio.run(call())
    after = open_files()
    server.close()

    assert after <= before + 2  # the server may not have closed its last ends yet


def test_many_threads_with_loops_of_their_own_share_one_pool() -> None:
    server = ThreadedServer()
    pool = HttpPool()

    async def call() -> int:
        client = pool.client(local=True)
        answers = await asyncio.gather(*(text_of(client, server.url) for _ in range(5)))
        return sum(answer == b"ok" for answer in answers)

    def work(_: int) -> int:
        return sum(asyncio.run(call()) for _ in range(3))

    with ThreadPoolExecutor(8) as threads:
        total = sum(threads.map(work, range(8)))
    server.close()

    assert total == 8 * 3 * 5


async def test_closing_the_pool_does_not_hang_on_other_loops() -> None:
    server = await asyncio.to_thread(ThreadedServer)
    pool = HttpPool()
    used, finish = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        await text_of(pool.client(local=True), server.url)
        used.set()
        await asyncio.to_thread(finish.wait)

    other = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    other.start()
    await asyncio.to_thread(used.wait)
    await text_of(pool.client(local=True), server.url)

    await pool.aclose()
    finish.set()
    await asyncio.to_thread(other.join)
    await asyncio.to_thread(server.close)
