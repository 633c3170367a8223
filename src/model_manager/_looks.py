"""Looks at local servers before a call is planned: one look for all who wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from model_manager.types import Clock

SECONDS: Final = 2.0
"""How long a look may take, however little time those have who wait for it."""
AGAIN: Final = 60.0
"""Seconds before a server that told nothing, or lacked a model, is asked again."""


@dataclass(slots=True, eq=False)
class _Look:
    """A look under way, and how many wait for what it brings."""

    task: asyncio.Future[None]
    waiting: int = 0


class Looks:
    """Asks servers how they are, each at most once a minute and once at a time.

    Calls of one event loop share a look; a hundred first calls ask a server once. Each
    waits as long as its own time allows. Who is cancelled, or gives up, leaves the look
    to the others; the last one takes it along, and it counts as not made.
    """

    def __init__(
        self,
        check: Callable[[str, float], Coroutine[Any, Any, object]],
        clock: Clock,
    ) -> None:
        """Look at nothing yet.

        Args:
            check: Asks a server by its endpoint's name, for so many seconds; keeps
                what it hears, and never raises.
            clock: The time to go by.
        """
        self._check = check
        self._clock = clock
        self._looked_at: dict[str, float] = {}
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, str], _Look] = {}

    def is_due(self, name: str) -> bool:
        """Whether a server may be asked now."""
        looked_at = self._looked_at.get(name)
        return looked_at is None or self._clock.monotonic() - looked_at >= AGAIN

    async def at(self, names: Collection[str], *, patience: float) -> None:
        """Ask these servers, all at once, and wait for their answers.

        Args:
            names: Names of their endpoints.
            patience: Seconds that this caller waits at most.
        """
        await asyncio.gather(*(self._wait_for(name, patience) for name in names))

    async def _wait_for(self, name: str, patience: float) -> None:
        place = (asyncio.get_running_loop(), name)
        look = self._under_way.get(place)
        if look is None:
            look = _Look(asyncio.ensure_future(self._look(name)))
            self._under_way[place] = look
        look.waiting += 1
        # Who has the time sees the look to its end, so that it counts.
        limit = patience if patience < SECONDS else None
        try:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(limit):
                    await asyncio.shield(look.task)
        finally:
            look.waiting -= 1
            if not look.waiting:
                self._under_way.pop(place, None)
                look.task.cancel()

    async def _look(self, name: str) -> None:
        await self._check(name, SECONDS)
        self._looked_at[name] = self._clock.monotonic()
