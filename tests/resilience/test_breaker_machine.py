"""What holds for the breaker whatever happens, in any order."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from model_manager import errors
from model_manager.config import Breaker
from model_manager.events import BreakerChanged, Event
from model_manager.resilience import Breakers, Pass
from model_manager.testing import FakeClock
from model_manager.types import Candidate, rest_of

MODELS = ("m", "n")
LEASE = 6.0
FAULTS = (
    errors.ServerError("x", status=500),
    errors.ConnectionFailedError("x"),
    errors.MalformedResponseError("x"),
    errors.StreamInterruptedError("x"),
)
SILENT = (
    errors.BadRequestError("x", status=400),
    errors.ContentFilterError("x"),
    errors.ContextWindowError("x"),
)
LIMITS = (
    errors.RateLimitError("x", status=429),
    errors.RateLimitError("x", status=429, retry_after=7.0),
)
GONE = (
    errors.AuthenticationError("x", status=401),
    errors.AuthenticationError("x", status=403),
    errors.ModelNotFoundError("x", status=404),
    errors.QuotaExhaustedError("x", status=429),
)
OUTCOMES = st.sampled_from((*FAULTS, *LIMITS, *GONE))


def candidate(model: str) -> Candidate:
    return Candidate(
        endpoint="e", kind="openai", model=model, role="primary", why="", is_local=False
    )


@dataclass(eq=False)
class Sent:
    """One call under way."""

    model: str
    leave: Pass
    at: float


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order, fail in every way, and time goes by."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(auto=False)
        self.events: list[Event] = []
        self.chances = 0.0
        self.breakers = Breakers(
            Breaker(),
            clock=self.clock,
            emit=self.events.append,
            chance=lambda: self.chances,
        )
        self.probes: dict[str, list[Sent]] = {model: [] for model in MODELS}
        self.resting_until: dict[str, float] = {}
        self.told = {"": "closed", **dict.fromkeys(MODELS, "closed")}

    @rule(target=calls, model=st.sampled_from(MODELS))
    def send(self, model: str) -> Sent | None:
        now = self.clock.monotonic()
        rest = rest_of(self.breakers.resting(), candidate(model))
        try:
            leave = self.breakers.admit(candidate(model), probe_limit=LEASE)
        except errors.UnavailableError as error:
            refused = error
        else:
            assert rest is None, "something was sent to what rests"
            return self._sent(model, leave, now)
        # The facts that routing sees and the door agree, to the second.
        assert rest is not None
        assert refused.retry_after == rest.seconds > 0
        assert refused.code == rest.kind
        return None

    def _sent(self, model: str, leave: Pass, now: float) -> Sent:
        sent = Sent(model, leave, now)
        if leave.is_probe:
            # Of those that try a model out, all but the new one are older than a lease.
            for other in self.probes[model]:
                assert other.at + LEASE <= now, "two probes at once"
            self.probes[model].append(sent)
        return sent

    def _ended(self, sent: Sent) -> None:
        if sent in self.probes[sent.model]:
            self.probes[sent.model].remove(sent)

    @rule(sent=consumes(calls))
    def succeed(self, sent: Sent | None) -> None:
        if sent is not None:
            self._ended(sent)
            sent.leave.settle("answered", first_after=0.1, limit=10.0)

    @rule(sent=consumes(calls), error=OUTCOMES)
    def fail(self, sent: Sent | None, error: errors.ProviderError) -> None:
        if sent is not None:
            self._ended(sent)
            sent.leave.settle("failed", error=error)

    @rule(sent=consumes(calls), error=st.none() | st.sampled_from(SILENT))
    def end_without_a_word(
        self, sent: Sent | None, error: errors.ProviderError | None
    ) -> None:
        if sent is None:
            return
        self._ended(sent)
        before, told = self._seen(), len(self.events)
        trying = sent.leave.is_probe
        sent.leave.settle("cancelled" if error is None else "failed", error=error)
        if not trying:
            assert self._seen() == before, "a call that says nothing changed something"
        assert len(self.events) == told

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 10.0, 31.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(chance=st.floats(0, 1, exclude_max=True))
    def turn_the_dice(self, chance: float) -> None:
        self.chances = chance

    @precondition(lambda self: self.breakers.resting())
    @rule()
    def recover(self) -> None:
        """However it came to rest, an hour and a success later it is back."""
        self.clock.advance(3601.0)
        for model in MODELS:
            leave = self.breakers.admit(candidate(model), probe_limit=LEASE)
            leave.settle("answered")
            again = self.breakers.admit(candidate(model), probe_limit=LEASE)
            assert not again.is_probe
            again.settle("cancelled")
        assert self.breakers.resting() == {}

    def _seen(self) -> dict[tuple[str, str], float]:
        return {key: rest.seconds for key, rest in self.breakers.resting().items()}

    @invariant()
    def a_rest_only_grows(self) -> None:
        now = self.clock.monotonic()
        under_way = {
            model: now + rest.seconds
            for (_, model), rest in self.breakers.resting().items()
            if "trying it out" not in rest.reason
        }
        for model, until in self.resting_until.items():
            if until > now + 1e-6 and self.told[model] != "closed":
                assert under_way.get(model, 0.0) >= until - 1e-6
        self.resting_until = under_way

    @invariant()
    def every_change_is_told_once_and_they_follow_one_another(self) -> None:
        for event in self.events:
            assert isinstance(event, BreakerChanged)
            assert event.before == self.told[event.model]
            assert event.after != event.before
            self.told[event.model] = event.after
        self.events.clear()

    @override
    def teardown(self) -> None:
        """End with nothing that a later call could not use."""
        self.clock.advance(3601.0)
        for model in MODELS:
            self.breakers.admit(candidate(model), probe_limit=LEASE).settle("answered")


BreakerMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestBreaker = BreakerMachine.TestCase


def test_of_many_threads_that_come_at_once_one_gets_the_probe() -> None:
    clock = FakeClock(auto=False)
    breakers = Breakers(Breaker(), clock=clock, emit=lambda _event: None)
    down = errors.ServerError("x", status=500)
    for _ in range(3):
        breakers.admit(candidate("m"), probe_limit=LEASE).settle("failed", error=down)
    let_through: list[Pass] = []
    for _ in range(10):
        clock.advance(40.0)
        start = threading.Barrier(8)

        def ask(start: threading.Barrier = start) -> None:
            start.wait()
            for _ in range(20):
                try:
                    leave = breakers.admit(candidate("m"), probe_limit=LEASE)
                except errors.UnavailableError:
                    continue
                let_through.append(leave)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(let_through) == 1
        let_through.pop().settle("failed", error=down)


def test_a_probe_that_is_forgotten_and_collected_does_not_wedge_it() -> None:
    clock = FakeClock(auto=False)
    breakers = Breakers(Breaker(), clock=clock, emit=lambda _event: None)
    down = errors.ServerError("x", status=500)
    for _ in range(3):
        breakers.admit(candidate("m"), probe_limit=LEASE).settle("failed", error=down)
    clock.advance(40.0)

    async def forget() -> None:
        breakers.admit(candidate("m"), probe_limit=LEASE)

    asyncio.run(forget())
    clock.advance(LEASE)
    assert breakers.admit(candidate("m"), probe_limit=LEASE).is_probe
