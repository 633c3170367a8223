"""The runtime in force: one reference, swapped whole when the configuration changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from model_manager._forks import call_in_children
from model_manager._runtime import Runtime, Surroundings
from model_manager._watch import Watch
from model_manager.config import Config, config_path, load_config
from model_manager.errors import ConfigError, InvalidRequestError
from model_manager.events import ConfigRejected, ConfigReloaded
from model_manager.types import Health

Source: TypeAlias = str | Path | Mapping[str, object] | Config | None

_log = logging.getLogger("model_manager")


@dataclass(slots=True, eq=False)
class _Held:
    """A runtime and how many calls are under way on it."""

    runtime: Runtime
    calls: int = 0
    is_retired: bool = False


class Current:
    """Holds the runtime in force; may be used from any number of threads and loops.

    A call takes the runtime once and keeps it to its end, so a reload never changes a
    call under way. A runtime that was replaced closes when its last call leaves it.
    """

    def __init__(self, source: Source, surroundings: Surroundings) -> None:
        """Load the configuration and build on it; opens no connection.

        Raises:
            ConfigError: The configuration is missing or wrong; lists every problem.
        """
        self._surroundings = surroundings
        self._path = config_path(source, environ=surroundings.environ)
        self._held = _Held(Runtime(self._loaded(source), surroundings))
        self._leftover: list[Runtime] = []
        """Replaced and left by their last call; to be closed where there is a loop."""
        self._problem = ""
        self._is_watched = False
        """Whether whatever file is in force is to be looked at."""
        self._watch: Watch | None = None
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        call_in_children(self.after_fork)

    def after_fork(self) -> None:
        """Take new locks: a thread that is not here may have held the old ones."""
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self.runtime.after_fork()

    @property
    def runtime(self) -> Runtime:
        """The runtime in force at this moment."""
        return self._held.runtime

    def using(self) -> Use:
        """Return a context in which the runtime stays as it is: one for each call."""
        return Use(self)

    def enter(self) -> _Held:
        """Count a call in, and return what it runs on."""
        with self._lock:
            held = self._held
            held.calls += 1
            return held

    def leave(self, held: _Held) -> bool:
        """Count a call out; `True` when there is something to close now."""
        with self._lock:
            held.calls -= 1
            if held.is_retired and not held.calls:
                self._leftover.append(held.runtime)
            return bool(self._leftover)

    async def close_leftover(self) -> None:
        """Close the runtimes that were replaced and left by their last call."""
        with self._lock:
            runtimes, self._leftover = self._leftover, []
        for runtime in runtimes:
            try:
                await runtime.aclose_providers()
            except Exception as error:  # noqa: BLE001 - an adapter may be somebody else's
                # The call that happens to close it has its answer already.
                _log.warning("a provider failed to close: %s", type(error).__name__)

    async def reload(self, source: Source) -> Config:
        """Put a new configuration in force; see `ModelManager.reload`."""
        if source is None and self._path is None:
            message = "there is no file to read again: the configuration was given."
            raise InvalidRequestError(
                message, remedy="Pass the new one: reload(config)."
            )
        # Reading and checking block; other calls of this loop go on meanwhile.
        config = await asyncio.to_thread(self._load, source)
        await self.close_leftover()
        return config

    def reload_changed(self) -> None:
        """Put the changed file in force, or keep the old one and say why."""
        # `ConfigRejected` has told it, and the log with it.
        with contextlib.suppress(ConfigError):
            self._load(None)

    def watch(self) -> None:
        """Look at the file from now on, and put every valid change in force.

        Raises:
            InvalidRequestError: The configuration did not come from a file.
        """
        if self._path is None:
            message = "watch=True needs a configuration file to watch."
            raise InvalidRequestError(message, remedy="Give ModelManager a path.")
        self._is_watched = True
        self._watch = Watch(self._path, self.reload_changed)
        self._watch.start()

    def stop_watching(self) -> None:
        """Look at the file no longer; waits for the thread's end."""
        self._is_watched = False
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    async def health(self, *, local_only: bool) -> Health:
        """Ask the endpoints, and add what is wrong with the newest configuration."""
        async with self.using() as runtime:
            health = await runtime.health(local_only=local_only)
        return replace(health, config_problem=self._problem)

    async def aclose(self) -> None:
        """Stop watching, and close what the running loop opened."""
        if self._is_watched:
            await asyncio.to_thread(self.stop_watching)
        await self.close_leftover()
        await self.runtime.aclose()

    def _load(self, source: Source) -> Config:
        with self._loading:
            before = self.runtime.config.fingerprint
            try:
                config = self._loaded(source)
                held = _Held(Runtime(config, self._surroundings, old=self.runtime))
            except ConfigError as error:
                self._problem = str(error)
                self._surroundings.emit(
                    ConfigRejected(version=before, reason=error.what)
                )
                raise
            self._put_in_force(held)
            if source is not None:
                self._aim_at(config_path(source, environ=self._surroundings.environ))
            self._problem = ""
        self._surroundings.emit(ConfigReloaded(before=before, after=config.fingerprint))
        return config

    def _put_in_force(self, held: _Held) -> None:
        with self._lock:
            old, self._held = self._held, held
            old.is_retired = True
            if not old.calls:
                self._leftover.append(old.runtime)

    def _aim_at(self, path: Path | None) -> None:
        """Read, and watch where that was wanted, another file from now on."""
        before, self._path = self._path, path
        if not self._is_watched or path == before:
            return
        if self._watch is not None:
            # Not waited for: its thread may be waiting to load, which is done here.
            self._watch.stop(wait=False)
            self._watch = None
        if path is not None:
            self.watch()

    def _loaded(self, source: Source) -> Config:
        given = self._path if source is None else source
        return load_config(given, environ=self._surroundings.environ)


class Use:
    """The time of one call on a runtime."""

    __slots__ = ("_current", "_held")

    def __init__(self, current: Current) -> None:
        """Prepare to enter."""
        self._current = current
        self._held: _Held | None = None

    async def __aenter__(self) -> Runtime:
        """Take the runtime in force."""
        self._held = self._current.enter()
        return self._held.runtime

    async def __aexit__(self, *_: object) -> None:
        """Leave it; the last call of a replaced runtime closes it."""
        held, self._held = self._held, None
        if held is not None and self._current.leave(held):
            await self._current.close_leftover()
