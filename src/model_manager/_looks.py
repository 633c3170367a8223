"""Looks at local servers before a call is planned: one look for all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from model_manager.types import Clock

AGAIN: Final = 60.0
"""Seconds before a server that told nothing, or lacked a model, is asked again."""


@dataclass(slots=True, eq=False)
class _Look:
    """A look under way, and how many wait for what it brings."""

    task: asyncio.Future[object]
    waiting: int = 0


class Looks:
    """Asks servers how they are, each at most once a minute and once at a time.

    Calls of one event loop share a look; a hundred first calls ask a server once. Who
    is cancelled leaves the look to the others, and the last one takes it along.
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

    async def at(self, names: Collection[str], *, seconds: float) -> None:
        """Ask these servers, all at once, and wait for their answers."""
        await asyncio.gather(*(self._at(name, seconds) for name in names))

    async def _at(self, name: str, seconds: float) -> None:
        place = (asyncio.get_running_loop(), name)
        look = self._under_way.get(place)
        if look is None:
            look = _Look(asyncio.ensure_future(self._check(name, seconds)))
            self._under_way[place] = look
        look.waiting += 1
        try:
            await asyncio.shield(look.task)
            self._looked_at[name] = self._clock.monotonic()
        finally:
            look.waiting -= 1
            if not look.waiting:
                self._under_way.pop(place, None)
                look.task.cancel()
