"""A process forks while its manager is warm: parent and children go on as if alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux shares a loop's selector with a child"
)

Run = Callable[[str], None]


@pytest.mark.parametrize("leave", ["sys.exit", "os._exit"])
@pytest.mark.parametrize("inside", ["ask", "lambda: None", "manager.sync.close"])
def test_a_child_of_a_warm_process_works_and_harms_nobody(
    alone: Run, inside: str, leave: str
) -> None:
    alone(
        f"""
        ask()
        for _ in range(3):
            fork({inside}, {leave})
            ask()
        manager.sync.close()
        """,
    )


def test_a_preloading_server_may_fork_many_workers_that_work_at_once(
    alone: Run,
) -> None:
    alone(
        """
        ask()
        workers = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                for _ in range(5):
                    ask()
                asyncio.run(ask_here())
                sys.exit(0)
            workers.append(pid)
        for _ in range(5):
            ask()
        for pid in workers:
            assert os.waitpid(pid, 0)[1] == 0
        ask()
        manager.sync.close()
        """,
    )


def test_children_of_multiprocessing_work(alone: Run) -> None:
    alone(
        """
        ask()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=ask) for _ in range(3)]
        for child in children:
            child.start()
        ask()
        for child in children:
            child.join()
            assert child.exitcode == 0
        with context.Pool(2) as pool:
            pool.apply(ask)
        ask()
        manager.sync.close()
        """,
    )


def test_a_grandchild_works_as_well(alone: Run) -> None:
    alone(
        """
        def parent():
            ask()
            fork(ask)
            ask()

        ask()
        fork(parent)
        ask()
        manager.sync.close()
        """,
    )


def test_a_fork_between_two_runs_of_a_loop_of_ones_own_leaves_it_working(
    alone: Run,
) -> None:
    alone(
        """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask_here())
        for _ in range(2):
            fork(lambda: asyncio.run(ask_here()), os._exit)
            loop.run_until_complete(ask_here())
        loop.run_until_complete(manager.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        """,
    )


@pytest.mark.parametrize("leave", ["sys.exit", "os._exit"])
def test_a_fork_inside_a_running_loop_leaves_it_working(alone: Run, leave: str) -> None:
    alone(
        f"""
        async def main():
            await ask_here()
            for _ in range(2):
                fork(lambda: None, {leave})
                await asyncio.to_thread(int)
                await ask_here()

        asyncio.run(main())
        """,
    )


def test_a_fork_in_the_midst_of_other_threads_calls_never_wedges_the_child(
    alone: Run,
) -> None:
    alone(
        """
        ask()
        busy = True

        def hammer():
            while busy:
                ask()
                asyncio.run(ask_here())

        threads = [threading.Thread(target=hammer, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            fork(ask)
        busy = False
        for thread in threads:
            thread.join()
        ask()
        manager.sync.close()
        """,
    )


def test_a_child_keeps_no_connection_of_its_parent(alone: Run) -> None:
    alone(
        """
        def sockets():
            links = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    links.append(os.readlink("/proc/self/fd/" + fd))
                except OSError:
                    pass
            return [link for link in links if link.startswith("socket:")]

        before = sockets()
        ask()
        opened = sockets()
        assert len(opened) > len(before) + 2

        def inside():
            # A socket pair wakes the parent's background loop; it stays as it is.
            assert len(sockets()) <= len(before) + 2

        fork(inside)
        manager.sync.close()
        """,
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the key")
def test_a_child_says_nothing_over_its_parents_encrypted_connections(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(  # noqa: S603 - arguments of our own
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject],  # noqa: S607 - the system's
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    alone(
        f"""
        import ssl
        from model_manager.providers import HttpPool

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain({str(certificate)!r}, {str(key)!r})
        connections, port, listening = [], [], threading.Event()

        async def answer(reader, writer):
            connections.append(writer)
            while True:
                await reader.readuntil(b"\\r\\n\\r\\n")
                writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")

        async def serve():
            server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
            port.append(server.sockets[0].getsockname()[1])
            listening.set()
            await asyncio.Event().wait()

        threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
        listening.wait()
        pool, loop = HttpPool(), asyncio.new_event_loop()

        async def get(local):
            url = f"https://localhost:{{port[0]}}/"
            client = pool.client(local=local)
            answer = await client.send("GET", url, headers={{}}, connect=5)
            assert await answer.whole() == b"ok"
            answer.close()

        for turn in range(3):
            for local in (True, False):
                loop.run_until_complete(get(local))
            fork(lambda: None)
        assert len(connections) == 2
        os._exit(0)
        """
    )
