"""What the room remembers between calls, in one bundle."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from model_manager._forks import call_in_children
from model_manager.config import Config
from model_manager.events import Event
from model_manager.resilience._breaker import Breakers
from model_manager.resilience._latency import FirstPieces
from model_manager.resilience._limits import Limits
from model_manager.resilience._loaded import LoadedModels
from model_manager.resilience._quota import RetryQuotas
from model_manager.types import Clock


class Memory:
    """Breakers, retry quotas, limits and times of one configuration.

    Shared by all its calls, threads and loops.
    """

    __slots__ = ("__weakref__", "breakers", "latency", "limits", "loaded", "quotas")

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Begin with everything healthy and nothing under way.

        Args:
            config: Its `breaker` section and its endpoints' `limits` are read.
            clock: Where time comes from.
            emit: Gets what changes, outside all locks.
            chance: Returns a random number in [0, 1).
        """
        self.breakers = Breakers(config.breaker, clock=clock, emit=emit, chance=chance)
        self.quotas = RetryQuotas()
        self.limits = Limits(config.endpoints, clock=clock, emit=emit)
        self.latency = FirstPieces()
        self.loaded = LoadedModels()
        call_in_children(self.after_fork)

    def carry_over(self, old: Memory, unchanged: Collection[str]) -> None:
        """Share what another memory knows of endpoints that have not changed.

        Calls that end on the old one count here too. Call it before this one is in use.
        """
        self.breakers.carry_over(old.breakers, unchanged)
        self.quotas.carry_over(old.quotas, unchanged)
        self.limits.carry_over(old.limits, unchanged)
        self.latency.carry_over(old.latency, unchanged)
        self.loaded.carry_over(old.loaded, unchanged)

    def after_fork(self) -> None:
        """Make it fit for a forked child, where this is called first of all.

        A thread of the parent may have held a lock at that moment, and calls of the
        parent hold slots and leases that nobody gives back here.
        """
        self.breakers.after_fork()
        self.quotas.after_fork()
        self.limits.after_fork()
        self.latency.after_fork()
