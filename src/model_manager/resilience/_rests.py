"""What the breaker remembers of one model, or of a whole endpoint."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from threading import RLock

from typing_extensions import override

from model_manager.events import BreakerChanged, BreakerState
from model_manager.types import Rest, RestKind

Resting = Mapping[tuple[str, str], Rest]

_BUCKETS = 10
MOST_MODELS = 500
"""Models of one endpoint that are remembered; callers may name models freely."""
_SHOWN: dict[RestKind, BreakerState] = {
    "breaker": "open",
    "cooldown": "cooldown",
    "suspended": "suspended",
}


class Counts:
    """Calls, faults and slow calls of the last seconds, in a ring of ten buckets."""

    __slots__ = ("_at", "_ring", "_width", "calls", "faults", "slow", "window")

    def __init__(self, window: float) -> None:
        """Count over `window` seconds."""
        self.window = window
        self._width = window / _BUCKETS
        self._ring: list[tuple[int, float, int]] = []
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._ring = [(0, 0.0, 0)] * _BUCKETS
        self._at = -_BUCKETS
        self.calls = 0
        self.faults = 0.0
        self.slow = 0

    def add(self, now: float, *, fault: float, slow: bool) -> None:
        """Count one call that ended now."""
        at = int(now / self._width)
        if at > self._at:
            self._turn_to(at)
        place = self._at % _BUCKETS
        calls, faults, slow_ones = self._ring[place]
        self._ring[place] = (calls + 1, faults + fault, slow_ones + slow)
        self.calls += 1
        self.faults += fault
        self.slow += slow

    def _turn_to(self, at: int) -> None:
        for step in range(max(self._at + 1, at - _BUCKETS + 1), at + 1):
            calls, faults, slow = self._ring[step % _BUCKETS]
            self.calls -= calls
            self.faults -= faults
            self.slow -= slow
            self._ring[step % _BUCKETS] = (0, 0.0, 0)
        self._at = at

    def is_idle(self, now: float) -> bool:
        """Whether nothing ended within the window."""
        return int(now / self._width) - self._at >= _BUCKETS


class Record:
    """How one model of an endpoint is regarded; `model` is empty for all of them.

    Guarded by its shelf's lock.
    """

    __slots__ = (
        "cooled",
        "cooled_tick",
        "counts",
        "endpoint",
        "failures",
        "in_a_row",
        "kind",
        "lease",
        "lease_until",
        "level",
        "model",
        "must_probe",
        "reason",
        "state",
        "tick",
        "until",
    )

    def __init__(self, endpoint: str, model: str, *, window: float) -> None:
        """Begin healthy."""
        self.endpoint = endpoint
        self.model = model
        self.state: BreakerState = "closed"
        self.kind: RestKind = "breaker"
        self.reason = ""
        self.until = 0.0
        """When the rest ends; while it rests, it never moves back."""
        self.must_probe = False
        """Whether one call must succeed after the rest before all may be sent."""
        self.lease: object | None = None
        """The one call that is let through to see how it is."""
        self.lease_until = 0.0
        self.failures = 0.0
        """Weights of the faults since the last success."""
        self.in_a_row = 0
        self.level = 0
        """Rests since the last success; each is twice as long as the one before."""
        self.cooled = 0
        """The same for 429s that named no wait."""
        self.tick = 0
        """Results of calls that were let through before this tick are late."""
        self.cooled_tick = 0
        self.counts = Counts(window)

    @property
    def is_only_cooling(self) -> bool:
        """Whether a limit was reached, and nothing else is the matter."""
        return self.state == "cooldown" and not self.must_probe

    def counts_over(self, window: float) -> Counts:
        """Return its counts; begun anew where the window is another than before."""
        if self.counts.window != window:
            self.counts = Counts(window)
        return self.counts

    def leave_alone(
        self, kind: RestKind, *, until: float, reason: str, now: float
    ) -> BreakerChanged | None:
        """Let it rest, unless it rests for longer already."""
        self.lease = None
        if kind != "cooldown":
            self.must_probe = True
        if self.state != "closed" and until <= self.until:
            return None
        self.until = until
        self.kind = kind
        self.reason = reason
        return self._change(_SHOWN[kind], reason, seconds=until - now)

    def lend_to(
        self, lease: object, *, now: float, seconds: float
    ) -> BreakerChanged | None:
        """Let one call through to see how it is."""
        self.lease = lease
        self.lease_until = now + seconds
        return self._change("half_open", f"one call tries it out: {self.reason}")

    def close(self, reason: str) -> BreakerChanged | None:
        """Regard it as healthy."""
        self.until = 0.0
        self.must_probe = False
        self.lease = None
        self.failures = 0.0
        self.in_a_row = 0
        self.counts.clear()
        return self._change("closed", reason)

    def rest_at(self, now: float) -> Rest | None:
        """Return why nothing may be sent now, or `None`."""
        if self.state == "closed":
            return None
        if now < self.until:
            return Rest(kind=self.kind, reason=self.reason, seconds=self.until - now)
        if self.lease is not None and now < self.lease_until:
            reason = f"one call is trying it out just now, after {self.reason}"
            return Rest(kind="breaker", reason=reason, seconds=self.lease_until - now)
        return None

    def _change(
        self, state: BreakerState, reason: str, *, seconds: float | None = None
    ) -> BreakerChanged | None:
        before = self.state
        self.state = state
        if before == state:
            return None
        return BreakerChanged(
            endpoint=self.endpoint,
            model=self.model,
            before=before,
            after=state,
            reason=reason,
            seconds=seconds,
        )


@dataclass(slots=True, eq=False)
class Shelf:
    """All that is remembered of one endpoint; shared by the runtimes that know it."""

    endpoint: str
    lock: RLock
    """Of the kind that one thread may take twice: the garbage collector may close a
    forgotten call, which settles, while the same thread holds the lock."""
    records: dict[str, Record]
    resting: dict[str, Record]
    """Those of `records` that are not closed."""
    tick: int = 0
    """Counts rests; a result is late for those that began after its call."""

    def record_of(self, model: str, *, window: float, now: float) -> Record:
        """Return what is remembered of a model, from the first time on."""
        record = self.records.get(model)
        if record is None:
            if len(self.records) >= MOST_MODELS:
                self._make_room(now)
            record = Record(self.endpoint, model, window=window)
            record.tick = record.cooled_tick = self.tick
            self.records[model] = record
        return record

    def with_whole(self, record: Record) -> list[Record]:
        """Return what decides about a model: the endpoint's own record and its own."""
        whole = self.records.get("")
        return [record] if whole is None else [whole, record]

    def rest_of(self, model: str, *, now: float, again: bool) -> Rest | None:
        """Return why a model may not be asked now: the longer of the two reasons.

        Args:
            model: The model.
            now: The time.
            again: Whether the call itself met the limit that it is left alone for.
        """
        longest: Rest | None = None
        for record in (self.resting.get(""), self.resting.get(model)):
            if record is None or (again and record.is_only_cooling):
                continue
            rest = record.rest_at(now)
            if rest is not None and (longest is None or rest.seconds > longest.seconds):
                longest = rest
        return longest

    def next_tick(self) -> int:
        """Return the tick of a rest that begins now."""
        self.tick += 1
        return self.tick

    def after_fork(self) -> None:
        """Forget the parent's calls, and the lock that one of them may have held."""
        self.lock = RLock()
        for record in self.resting.values():
            record.lease = None

    def note(self, record: Record) -> None:
        """Keep `resting` right after a change."""
        if record.state == "closed":
            self.resting.pop(record.model, None)
        else:
            self.resting[record.model] = record

    def _make_room(self, now: float) -> None:
        idle = [
            r.model
            for r in self.records.values()
            if r.state == "closed" and not r.failures and r.counts.is_idle(now)
        ]
        if not idle:
            # What rests for the shortest time is the smallest loss; healthy ones have
            # rested longest ago.
            idle = [min(self.records.values(), key=lambda r: r.until).model]
        for model in idle:
            del self.records[model]
            self.resting.pop(model, None)


class RestingAt(Mapping[tuple[str, str], Rest]):
    """What rests at one moment, looked up as it is asked for.

    A look-up costs the same however many rest. To keep it, copy its `items()`: what is
    closed meanwhile is no longer in it.
    """

    __slots__ = ("_now", "_shelves")

    def __init__(self, shelves: Mapping[str, Shelf], now: float) -> None:
        """Look into these shelves, by endpoint, as of `now`."""
        self._shelves = shelves
        self._now = now

    @override
    def __getitem__(self, place: tuple[str, str], /) -> Rest:
        endpoint, model = place
        shelf = self._shelves.get(endpoint)
        if shelf is not None and model in shelf.resting:
            with shelf.lock:
                record = shelf.resting.get(model)
                rest = None if record is None else record.rest_at(self._now)
            if rest is not None:
                return rest
        raise KeyError(place)

    @override
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._all())

    @override
    def __len__(self) -> int:
        return len(self._all())

    # Those of `Mapping` look every key up again, by when it may be gone.

    @override
    def items(self) -> ItemsView[tuple[str, str], Rest]:
        return self._all().items()

    @override
    def values(self) -> ValuesView[Rest]:
        return self._all().values()

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._all()!r})"

    def _all(self) -> dict[tuple[str, str], Rest]:
        found: dict[tuple[str, str], Rest] = {}
        for shelf in tuple(self._shelves.values()):
            with shelf.lock:
                # A copy: a forgotten call may be collected, and settled, meanwhile.
                for model, record in tuple(shelf.resting.items()):
                    rest = record.rest_at(self._now)
                    if rest is not None:
                        found[shelf.endpoint, model] = rest
        return found
