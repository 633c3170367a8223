"""Who is next: fair by agent, interactive before batch, and batch not forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

_INTERACTIVE_IN_A_ROW = 4
"""Turns of interactive calls after which a waiting batch call has one."""


class Waiting(Protocol):
    """One that stands in the queue."""

    @property
    def agent(self) -> str:
        """Whose call it is."""
        ...

    @property
    def is_batch(self) -> bool:
        """Whether it may wait for those that somebody is waiting for."""
        ...


W = TypeVar("W", bound=Waiting)


class Queue(Generic[W]):
    """Waiting calls in the order of their turns. Guarded by its gate's lock.

    The agents that wait take turns, whatever the number of their calls; the calls of
    one agent keep their order. Interactive calls come first, but after four of them a
    batch call that waits has its turn.
    """

    __slots__ = ("_count", "_lanes", "_streak")

    def __init__(self) -> None:
        """Begin empty."""
        # Lane (interactive, batch) -> agent, the next one first -> its calls in order.
        self._lanes: tuple[dict[str, dict[W, None]], dict[str, dict[W, None]]] = (
            {},
            {},
        )
        self._count = 0
        self._streak = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    def add(self, waiting: W) -> None:
        """Let one stand in line."""
        lane = self._lanes[waiting.is_batch]
        lane.setdefault(waiting.agent, {})[waiting] = None
        self._count += 1

    def remove(self, waiting: W) -> bool:
        """Take one out of the line that gave up; whether it stood there."""
        lane = self._lanes[waiting.is_batch]
        calls = lane.get(waiting.agent)
        if calls is None or waiting not in calls:
            return False
        del calls[waiting]
        self._count -= 1
        if not calls:
            del lane[waiting.agent]
        return True

    def take(self, waiting: W) -> None:
        """Give one its turn: its agent goes to the end of the line."""
        lane = self._lanes[waiting.is_batch]
        calls = lane.get(waiting.agent, {})
        if not self.remove(waiting):
            return
        if calls:
            del lane[waiting.agent]
            lane[waiting.agent] = calls
        if waiting.is_batch:
            self._streak = 0
        elif self._lanes[True]:
            self._streak += 1

    def first(self, may_go: Callable[[W], bool]) -> W | None:
        """Return the first in line that may go."""
        return next((w for w in self.in_order() if may_go(w)), None)

    def in_order(self) -> Iterator[W]:
        """Yield all, each where it would be next if none before it may go."""
        interactive, batch = self._lanes
        lanes = (interactive, batch)
        if self._streak >= _INTERACTIVE_IN_A_ROW:
            lanes = (batch, interactive)
        for lane in lanes:
            for calls in lane.values():
                yield from calls
