"""A new configuration while calls run: swapped whole, or not at all."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
import weakref
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from model_manager import ModelManager, errors, events
from model_manager._runtime import Runtime
from model_manager.testing import FakeClock, Pause, ScriptedProvider, said

T = TypeVar("T")
DOWN = errors.ServerError("down.", status=500)


def config(primary: str = "one", **sections: Any) -> dict[str, Any]:
    return {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": primary}},
        "model_providers": {
            "up": {
                "kind": "scripted",
                "base_url": "https://up.example",
                "models": {"one": {}, "two": {}},
            }
        },
        **sections,
    }


class Bench:
    """A manager on a file that can be rewritten, over a scripted provider."""

    def __init__(self, path: Path, **named: Any) -> None:
        self.path = path
        self.write(config())
        # Reading a file takes real time, in which virtual time must stand still.
        self.clock = FakeClock(auto=False)
        self.script = ScriptedProvider(clock=self.clock)
        self.manager = ModelManager(
            path,
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ={},
            **named,
        )
        self.events: list[events.Event] = []
        self.manager.events.subscribe(self.events.append)

    async def starts(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a call, and let it come as far as it can at this moment."""
        task = asyncio.ensure_future(call)
        for _ in range(20):
            await asyncio.sleep(0)
        return task

    def write(self, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.path.write_text(text, encoding="utf-8")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "models_config.json")


async def test_a_valid_file_is_in_force_for_the_next_call(bench: Bench) -> None:
    before = bench.manager.config.fingerprint
    bench.write(config(primary="two"))

    reloaded = await bench.manager.reload()

    assert (await bench.manager.generate("a", "hi")).model == "two"
    assert reloaded is bench.manager.config
    assert bench.events[0] == events.ConfigReloaded(
        before=before, after=reloaded.fingerprint
    )


async def test_an_invalid_file_changes_nothing_and_health_tells(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    before = bench.manager.config
    bench.write(config(primary="nowhere", nonsense=1))

    with pytest.raises(errors.ConfigError, match="nonsense"):
        await bench.manager.reload()

    assert bench.manager.config is before
    assert (await bench.manager.generate("a", "hi")).model == "one"
    health = await bench.manager.health()
    assert "nonsense" in health.config_problem
    assert "nonsense" in str(health)
    assert health.config_version == before.fingerprint
    assert isinstance(bench.events[0], events.ConfigRejected)
    assert any(r.levelno == logging.ERROR for r in caplog.records)

    bench.write(config(primary="two"))
    await bench.manager.reload()
    assert (await bench.manager.health()).config_problem == ""


async def test_a_call_under_way_finishes_on_the_old_configuration(
    bench: Bench,
) -> None:
    bench.script.script([Pause(5.0), *said("from the old one")], "from the new one")
    old = weakref.ref(bench.manager._current.runtime)
    task = await bench.starts(bench.manager.generate("a", "hi"))
    bench.write(config(primary="two"))
    await bench.manager.reload()

    during = await bench.manager.generate("a", "hi")
    bench.clock.advance(5.0)
    first = await task

    assert (during.model, during.text) == ("two", "from the new one")
    assert (first.model, first.text) == ("one", "from the old one")
    assert first.route.config_version != during.route.config_version
    del task, first, during
    gc.collect()
    assert old() is None, "nothing holds the old one once its last call has left"


async def test_the_old_one_closes_when_its_last_call_leaves(bench: Bench) -> None:
    bench.script.script([Pause(5.0), *said("late")])
    old = bench.manager._current.runtime
    closed: list[str] = []

    async def note() -> None:
        closed.append("closed")

    old.aclose_providers = note  # type: ignore[method-assign]  # watched, not replaced
    task = await bench.starts(bench.manager.generate("a", "hi"))
    await bench.manager.reload()
    assert closed == []

    bench.clock.advance(5.0)
    await task

    assert closed == ["closed"]


async def test_what_rests_goes_on_resting_unless_its_endpoint_changed(
    bench: Bench,
) -> None:
    bench.script.script(DOWN, DOWN, DOWN)
    for _ in range(3):
        task = await bench.starts(bench.manager.generate("a", "hi"))
        bench.clock.advance(1.0)
        with pytest.raises(errors.AllCandidatesFailedError):
            await task

    bench.write(config(timeouts={"total": 60}))
    await bench.manager.reload()
    assert bench.manager.explain("a").refused[0].code == "resting"

    changed = config()
    changed["model_providers"]["up"]["base_url"] = "https://elsewhere.example"
    bench.write(changed)
    await bench.manager.reload()
    assert bench.manager.explain("a").refused == ()


async def test_a_call_on_the_old_one_still_counts_against_the_limit(
    bench: Bench,
) -> None:
    limited = config()
    limited["model_providers"]["up"]["limits"] = {
        "concurrency": 1,
        "max_wait_last": 60,
    }
    bench.write(limited)
    await bench.manager.reload()
    bench.script.script([Pause(5.0), *said("first")], "second")
    first = await bench.starts(bench.manager.generate("a", "hi"))
    await bench.manager.reload()

    second = await bench.starts(bench.manager.generate("a", "hi"))
    bench.clock.advance(5.0)

    assert (await first).text == "first"
    assert (await second).attempts[0].queued == pytest.approx(5.0)


async def test_a_manager_built_from_a_mapping_reloads_what_it_is_given() -> None:
    manager = ModelManager(config(), environ={})
    with pytest.raises(errors.InvalidRequestError, match="no file to read again"):
        await manager.reload()
    assert (await manager.health()).config_problem == ""

    await manager.reload(config(primary="two"))

    assert manager.explain("a").candidates[0].model == "two"


async def test_new_keys_are_read_with_the_file() -> None:
    environ: dict[str, str] = {}
    with_key = config()
    with_key["model_providers"]["up"]["api_key_env"] = "UP_KEY"
    manager = ModelManager(with_key, environ=environ)
    assert manager.explain("a").refused[0].code == "missing_key"

    environ["UP_KEY"] = "a-key"
    await manager.reload(with_key)

    assert manager.explain("a").candidates[0].model == "one"


def test_reload_is_there_for_synchronous_callers(bench: Bench) -> None:
    bench.write(config(primary="two"))

    with bench.manager.sync as sync:
        sync.reload()

    assert bench.manager.explain("a").candidates[0].model == "two"


# Watching


async def test_a_watched_file_is_reloaded_when_it_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "models_config.json", watch=True)
    happened = threading.Event()
    bench.manager.events.subscribe(lambda _event: happened.set())

    async with bench.manager:
        bench.write(config(primary="two"))
        assert await asyncio.to_thread(happened.wait, 20)
        assert bench.manager.explain("a").candidates[0].model == "two"

        happened.clear()
        bench.write("{ not json")
        assert await asyncio.to_thread(happened.wait, 20)
        assert bench.manager.explain("a").candidates[0].model == "two"
        assert (await bench.manager.health()).config_problem

    assert not _watchers(), "closing the manager ends the thread"


async def test_watching_follows_to_another_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "models_config.json", watch=True)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(config(primary="two")), encoding="utf-8")
    await bench.manager.reload(other)
    happened = threading.Event()
    bench.manager.events.subscribe(lambda _event: happened.set())

    async with bench.manager:
        other.write_text(json.dumps(config(timeouts={"total": 7})), encoding="utf-8")
        assert await asyncio.to_thread(happened.wait, 20)
        assert bench.manager.config.timeouts.total == 7
        await bench.manager.reload(config())
        for thread in _watchers():
            await asyncio.to_thread(thread.join, 20)
        assert not _watchers(), "a mapping is no file to watch"
        await bench.manager.reload(other)
        assert len(_watchers()) == 1


async def test_each_replaced_runtime_closes_its_providers_once(bench: Bench) -> None:
    closed: list[str] = []
    original = Runtime.aclose_providers

    async def counted(runtime: Runtime) -> None:
        closed.append(runtime.config.fingerprint)
        await original(runtime)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "aclose_providers", counted)
        await asyncio.gather(*(bench.manager.reload() for _ in range(4)))
        bench.manager._current.reload_changed()
        assert len(closed) == 4
        await bench.manager.generate("a", "hi")

    assert len(closed) == 5, "what a watching thread retired is closed by the next call"


async def test_a_watched_file_that_is_gone_is_told_and_changes_nothing(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "models_config.json", watch=True)
    happened = threading.Event()
    bench.manager.events.subscribe(lambda _event: happened.set())

    async with bench.manager:
        bench.path.unlink()
        assert await asyncio.to_thread(happened.wait, 20)
        assert "does not exist" in (await bench.manager.health()).config_problem
        assert bench.manager.explain("a").candidates[0].model == "one"


async def test_a_provider_that_fails_to_close_harms_no_call_and_no_reload(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_runtime: Runtime) -> None:
        raise OSError

    await bench.manager.generate("a", "hi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "aclose_providers", broken)
        await bench.manager.reload()
        assert (await bench.manager.generate("a", "hi")).model == "one"

    assert "failed to close: OSError" in caplog.text


def test_a_forgotten_manager_leaves_no_thread_behind(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "models_config.json", watch=True)
    assert _watchers()

    del bench
    gc.collect()

    for thread in _watchers():
        thread.join(20)
    assert not _watchers()


def test_watching_needs_a_file() -> None:
    with pytest.raises(errors.InvalidRequestError, match="file to watch"):
        ModelManager(config(), watch=True, environ={})


def _watchers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "model_manager-watch"]


def test_calls_and_reloads_from_many_threads_disturb_nobody(bench: Bench) -> None:
    failures: list[BaseException] = []
    end = time.monotonic() + 1.0

    def work(turn: int) -> None:
        try:
            while time.monotonic() < end:
                if turn == 0:
                    asyncio.run(bench.manager.reload())
                else:
                    answer = asyncio.run(bench.manager.generate("a", "hi"))
                    assert answer.model == "one"
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert bench.manager._current._held.calls == 0
