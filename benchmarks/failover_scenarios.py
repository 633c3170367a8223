"""The sixteen scenarios of the Failover Bench: the faults, and what is looked at.

After failoverbench/failoverbench, methodology v0.1, written anew for this library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from model_manager import Response
from model_manager.testing import (
    BadChunk,
    CutStream,
    HttpFault,
    NoEndMark,
    Outcome,
    Reset,
    Silence,
    SlowFirstToken,
    StallStream,
)

Verdict: TypeAlias = Literal["pass", "partial", "safe", "fail"]
FAILING, HEALTHY = "failing-model", "healthy-model"
PROMPT = "In sixty words, say how a ferry keeps its timetable when one engine fails."
ANSWER = (
    "A ferry keeps its timetable because nobody aboard waits for a broken engine to "
    "explain itself. The second engine already turns, the crew notices the silence "
    "within seconds, and the helm moves before passengers lift their eyes. Later, in "
    "harbour, somebody listens carefully, tries the first engine once, gently, and "
    "only trusts it again after it has answered without coughing."
)
assert len(ANSWER.split()) == 60  # noqa: PLR2004 - as many as the prompt asks for
MOST_SENDS, MOST_ADDED, BACK_WITHIN = 5, 1.1, 30.0
"""The bars of the outage: sends to the dead model, seconds added a call, seconds."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long the faults last, in seconds."""

    first_token: float = 20.0
    stall: float = 30.0
    silence: float = 120.0
    outage: float = 60.0
    calls: int = 20
    every: float = 4.0
    call_limit: float = 30.0
    piece: float = 0.015


FULL = Times()
FAST = Times(
    first_token=3.0,
    stall=4.0,
    silence=15.0,
    outage=6.0,
    calls=16,
    every=1.2,
    call_limit=10.0,
    piece=0.005,
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One call as its caller saw it, or several as one."""

    seconds: float = 0.0
    text: str = ""
    response: Response[Any] | None = None
    error: str = ""
    hung: bool = False
    sent: tuple[float, ...] = ()
    """When the failing model was asked, in seconds from the scenario's start."""
    helped: int = 0
    """How often the healthy one was asked."""
    prefilled: int = 0
    """Requests that ended in a beginning of the answer."""
    alive: bool = False
    """Whether a healthy call succeeded afterwards."""

    @property
    def answered(self) -> bool:
        """Whether the call ended as a success."""
        return self.response is not None

    @property
    def complete(self) -> bool:
        """Whether the caller holds the whole answer, and nothing else."""
        return self.answered and self.text.split() == ANSWER.split()

    @property
    def gap(self) -> float:
        """Seconds between the first two sends; 0 where there was one."""
        return self.sent[1] - self.sent[0] if len(self.sent) > 1 else 0.0

    def sent_within(self, seconds: float) -> int:
        """Return how many sends came so soon after the first."""
        return sum(at - self.sent[0] < seconds for at in self.sent)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that is looked at."""

    name: str
    holds: Callable[[Seen], bool]
    advisory: bool = False
    """Whether a failure costs the pass only."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fault, and what good conduct is."""

    id: str
    title: str
    fault: Callable[[Times], Outcome]
    checks: tuple[Check, ...] = ()
    limit: float = 40.0
    """Seconds after which a call hangs."""
    once: bool = False
    refusal_is_right: bool = False


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What the scenario with many calls measures besides."""

    sends: int = 0
    """To the dead model, while it was dead."""
    added: float = 0.0
    """Mean seconds that its calls took longer than a healthy one."""
    back_after: float | None = None
    """Seconds from recovery to the next answer of the model."""
    unanswered: int = 0

    @property
    def holds(self) -> bool:
        """Whether all bars hold."""
        return (
            self.sends <= MOST_SENDS
            and self.added <= MOST_ADDED
            and self.back_after is not None
            and self.back_after <= BACK_WITHIN
        )


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A scenario with its verdict."""

    scenario: Scenario
    seen: Seen
    verdict: Verdict
    failed: tuple[str, ...] = ()
    outage: Outage | None = None


def _sends(least: int = 0, most: int = 6, *, advisory: bool = False) -> Check:
    return Check(
        name=f"{least} to {most} sends",
        holds=lambda seen: least <= len(seen.sent) <= most,
        advisory=advisory,
    )


def _takes_at_most(seconds: float, *, advisory: bool = False) -> Check:
    return Check(
        name=f"at most {seconds:g} s",
        holds=lambda seen: not seen.hung and seen.seconds <= seconds,
        advisory=advisory,
    )


def _at_most_within(sends: int, seconds: float) -> Check:
    return Check(
        name=f"at most {sends} sends in {seconds:g} s",
        holds=lambda seen: seen.sent_within(seconds) <= sends,
    )


_NOT_TRUNCATED = Check(
    name="no half answer as a success",
    holds=lambda seen: not seen.answered or seen.complete,
)
_ALIVE = Check(name="alive afterwards", holds=lambda seen: seen.alive)
_USAGE = Check(
    name="usage told",
    holds=lambda seen: bool(seen.response and seen.response.usage.output_tokens),
    advisory=True,
)
_BUSY = HttpFault(503)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        id="S01",
        title="429, retry after 2 s, once",
        fault=lambda _: HttpFault(429, retry_after=2),
        once=True,
        limit=20,
        checks=(
            _sends(2, 99, advisory=True),
            Check(
                name="the wait is kept",
                holds=lambda seen: seen.gap >= 1.8,  # noqa: PLR2004 - of 2 s asked
                advisory=True,
            ),
            _at_most_within(2, 1.5),
        ),
    ),
    Scenario(
        id="S02",
        title="429 without a wait, always",
        fault=lambda _: HttpFault(429),
        checks=(_at_most_within(4, 3), _sends()),
    ),
    Scenario(
        id="S03",
        title="500 once",
        fault=lambda _: HttpFault(500),
        once=True,
        limit=20,
        checks=(_sends(2, 99, advisory=True),),
    ),
    Scenario(id="S04", title="503 always", fault=lambda _: _BUSY, checks=(_sends(),)),
    Scenario(
        id="S05",
        title="reset before headers, once",
        fault=lambda _: Reset(),
        once=True,
        limit=20,
    ),
    Scenario(
        id="S06",
        title="no response at all",
        fault=lambda times: Silence(times.silence),
        limit=130,
        checks=(_takes_at_most(100), _sends(0, 1, advisory=True)),
    ),
    Scenario(
        id="S07",
        title="slow first token",
        fault=lambda times: SlowFirstToken(times.first_token),
        limit=60,
        checks=(_takes_at_most(15, advisory=True),),
    ),
    Scenario(
        id="S08",
        title="stream cut after 40 pieces",
        fault=lambda _: CutStream(after=40),
        checks=(_NOT_TRUNCATED,),
    ),
    Scenario(
        id="S09",
        title="stream stalls after 20 pieces",
        fault=lambda times: StallStream(after=20, seconds=times.stall),
        limit=70,
        checks=(_takes_at_most(45), _NOT_TRUNCATED, _ALIVE),
    ),
    Scenario(
        id="S10",
        title="unreadable chunk in the stream",
        fault=lambda _: BadChunk(after=10),
        limit=30,
        checks=(
            _ALIVE,
            _NOT_TRUNCATED,
            Check(
                name="recovered in place",
                holds=lambda seen: seen.complete,
                advisory=True,
            ),
        ),
    ),
    Scenario(
        id="S11",
        title="complete, but no [DONE]",
        fault=lambda _: NoEndMark(),
        limit=30,
        checks=(_takes_at_most(8), _USAGE),
    ),
    Scenario(
        id="S12",
        title="prompt longer than the window",
        fault=lambda _: HttpFault(400, code="context_length_exceeded"),
        limit=20,
        checks=(_sends(1, 1),),
    ),
    Scenario(
        id="S13",
        title="refused for its content",
        fault=lambda _: HttpFault(400, code="content_policy_violation"),
        limit=20,
        refusal_is_right=True,
        checks=(_sends(1, 1),),
    ),
    Scenario(
        id="S14",
        title="cut; the other takes no prefill",
        fault=lambda _: CutStream(after=40),
        checks=(
            Check(
                name="no refused prefill as the error",
                holds=lambda seen: seen.answered or not seen.prefilled,
            ),
            _NOT_TRUNCATED,
        ),
    ),
    Scenario(id="S15", title="outage, then healthy", fault=lambda _: _BUSY, limit=200),
    Scenario(
        id="S16",
        title="accounting of a fallback",
        fault=lambda _: _BUSY,
        checks=(
            Check(
                name="the answering model is told",
                holds=lambda seen: bool(
                    seen.response and seen.response.model == HEALTHY
                ),
            ),
            _USAGE,
            _sends(),
        ),
    ),
)
