"""What the graphics card has to say to calls: the guard's verdict, and what fits on it.

Both are inputs of routing: who is refused for them is refused in the route, with the
reason. Right before a send they are asked once more, because a card that had room when
the route was planned may be full now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from model_manager._fitting import Fitting
from model_manager._guarding import CardReader, Guarding
from model_manager._servers import Servers
from model_manager.config import Config
from model_manager.errors import UnavailableError
from model_manager.gpu import Machine, policy_of
from model_manager.providers import LocalMemory
from model_manager.types import Candidate, Clock, Facts


class Cards:
    """Says for one configuration who may use the card now."""

    def __init__(
        self,
        config: Config,
        *,
        machine: Machine | None,
        clock: Clock,
        memory_of: Callable[[str], LocalMemory | None],
    ) -> None:
        """Read nothing yet.

        Args:
            config: Which card may work, who needs it, and how much of it may be used.
            machine: What is asked, instead of this machine.
            clock: The time to go by.
            memory_of: Whom to ask about an endpoint's models; `None` where its server
                cannot tell.
        """
        policy = policy_of(config.gpu_settings)
        reader = CardReader(policy, machine=machine, clock=clock)
        self._servers = Servers(
            config.endpoints,
            machine=lambda: reader.machine,
            clock=clock,
            loads=lambda name: memory_of(name) is not None,
        )
        self._guarding = Guarding(config, reader, self._servers, clock=clock)
        self._fitting = Fitting(
            config, reader, self._servers, clock=clock, memory_of=memory_of
        )

    @property
    def problem(self) -> str:
        """Why the guard keeps models from being asked; empty where it does not."""
        return self._guarding.problem

    def after_fork(self) -> None:
        """Begin anew in a child."""
        self._servers.after_fork()
        self._guarding.after_fork()

    async def check(self, *, now: bool = False, patience: float | None = None) -> None:
        """Ask the guard, where the configuration requires the card and it is time.

        Args:
            now: Ask also where it was asked a moment ago.
            patience: Seconds that this call waits for the verdict at most.
        """
        await self._guarding.check(now=now, patience=patience)

    async def look(
        self, candidates: Iterable[Candidate], facts: Facts, *, patience: float
    ) -> bool:
        """Learn whether these candidates fit; `True` where that may change the route.

        Args:
            candidates: Who might be asked.
            facts: What is installed, to know one version of a model from the next.
            patience: Seconds that this call has for it.
        """
        return await self._fitting.look(candidates, facts, patience=patience)

    def added_to(self, facts: Facts) -> Facts:
        """Return the facts with what is known of the card; from memory."""
        guarding, fitting = self._guarding, self._fitting
        return replace(
            facts,
            card_faults=dict([*fitting.faults(), *guarding.faults()]),
            card_notes=dict([*fitting.notes(facts), *guarding.notes()]),
            card_memory=fitting.card_memory,
        )

    async def admit(self, candidate: Candidate) -> None:
        """Return where the card lets this candidate work now.

        Raises:
            UnavailableError: It does not; `code` is `gpu` or `vram`.
        """
        fault = await self._guarding.fault_now(candidate)
        if fault is None:
            fault = await self._fitting.fault_now(candidate)
        if fault is not None:
            message = f"{candidate.label} was not asked: {fault.reason}."
            raise UnavailableError(
                message,
                provider=candidate.endpoint,
                model=candidate.model,
                code=fault.code,
                remedy=fault.remedy,
            )
