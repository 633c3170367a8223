"""`ModelManager`: the library's face; it hands over and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from model_manager._calls import Calls
from model_manager.observability import Bus, EventLog
from model_manager.types import Clock, Health

if TYPE_CHECKING:
    from model_manager._agent import AgentHandle
    from model_manager.config import Config
    from model_manager.providers import HttpPool, ProviderFactory
    from model_manager.sync import SyncManager


class ModelManager(Calls):
    """Answers for agents: picks the model, calls it, survives its failures, counts.

    One manager may be shared by any number of threads and event loops at once. Use it
    as an `async with` block, or call `aclose` when you are done; `sync` has the same
    methods for synchronous callers.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, object] | Config | None = None,
        *,
        watch: bool = False,
        providers: Mapping[str, ProviderFactory] | None = None,
        http: HttpPool | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Load the configuration and read the keys; opens no connection.

        Args:
            config: A path, a mapping, a `Config`, or `None` to look at
                `$MODEL_MANAGER_CONFIG`, `./models_config.json` and
                `./config/models_config.json`.
            watch: Look at the file every second, and `reload` it when it changes.
            providers: Factories by provider kind, instead of the installed ones.
            http: The connections to use, instead of a pool of its own.
            clock: The time to go by, instead of the machine's.
            environ: Where keys are read, instead of the process's environment.

        Raises:
            ConfigError: The configuration is missing or wrong; lists every problem.
            InvalidRequestError: `watch=True` without a file to watch.
        """
        # Late: pydantic and asyncio take 0.1 s, which an import need not cost.
        from model_manager._clock import SystemClock  # noqa: PLC0415 - see above
        from model_manager._current import Current  # noqa: PLC0415 - see above
        from model_manager._runtime import Surroundings  # noqa: PLC0415 - see above
        from model_manager.providers import HttpPool  # noqa: PLC0415 - see above

        self.events = Bus(EventLog())
        """What happens: `events.subscribe(listener)`; see `model_manager.events`."""
        surroundings = Surroundings(
            http=http or HttpPool(),
            clock=clock or SystemClock(),
            emit=self.events.emit,
            factories=providers or {},
            environ=environ,
        )
        super().__init__(Current(config, surroundings))
        self._sync: dict[str, SyncManager] = {}
        """Empty until `sync` is first asked for; `setdefault` needs no lock."""
        if watch:
            self._current.watch()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._current.runtime.config

    @property
    def sync(self) -> SyncManager:
        """The same methods for synchronous callers, also inside a running loop."""
        # Late here and in `for_agent`: both are made of this class's methods.
        from model_manager.sync import SyncManager  # noqa: PLC0415 - see above

        return self._sync.setdefault("sync", SyncManager(self))

    def for_agent(self, agent: str) -> AgentHandle:
        """Return the same methods with the agent bound.

        Raises:
            UnknownAgentError: No such agent.
        """
        from model_manager._agent import AgentHandle  # noqa: PLC0415 - see `sync`

        self.config.agent(agent)
        return AgentHandle(self, agent)

    async def reload(
        self, config: str | Path | Mapping[str, object] | Config | None = None
    ) -> Config:
        """Put a new configuration in force, and return it; keys are read again.

        Calls under way finish on the old one. What is known about endpoints that have
        not changed is kept: breakers, limits, and who is being served.

        Args:
            config: As for the constructor; `None` reads the same file again.

        Raises:
            ConfigError: It is missing or wrong; the old one stays in force, and
                `health` tells the problem until a valid one comes.
            InvalidRequestError: `None`, but the configuration came from no file.
        """
        return await self._current.reload(config)

    async def warm(self) -> None:
        """Load now what the first call would load: adapters, prices, certificates.

        Local servers are asked what they have installed. Nothing is sent to the cloud.
        """
        await self._current.runtime.warm()

    async def health(self, *, local_only: bool = False) -> Health:
        """Ask every endpoint, or the local ones, how they are; free, never raises."""
        return await self._current.health(local_only=local_only)

    async def aclose(self) -> None:
        """Close what the running loop opened, and stop watching; calls open anew.

        Other loops and `sync` may be at work: what they opened ends with them.
        """
        await self._current.aclose()

    async def __aenter__(self) -> Self:
        """Enter; connections open when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what this loop opened."""
        await self.aclose()

    @override
    def __repr__(self) -> str:
        """Say what it serves, never with what keys."""
        agents, endpoints = len(self.config.agent_models), len(self.config.endpoints)
        return f"<ModelManager: {agents} agents, {endpoints} endpoints>"
