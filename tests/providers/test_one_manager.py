"""One manager in any number of loops and threads: nothing fails, nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[[str], None]


def test_ten_loops_one_after_another(alone: Run) -> None:
    alone(
        """
        async def run():
            await ask_here()
            (only,) = asyncio.all_tasks()
            assert only is asyncio.current_task()

        asyncio.run(run())
        before = descriptors()
        for _ in range(10):
            asyncio.run(run())
        assert descriptors() <= before
        """
    )


def test_many_threads_with_loops_of_their_own(alone: Run) -> None:
    alone(
        """
        async def four():
            await asyncio.gather(*(ask_here() for _ in range(4)))

        def ten_loops(_):
            for _ in range(10):
                asyncio.run(four())

        asyncio.run(four())
        before = descriptors()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ten_loops, range(8)))
        assert descriptors() <= before
        """
    )


def test_many_threads_that_call_without_awaiting(alone: Run) -> None:
    alone(
        """
        def twenty(_):
            for _ in range(20):
                ask()

        ask()
        manager.sync.close()
        before = descriptors()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(twenty, range(8)))
        manager.sync.close()
        assert descriptors() <= before
        """
    )


def test_sync_calls_inside_a_running_loop_and_beside_it(alone: Run) -> None:
    alone(
        """
        async def run():
            await ask_here()
            ask()
            await asyncio.gather(ask_here(), asyncio.to_thread(ask))

        before = descriptors()
        for _ in range(3):
            asyncio.run(run())
        manager.sync.close()
        assert descriptors() <= before
        """
    )


def test_a_sync_call_on_the_loop_of_sync_itself_says_so(alone: Run) -> None:
    alone(
        """
        from model_manager.errors import ModelManagerError

        async def call():
            try:
                ask()
            except ModelManagerError as error:
                return str(error)

        assert "Await" in manager.sync.portal.call(call)
        manager.sync.close()
        """
    )


@pytest.mark.parametrize("end", ["", "manager.sync.close()", "del manager"])
def test_a_program_that_just_ends_ends_quietly(alone: Run, end: str) -> None:
    alone(
        f"""
        ask()
        {end}
        """
    )


def test_a_call_loads_none_of_the_vendors_libraries(alone: Run) -> None:
    alone(
        """
        ask()
        heavy = {"openai", "anthropic", "httpx", "httpx2", "ollama"}
        assert not heavy & set(sys.modules)
        manager.sync.close()
        """
    )


def test_no_loop_stands_still_while_the_http_library_loads(alone: Run) -> None:
    alone(
        """
        import importlib.abc

        class Spy(importlib.abc.MetaPathFinder):
            loaded_in = []

            def find_spec(self, name, path, target=None):
                if name == "aiohttp":
                    self.loaded_in.append(threading.current_thread())

        sys.meta_path.insert(0, Spy())
        asyncio.run(ask_here())
        assert Spy.loaded_in
        assert threading.main_thread() not in Spy.loaded_in
        """
    )
