"""`ModelManager`: the library's face; it hands over and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from typing_extensions import override

from model_manager._calls import Calls
from model_manager.observability import Bus, EventLog
from model_manager.types import BudgetStatus, Clock, Health

if TYPE_CHECKING:
    from model_manager._agent import AgentHandle
    from model_manager.config import Config
    from model_manager.gpu import Machine
    from model_manager.providers import HttpPool, ProviderFactory
    from model_manager.sync import SyncManager
    from model_manager.usage import Entry, GroupBy, Moment, UsageReport

P = ParamSpec("P")
R = TypeVar("R")


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
        machine: Machine | None = None,
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
            machine: Whose graphics cards are looked at, instead of this machine's.

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
            machine=machine,
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

    async def usage(
        self,
        *,
        group_by: GroupBy = "agent",
        since: Moment | None = None,
        until: Moment | None = None,
        agent: str | None = None,
    ) -> UsageReport:
        """Report what was used and what it cost, of all processes with this ledger.

        Args:
            group_by: `agent`, `model`, `provider`, `day` or `task`.
            since: From when on: a datetime, a date, a timedelta (so long ago), or text
                such as `24h`, `7d`, `today`, `month`, `2026-03-01`. Sums are kept by
                the hour, so it is rounded down to a full one. `None`: from the start.
            until: Until before when, rounded up; `None`: up to now.
            agent: Only this agent's.

        Raises:
            InvalidRequestError: An argument cannot be read.
            LedgerError: The ledger cannot be read.
        """
        books = self._current.runtime.books
        return await _in_thread(
            books.report, group_by, since=since, until=until, agent=agent
        )

    async def entries(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        agent: str | None = None,
        after: Entry | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Return lines of the ledger, one a send, in the order in which they were sent.

        With `after`, they come in the order in which they ended: to follow along, give
        the last one that was seen. To read page by page, go on from its `sent_at`.

        Args:
            since: Only what was sent from then on; as in `usage`, but not rounded.
            until: Only what was sent before.
            agent: Only this agent's.
            after: Only what has ended after this one, in that order.
            limit: At most so many.

        Raises:
            InvalidRequestError: An argument cannot be read.
            LedgerError: The ledger cannot be read.
        """
        books = self._current.runtime.books
        return await _in_thread(
            books.entries,
            since=since,
            until=until,
            agent=agent,
            after=after,
            limit=limit,
        )

    async def budgets(self) -> tuple[BudgetStatus, ...]:
        """Return how far each budget is used now, over all processes.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        return await _in_thread(self._current.runtime.books.budgets.statuses)

    async def aclose(self) -> None:
        """Close what the running loop opened, and stop watching; calls open anew.

        What calls used is in the ledger when this returns.
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


async def _in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do what blocks where it holds up no loop."""
    import asyncio  # noqa: PLC0415 - an import of the facade need not load it

    return await asyncio.to_thread(work, *args, **kwargs)
