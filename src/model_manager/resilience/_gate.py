"""How many may be at one endpoint at once, how many a minute, and who waits."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from threading import RLock
from typing import Literal

from typing_extensions import override

from model_manager.config import Limits as LimitSettings
from model_manager.resilience._queue import Queue
from model_manager.resilience._told import Mark, Told, is_plenty
from model_manager.resilience._window import Grain, Window
from model_manager.types import RateLimit

_MOST_MODELS = 500
_ROUNDING = 1e-6
"""Seconds; a timer may be early by less than that."""


class Slot:
    """A place at an endpoint, held until its context is left.

    One that is left without `sent` counts for nothing: its request and tokens are given
    back to the rates, as if it had never been taken.
    """

    __slots__ = ("waited",)

    def __init__(self) -> None:
        """Begin with no wait."""
        self.waited = 0.0
        """Seconds that it took to get it."""

    def sent(self) -> None:
        """Tell that the request goes out now; call it right before it does."""

    def used(self, tokens: int | None) -> None:
        """Tell how many tokens, in and out, the call took in the end.

        Corrects the estimate that counts against `tokens_per_minute`; `None`, where it
        is not known, leaves it.
        """


class Place(Slot):
    """A slot of an endpoint that counts, and the call that waits for it."""

    __slots__ = (
        "agent",
        "came",
        "deadline",
        "gate",
        "grain",
        "is_batch",
        "is_sent",
        "look_at",
        "loop",
        "mark",
        "model",
        "state",
        "tokens",
        "turn",
    )

    def __init__(
        self, gate: Gate, *, agent: str, model: str, tokens: int, is_batch: bool
    ) -> None:
        """Belong to the running loop."""
        super().__init__()
        self.gate = gate
        self.agent = agent
        self.model = model
        self.tokens = tokens
        self.is_batch = is_batch
        self.is_sent = False
        self.loop = asyncio.get_running_loop()
        self.state: Literal["waiting", "held", "gone"] = "waiting"
        self.came = 0.0
        """When it began to wait."""
        self.deadline = math.inf
        self.look_at = math.inf
        """When to look again, because a rate may have room then."""
        self.turn: asyncio.Future[None] | None = None
        self.grain: Grain | None = None
        self.mark: Mark | None = None

    @override
    def sent(self) -> None:
        self.is_sent = True

    @override
    def used(self, tokens: int | None) -> None:
        if tokens is not None:
            self.gate.correct(self, tokens)

    def wake(self) -> bool:
        """Let its call look, from any thread; whether there is a loop to do so."""
        turn = self.turn
        if turn is None:
            return not self.loop.is_closed()
        if _running_loop() is self.loop:
            _resolve(turn)
            return True
        try:
            self.loop.call_soon_threadsafe(_resolve, turn)
        except RuntimeError:
            return False
        return True


class Gate:
    """Counts, windows and the queue of one endpoint, over all threads and loops.

    Everything is decided under one lock, which is never held across an await. It is
    of the kind that one thread may take twice: the garbage collector may close a
    forgotten call, which leaves its slot, while the same thread holds the lock.
    """

    def __init__(
        self, limits: LimitSettings, *, monotonic: Callable[[], float]
    ) -> None:
        """Let calls in as `limits` say."""
        self.limits = limits
        self._monotonic = monotonic
        self._lock = RLock()
        self._holders: set[Place] = set()
        self._queue: Queue[Place] = Queue()
        self._window = Window()
        self._told: dict[str, Told] = {}
        self._pumping = False
        self._left: list[Place] = []
        self.take_over(limits)

    @property
    def is_open(self) -> bool:
        """Whether nothing is limited: nothing configured, nothing told."""
        return not self._bounded and not self._told

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters how many tokens a call takes."""
        return self.limits.tokens_per_minute is not None or bool(self._told)

    @property
    def running(self) -> int:
        """How many hold a slot."""
        return len(self._holders)

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def enter(self, place: Place, *, max_wait: float) -> Refused | None:
        """Take the slot, or stand in line for it; `look` then says for how long."""
        with self._lock:
            now = self._monotonic()
            if not self._queue and not self._is_full():
                wait = self._rate_wait(place, now)
                if wait <= 0:
                    self._grant(place, now)
                    return None
            place.came, place.deadline = now, now + max_wait
            others = len(self._queue)
            self._queue.add(place)
            self._pump(now, looker=place)
            if place.state == "held":
                return None
            refused = self._refusal(place, now)
            if refused is None and others >= self.limits.max_queued:
                refused = Refused("queue", f"{others} calls wait for it already")
            if refused is not None:
                self._drop(place, now)
            return refused

    def look(self, place: Place) -> float | Refused:
        """Return the seconds until the next look; 0 once the slot is there."""
        with self._lock:
            now = self._monotonic()
            place.look_at = math.inf
            place.turn = place.loop.create_future()
            self._pump(now, looker=place)
            if place.state == "held":
                return 0.0
            refused = self._refusal(place, now)
            if refused is not None:
                self._drop(place, now)
                return refused
            return min(place.deadline, place.look_at) - now + _ROUNDING

    def leave(self, place: Place) -> None:
        """Give the slot back, or the place in the line up; only once."""
        with self._lock:
            if self._pumping:
                # Collected as garbage in the midst of handing over.
                self._left.append(place)
                return
            self._strike(place)
            if self._queue:
                self._pump(self._monotonic())

    def correct(self, place: Place, tokens: int) -> None:
        """Put what a call took in the place of what was estimated."""
        if place.grain is None:
            return
        with self._lock:
            now = self._monotonic()
            self._window.correct(place.grain, tokens - place.tokens, now=now)
            place.tokens = tokens
            self._pump(now)

    def learn(self, model: str, rate_limit: RateLimit, *, by: Place | None) -> None:
        """Take over what an answer's headers told."""
        told = self._told.get(model)
        if told is None and is_plenty(rate_limit):
            return
        with self._lock:
            now = self._monotonic()
            told = self._told.get(model)
            if told is None:
                self._make_room(now)
                told = self._told[model] = Told()
            told.learn(rate_limit, now=now, since=None if by is None else by.mark)
            if told.is_over(now):
                del self._told[model]
            self._pump(now)

    def take_over(self, limits: LimitSettings) -> None:
        """Hold calls to other limits from now on; those under way still count."""
        with self._lock:
            self.limits = limits
            self._bounded = (
                limits.concurrency is not None
                or limits.requests_per_minute is not None
                or limits.tokens_per_minute is not None
            )
            self._window.most_requests = limits.requests_per_minute
            self._window.most_tokens = limits.tokens_per_minute
            self._pump(self._monotonic())

    def after_fork(self) -> None:
        """Forget the parent's calls and locks; what was begun and told stays."""
        self._lock = RLock()
        self._holders = set()
        self._queue = Queue()
        self._pumping = False
        self._left = []

    def _strike(self, place: Place) -> None:
        if place.state == "waiting":
            self._queue.remove(place)
        elif place.state == "held" and not place.is_sent:
            self._take_back(place)
        place.state = "gone"
        self._holders.discard(place)

    def _is_full(self) -> bool:
        most = self.limits.concurrency
        if most is None or len(self._holders) < most:
            return False
        # A loop that was closed under its calls does not give their slots back.
        for place in [p for p in self._holders if p.loop.is_closed()]:
            place.state = "gone"
            self._holders.discard(place)
        return len(self._holders) >= most

    def _rate_wait(self, place: Place, now: float) -> float:
        return max(
            self._window.wait_for(place.tokens, now=now), self._told_wait(place, now)
        )

    def _told_wait(self, place: Place, now: float) -> float:
        told = self._told.get(place.model)
        if told is None:
            return 0.0
        if told.is_over(now):
            del self._told[place.model]
            return 0.0
        return told.wait_for(place.tokens, now=now)

    def _grant(self, place: Place, now: float) -> None:
        place.state = "held"
        self._holders.add(place)
        place.grain = self._window.add(place.tokens, now=now)
        told = self._told.get(place.model)
        if told is not None:
            place.mark = told.begin(place.tokens)

    def _take_back(self, place: Place) -> None:
        """Give the rates back what nothing was sent for."""
        if place.grain is not None:
            self._window.take_back(place.grain, place.tokens)
        if place.mark is not None:
            place.mark.told.take_back(place.mark)

    def _pump(self, now: float, *, looker: Place | None = None) -> None:
        """Hand slots to those whose turn it is, as long as there are any."""
        self._pumping = True
        try:
            while self._hand_over(now, looker) or self._left:
                while self._left:
                    self._strike(self._left.pop())
        finally:
            self._pumping = False

    def _hand_over(self, now: float, looker: Place | None) -> bool:
        """Give one slot to the next in line; whether the line has moved."""
        if not self._queue or self._is_full():
            return False

        def may_go(place: Place) -> bool:
            # What was told of one model does not hold up the others.
            wait = self._told_wait(place, now)
            if wait > 0:
                self._look_at(place, now + wait, looker)
            return wait <= 0

        place = self._queue.first(may_go)
        if place is None:
            return False
        if not place.loop.is_closed():
            wait = self._window.wait_for(place.tokens, now=now)
            if wait > 0:
                self._look_at(place, now + wait, looker)
                return False
        self._queue.take(place)
        if place is looker or place.wake():
            self._grant(place, now)
        else:
            place.state = "gone"
        return True

    @staticmethod
    def _look_at(place: Place, at: float, looker: Place | None) -> None:
        if at < place.look_at:
            place.look_at = at
            if place is not looker:
                place.wake()

    def _refusal(self, place: Place, now: float) -> Refused | None:
        wait = self._rate_wait(place, now)
        left = place.deadline - now - _ROUNDING
        if wait > 0 and wait > left:
            return Refused("limit", "its rate limit is reached", retry_after=wait)
        if left <= 0:
            waited = now - place.came
            reason = f"its turn did not come within {waited:.1f} s"
            return Refused("queue", f"{reason}, with {self.running} at work there")
        return None

    def _drop(self, place: Place, now: float) -> None:
        self._strike(place)
        self._pump(now)

    def _make_room(self, now: float) -> None:
        if len(self._told) >= _MOST_MODELS:
            for model in [m for m, told in self._told.items() if told.is_over(now)]:
                del self._told[model]
        if len(self._told) >= _MOST_MODELS:
            del self._told[next(iter(self._told))]


class Refused:
    """Why a call may not wait, or not any longer."""

    __slots__ = ("code", "reason", "retry_after")

    def __init__(
        self,
        code: Literal["queue", "limit"],
        reason: str,
        *,
        retry_after: float | None = None,
    ) -> None:
        """Say why in words."""
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


def _running_loop() -> asyncio.AbstractEventLoop | None:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
