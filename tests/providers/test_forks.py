"""A process forks while its manager is warm: parent and children go on as if alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from model_manager.testing import AnthropicServer, OllamaServer, OpenAIServer

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux shares a loop's selector with a child"
)

_PREPARED = """
import asyncio, gc, multiprocessing, os, ssl, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
from model_manager import ModelManager

openai, anthropic, ollama = sys.argv[1:]
manager = ModelManager({
    "version": "1.1.0",
    "agent_models": {
        "a": {"primary": "openai/m"}, "b": {"primary": "anthropic/m"},
        "c": {"local": "ollama/m"},
    },
    "model_providers": {
        "openai": {"base_url": openai, "models": {"m": {}}},
        "anthropic": {"base_url": anthropic, "models": {"m": {}}},
        "ollama": {"base_url": ollama, "models": {"m": {}}},
    },
}, environ={})

def ask():
    for agent in "abc":
        assert manager.sync.generate(agent, "hi", timeout=10).text

async def ask_here():
    for agent in "abc":
        assert (await manager.generate(agent, "hi", timeout=10)).text

def fork(inside, leave=sys.exit):
    pid = os.fork()
    if pid == 0:
        inside()
        gc.collect()
        leave(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    """Servers in this process, which is none of those that fork."""
    with (
        OpenAIServer() as openai,
        AnthropicServer() as anthropic,
        OllamaServer(models=["m"]) as ollama,
    ):
        yield [openai.base_url, anthropic.base_url, ollama.base_url]


def run(code: str, addresses: list[str]) -> None:
    """Run the code in a process of its own; what it prints would be a complaint."""
    script = _PREPARED + textwrap.dedent(code)
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", script, *addresses],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("leave", ["sys.exit", "os._exit"])
@pytest.mark.parametrize("inside", ["ask", "lambda: None", "manager.sync.close"])
def test_a_child_of_a_warm_process_works_and_harms_nobody(
    addresses: list[str], inside: str, leave: str
) -> None:
    run(
        f"""
        ask()
        for _ in range(3):
            fork({inside}, {leave})
            ask()
        manager.sync.close()
        """,
        addresses,
    )


def test_a_preloading_server_may_fork_many_workers_that_work_at_once(
    addresses: list[str],
) -> None:
    run(
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
        addresses,
    )


def test_children_of_multiprocessing_work(addresses: list[str]) -> None:
    run(
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
        addresses,
    )


def test_a_grandchild_works_as_well(addresses: list[str]) -> None:
    run(
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
        addresses,
    )


def test_a_fork_between_two_runs_of_a_loop_of_ones_own_leaves_it_working(
    addresses: list[str],
) -> None:
    run(
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
        addresses,
    )


@pytest.mark.parametrize("leave", ["sys.exit", "os._exit"])
def test_a_fork_inside_a_running_loop_leaves_it_working(
    addresses: list[str], leave: str
) -> None:
    run(
        f"""
        async def main():
            await ask_here()
            for _ in range(2):
                fork(lambda: None, {leave})
                await asyncio.to_thread(int)
                await ask_here()

        asyncio.run(main())
        """,
        addresses,
    )


def test_a_fork_in_the_midst_of_other_threads_calls_never_wedges_the_child(
    addresses: list[str],
) -> None:
    run(
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
        addresses,
    )


def test_a_child_keeps_no_connection_of_its_parent(addresses: list[str]) -> None:
    run(
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
        addresses,
    )
