"""When a model that fails is left alone, who tries it out, and when it is back."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from threading import Lock, RLock
from types import MappingProxyType
from typing import Final

from model_manager.config import Breaker
from model_manager.errors import ProviderError, ProviderTimeoutError
from model_manager.events import BreakerChanged, Event
from model_manager.resilience._reasons import (
    FORBIDDEN,
    named,
    suspension,
    told,
    unavailable,
    why_open,
)
from model_manager.resilience._rests import Record, Resting, RestingAt, Shelf
from model_manager.resilience._verdict import Verdict, verdict_on
from model_manager.types import Candidate, Clock, Outcome

_NOTHING: Final[Resting] = MappingProxyType({})
_JITTER = 0.2
"""A rest is up to this share longer than stated, so that processes part company."""
_LONGEST_PROBE = 10.0
_LONGEST_TOLD_WAIT = 3600.0
_LONGEST_UNTOLD_WAIT = 60.0
_MOST_DOUBLINGS = 20


class Pass:
    """Leave to send once; `settle` it when the try ends."""

    __slots__ = (
        "_breakers",
        "_settled",
        "candidate",
        "is_probe",
        "record",
        "shelf",
        "tick",
    )

    def __init__(
        self, breakers: Breakers, candidate: Candidate, *, shelf: Shelf, record: Record
    ) -> None:
        """Let a candidate through; only `Breakers.admit` does."""
        self._breakers = breakers
        self._settled = False
        self.candidate = candidate
        self.shelf = shelf
        self.record = record
        self.tick = shelf.tick
        self.is_probe = False
        """Whether this is the one call that sees how the candidate is."""

    def settle(
        self,
        outcome: Outcome,
        *,
        error: ProviderError | None = None,
        first_after: float | None = None,
        limit: float | None = None,
        shortened: bool = False,
    ) -> None:
        """Tell how the try ended; only the first time counts.

        Args:
            outcome: `cancelled` and `skipped` say nothing about the candidate.
            error: What it ended in, where it failed.
            first_after: Seconds to the first piece, where one came.
            limit: Seconds that the first piece was allowed.
            shortened: Whether the caller's own deadline made `limit` shorter than the
                configuration does: coming near it, or passing it, is nobody's fault.
        """
        if self._settled:
            return
        self._settled = True
        if outcome == "answered":
            usual = None if shortened else limit
            self._breakers.succeeded(self, first_after=first_after, limit=usual)
        elif error is not None and outcome in {"failed", "broken"}:
            self._breakers.failed(self, error, shortened=shortened)
        elif self.is_probe:
            self._breakers.released(self)


class Breakers:
    """One breaker for each model of each endpoint, over all agents and threads.

    A breaker is *closed* while all is well, *open* after faults, in *cooldown* after a
    429, and *suspended* where a key, credit, model or memory is missing. After faults
    and suspensions it is *half open*: one real call is lent a pass, and its success
    closes it again. A rest of a whole endpoint is kept under the model `""`.
    """

    def __init__(
        self,
        settings: Breaker,
        *,
        clock: Clock,
        emit: Callable[[Event], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Begin with everything healthy.

        Args:
            settings: The configuration's `breaker` section.
            clock: Where time comes from.
            emit: Gets a `BreakerChanged` for every change, outside all locks.
            chance: Returns a random number in [0, 1), for the jitter of rests.
        """
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._chance = chance
        self._lock = Lock()
        self._shelves: dict[str, Shelf] = {}
        self._all: tuple[Shelf, ...] = ()

    def resting(self) -> Resting:
        """Return what must be left alone now.

        The key is (endpoint, model), or (endpoint, `""`) where a whole endpoint rests:
        look up both, or use `rest_of`. What has rested enough is not in it, unless one
        call is trying it out at this moment. It is a view: a look-up is cheap however
        many rest, and whoever keeps it copies its `items()`.
        """
        if any(shelf.resting for shelf in self._all):
            return RestingAt(self._shelves, self._clock.monotonic())
        return _NOTHING

    def admit(
        self, candidate: Candidate, *, probe_limit: float, again: bool = False
    ) -> Pass:
        """Return leave to send once.

        Args:
            candidate: Whom to send to.
            probe_limit: Seconds for which a pass to try it out is lent, 10 at most; a
                probe that is still silent then no longer keeps others from trying.
            again: Whether this is the retry of a call that met the 429 itself: it goes
                through a cooldown, which is for all the others. Nothing else.

        Raises:
            UnavailableError: It rests; nothing may be sent.
        """
        shelf = self._shelves.get(candidate.endpoint) or self._shelf(candidate.endpoint)
        record = shelf.records.get(candidate.model)
        if record is None:
            with shelf.lock:
                record = shelf.record_of(
                    candidate.model,
                    window=self._settings.window,
                    now=self._clock.monotonic(),
                )
        leave = Pass(self, candidate, shelf=shelf, record=record)
        if shelf.resting:
            self._ask(leave, probe_limit=probe_limit, again=again)
        return leave

    def check(self, candidate: Candidate, *, again: bool = False) -> None:
        """Refuse what rests, as `admit` does, without letting anybody through.

        Raises:
            UnavailableError: It rests; nothing may be sent.
        """
        shelf = self._shelves.get(candidate.endpoint)
        if shelf is None or not shelf.resting:
            return
        now = self._clock.monotonic()
        with shelf.lock:
            rest = shelf.rest_of(candidate.model, now=now, again=again)
        if rest is not None:
            raise unavailable(candidate, rest)

    def carry_over(self, old: Breakers, endpoints: Collection[str]) -> None:
        """Take the states of unchanged endpoints from another instance.

        The two share them from then on, so calls that end on the old one count too.
        Call it before this instance is in use.
        """
        with self._lock:
            for endpoint in endpoints:
                # The old one may be about to meet an endpoint for the first time.
                self._shelves[endpoint] = old._shelf(endpoint)
            self._all = tuple(self._shelves.values())

    def after_fork(self) -> None:
        """Forget the parent's calls and locks; what is known of models stays."""
        self._lock = Lock()
        for shelf in self._all:
            shelf.after_fork()

    def succeeded(
        self, leave: Pass, *, first_after: float | None, limit: float | None
    ) -> None:
        """Count an answer that came to its end; called by `Pass.settle`."""
        slow = (
            first_after is not None
            and limit is not None
            and first_after >= self._settings.slow_share * limit
        )
        now = self._clock.monotonic()
        shelf, record = leave.shelf, leave.record
        changes: list[BreakerChanged | None] = []
        with shelf.lock:
            if shelf.resting:
                changes += self._answered(leave)
            if record.state == "closed" and leave.tick >= record.tick:
                record.failures = 0.0
                record.in_a_row = 0
                record.level = 0
                record.cooled = 0
                record.counts_over(self._settings.window).add(now, fault=0.0, slow=slow)
                if slow:
                    changes.append(self._open_where_due(leave, "", now=now))
        self._tell(changes)

    def failed(self, leave: Pass, error: ProviderError, *, shortened: bool) -> None:
        """Count a failure by its class; called by `Pass.settle`."""
        verdict = verdict_on(error)
        timed_out = isinstance(error, ProviderTimeoutError)
        now = self._clock.monotonic()
        changes: list[BreakerChanged | None] = []
        with leave.shelf.lock:
            _take_back(leave)
            if verdict.rest == "cooldown":
                changes.append(self._cool(leave, error, now=now))
            elif verdict.rest != "none":
                changes.append(self._suspend(leave, error, verdict=verdict, now=now))
            elif verdict.fault and not (timed_out and shortened):
                changes.append(self._fault(leave, error, weight=verdict.fault, now=now))
        self._tell(changes)

    def released(self, leave: Pass) -> None:
        """Let the next call try it out; called by `Pass.settle`."""
        with leave.shelf.lock:
            _take_back(leave)

    def _shelf(self, endpoint: str) -> Shelf:
        with self._lock:
            shelf = self._shelves.get(endpoint)
            if shelf is None:
                shelf = Shelf(endpoint, RLock(), {}, {})
                self._shelves[endpoint] = shelf
                self._all = tuple(self._shelves.values())
            return shelf

    def _ask(self, leave: Pass, *, probe_limit: float, again: bool) -> None:
        """Refuse what rests; lend the pass where one call must try it out."""
        now = self._clock.monotonic()
        shelf = leave.shelf
        changes: list[BreakerChanged | None] = []
        with shelf.lock:
            leave.tick = shelf.tick
            refused = shelf.rest_of(leave.candidate.model, now=now, again=again)
            if refused is None:
                for record in shelf.with_whole(leave.record):
                    if record.state != "closed":
                        changes.append(_pass_by(record, leave, probe_limit, now=now))
                        shelf.note(record)
        self._tell(changes)
        if refused is not None:
            raise unavailable(leave.candidate, refused)

    def _answered(self, leave: Pass) -> list[BreakerChanged | None]:
        changes = []
        for record in leave.shelf.with_whole(leave.record):
            late = leave.tick < max(record.tick, record.cooled_tick)
            if record.state != "closed" and not late:
                record.level = 0
                record.cooled = 0
                changes.append(record.close("it answered"))
                leave.shelf.note(record)
        return changes

    def _fault(
        self, leave: Pass, error: ProviderError, *, weight: float, now: float
    ) -> BreakerChanged | None:
        record = leave.record
        if leave.tick < record.tick:
            return None
        record.failures += weight
        record.in_a_row += 1
        last = named(error)
        if record.must_probe:
            return self._open(leave, f"it failed again when tried out: {last}", now=now)
        slow = isinstance(error, ProviderTimeoutError)
        record.counts_over(self._settings.window).add(now, fault=weight, slow=slow)
        return self._open_where_due(leave, last, now=now)

    def _open_where_due(
        self, leave: Pass, last: str, *, now: float
    ) -> BreakerChanged | None:
        reason = why_open(leave.record, self._settings, last)
        if reason is None:
            return None
        return self._open(leave, reason, now=now)

    def _open(self, leave: Pass, reason: str, *, now: float) -> BreakerChanged | None:
        settings, record = self._settings, leave.record
        stated = settings.rest * 2.0 ** min(record.level, _MOST_DOUBLINGS)
        jittered = stated * (1 + _JITTER * self._chance())
        record.level += 1
        record.failures = 0.0
        record.in_a_row = 0
        record.counts.clear()
        record.tick = leave.shelf.next_tick()
        change = record.leave_alone(
            "breaker",
            until=now + min(jittered, settings.max_rest),
            reason=reason,
            now=now,
        )
        leave.shelf.note(record)
        return change

    def _cool(
        self, leave: Pass, error: ProviderError, *, now: float
    ) -> BreakerChanged | None:
        record, wait = leave.record, error.retry_after
        first = self._settings.rate_limit_rest
        if wait is not None:
            seconds = min(wait, _LONGEST_TOLD_WAIT)
        elif leave.tick < record.cooled_tick:
            # Many calls at once met the same limit; it doubles once for all of them.
            return None
        else:
            doubled = first * 2.0 ** min(record.cooled, _MOST_DOUBLINGS)
            seconds = min(doubled, max(first, _LONGEST_UNTOLD_WAIT))
            record.cooled += 1
        if seconds <= 0:
            return None
        record.cooled_tick = leave.shelf.next_tick()
        asked = "asked for a wait" if wait is not None else "named no wait"
        change = record.leave_alone(
            "cooldown",
            until=now + seconds,
            reason=f"its rate limit was reached ({named(error)}); it {asked}",
            now=now,
        )
        leave.shelf.note(record)
        return change

    def _suspend(
        self, leave: Pass, error: ProviderError, *, verdict: Verdict, now: float
    ) -> BreakerChanged | None:
        shelf, record = leave.shelf, leave.record
        # 401: the key is wrong for all. 403: it may be good for other models.
        if verdict.rest == "suspend_endpoint" and error.status != FORBIDDEN:
            record = shelf.record_of("", window=self._settings.window, now=now)
        if leave.tick < record.tick:
            return None
        seconds = suspension(error, leave.candidate)
        record.tick = shelf.next_tick()
        change = record.leave_alone(
            "suspended", until=now + seconds, reason=told(error), now=now
        )
        shelf.note(record)
        return change

    def _tell(self, changes: list[BreakerChanged | None]) -> None:
        for change in changes:
            if change is not None:
                self._emit(change)


def _pass_by(
    record: Record, leave: Pass, probe_limit: float, *, now: float
) -> BreakerChanged | None:
    if record.must_probe:
        leave.is_probe = True
        seconds = min(probe_limit, _LONGEST_PROBE)
        return record.lend_to(leave, now=now, seconds=seconds)
    if now < record.until:
        return None
    return record.close("the wait that it asked for is over")


def _take_back(leave: Pass) -> None:
    if leave.is_probe:
        for record in leave.shelf.with_whole(leave.record):
            if record.lease is leave:
                record.lease = None
