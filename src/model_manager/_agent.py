"""The manager's methods with an agent bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from typing_extensions import override

from model_manager._binding import adopt
from model_manager._manager import ModelManager
from model_manager.sync import SyncManager

P = ParamSpec("P")
R = TypeVar("R")


def _bound(
    method: Callable[Concatenate[ModelManager, str, P], R],
) -> Callable[Concatenate[AgentHandle, P], R]:
    def call(self: AgentHandle, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.manager, self.agent, *args, **kwargs)

    return adopt(call, method, filled_in=1)


def _bound_sync(
    method: Callable[Concatenate[SyncManager, str, P], R],
) -> Callable[Concatenate[SyncAgentHandle, P], R]:
    def call(self: SyncAgentHandle, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.manager, self.agent, *args, **kwargs)

    return adopt(call, method, filled_in=1)


class AgentHandle:
    """What one agent needs of a `ModelManager`; get it from `for_agent`."""

    def __init__(self, manager: ModelManager, agent: str) -> None:
        """Bind an agent's id."""
        self.manager = manager
        self.agent = agent

    generate = _bound(ModelManager.generate)
    stream = _bound(ModelManager.stream)
    embed = _bound(ModelManager.embed)
    explain = _bound(ModelManager.explain)

    @property
    def sync(self) -> SyncAgentHandle:
        """The same methods for synchronous callers."""
        return SyncAgentHandle(self.manager.sync, self.agent)

    @override
    def __repr__(self) -> str:
        """Name the agent."""
        return f"<AgentHandle {self.agent!r}>"


class SyncAgentHandle:
    """What one agent needs of `manager.sync`; get it from `sync.for_agent`."""

    def __init__(self, manager: SyncManager, agent: str) -> None:
        """Bind an agent's id."""
        self.manager = manager
        self.agent = agent

    generate = _bound_sync(SyncManager.generate)
    stream = _bound_sync(SyncManager.stream)
    embed = _bound_sync(SyncManager.embed)
    explain = _bound_sync(SyncManager.explain)

    @override
    def __repr__(self) -> str:
        """Name the agent."""
        return f"<SyncAgentHandle {self.agent!r}>"
