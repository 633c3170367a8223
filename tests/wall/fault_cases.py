"""The table of faults: what breaks, and what then reaches whoever asked.

One row is one fault. The tests run every row for each protocol, streamed and whole,
with a healthy model behind the failing one and without; `docs/measure_faults.py` runs
the same rows for the page on faults.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal, TypeAlias

from model_manager import errors
from model_manager.testing import (
    Answer,
    AnswerWith,
    BadChunk,
    BlackHole,
    CutAfter,
    CutStream,
    EmptyAnswer,
    EndEarly,
    HalfCloseAfter,
    HttpFault,
    InsertAt,
    InStreamError,
    InvalidJson,
    NoEndMark,
    Outcome,
    PassOn,
    Redirect,
    Refuse,
    Reset,
    ResetAfter,
    Silence,
    SlowFirstToken,
    Spoil,
    StallStream,
)

Speaks: TypeAlias = Literal["openai", "anthropic", "ollama"]
Way: TypeAlias = Literal["whole", "streamed"]
WAYS: tuple[Way, ...] = ("whole", "streamed")
PROTOCOLS: tuple[Speaks, ...] = ("openai", "anthropic", "ollama")
LIMIT = 0.3
"""Seconds: every time limit of the calls that the tests make."""
SPOILS = (
    AnswerWith,
    BlackHole,
    CutAfter,
    HalfCloseAfter,
    InsertAt,
    PassOn,
    Refuse,
    ResetAfter,
)
LONG = Answer(
    text="A long answer, told in many pieces. " * 100, chunk_size=60, pause=0.001
)
"""In all three protocols, byte 1,800 stands in its middle, streamed or not."""
_MIDDLE = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """The server is not there at all."""

    how: Literal["refused", "no such name"]


Does: TypeAlias = Callable[[Speaks], Outcome] | Outcome | Spoil | Down


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What follows a fault."""

    error: type[errors.ProviderError] | None = None
    """How its attempts end; `None`: they do not fail."""
    sends: int = 1
    """How often the failing model is asked while another one stands behind it."""
    by: Literal["first", "second"] | None = "second"
    """Who answers; `None`: nobody else is asked."""
    resets: int = 0
    """`StreamReset` events on the way."""
    alone: type[errors.ModelManagerError] | None = errors.AllCandidatesFailedError
    """What is raised where nobody stands behind it; `None`: it is answered."""
    sends_alone: int | None = None
    resets_alone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault, and what follows it in a whole and in a streamed call."""

    fault: str
    does: Does
    whole: Told | None
    streamed: Told | None
    ollama_whole: Told | None = None
    """Where it is not as the others: Ollama's whole answers are streams on the wire."""
    once: bool = False
    """Only the first request meets it."""
    protocols: tuple[Speaks, ...] = PROTOCOLS
    structured: bool = False
    """Whether the call asks for a structure."""
    waits: bool = False
    """Whether a time limit has to pass."""
    long: bool = False
    """Whether the failing model's answer is long."""

    @property
    def name(self) -> str:
        """The fault as a test's name."""
        return re.sub(r"\W+", "-", self.fault.lower()).strip("-")

    def told(self, speaks: Speaks, way: Way) -> Told | None:
        """Return what follows in this protocol, or `None` where it cannot happen."""
        if way == "streamed":
            return self.streamed
        return (speaks == "ollama" and self.ollama_whole) or self.whole

    @property
    def spoils(self) -> bool:
        """Whether the connection is spoiled, by the proxy, and not the answer."""
        return isinstance(self.does, SPOILS)

    def outcome(self, speaks: Speaks) -> Outcome | Spoil | Down:
        """Return what happens in this protocol."""
        return self.does(speaks) if callable(self.does) else self.does


AGAIN_THEN_NEXT = 2
_ANSWERED = Told(by="first", alone=None)


def _failed(error: type[errors.ProviderError], sends: int = 1) -> Told:
    return Told(error=error, sends=sends)


def _final(error: type[errors.ProviderError]) -> Told:
    return Told(error=error, by=None, alone=error)


def _broken(error: type[errors.ProviderError]) -> Told:
    """Pieces were handed out: another begins anew, or the same where it is the last."""
    return Told(
        error=error,
        resets=1,
        alone=errors.StreamBrokenError,
        sends_alone=2,
        resets_alone=1,
    )


def _both(fault: str, does: Does, told: Told, **more: Any) -> Case:
    """Return a row in which it makes no difference how the call is made."""
    return Case(fault=fault, does=does, whole=told, streamed=told, **more)


def _retried(told: Told) -> Told:
    """Return what follows where the fault is met once only."""
    return replace(told, sends=2, by="first", resets=0, alone=None)


def _quota(speaks: Speaks) -> Outcome:
    if speaks == "anthropic":
        return HttpFault(400, type="billing_error")
    return HttpFault(429, code="insufficient_quota", type="insufficient_quota")


def _overflow(speaks: Speaks) -> Outcome:
    if speaks == "openai":
        return HttpFault(400, code="context_length_exceeded")
    if speaks == "anthropic":
        return HttpFault(400, message="prompt is too long: 9 tokens > 8 maximum")
    return HttpFault(400, message="the input exceeds the available context size")


def _date(_speaks: Speaks) -> Outcome:
    then = datetime.now(UTC) + timedelta(seconds=20)
    return HttpFault(429, headers={"retry-after": format_datetime(then, usegmt=True)})


def _page(body: str, **headers: str) -> HttpFault:
    return HttpFault(200, body=body, headers=headers)


def _zipped() -> AnswerWith:
    body = gzip.compress(b"{}" * 500)[:-20] + b"\xff" * 20
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return AnswerWith(head.encode() + body)


def _oversized_line() -> AnswerWith:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    return AnswerWith(head + b"data: " + b"x" * (40 << 20))


def _oversized_header() -> AnswerWith:
    return AnswerWith(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n{}")


_PLAIN = "something is wrong"
"""Words that say nothing: some of Ollama's are read."""
_500 = HttpFault(500, message=_PLAIN)
_LOST = _failed(errors.ConnectionFailedError, AGAIN_THEN_NEXT)
_FAILED = _failed(errors.ServerError, AGAIN_THEN_NEXT)
_BUSY = _failed(errors.OverloadedError, AGAIN_THEN_NEXT)
_SILENT = _failed(errors.ProviderTimeoutError)
_LIMITED = _failed(errors.RateLimitError)
_MALFORMED = _failed(errors.MalformedResponseError, AGAIN_THEN_NEXT)
_CUT = _failed(errors.StreamInterruptedError, AGAIN_THEN_NEXT)
_CUT_LATE = _broken(errors.StreamInterruptedError)

_BEFORE_ANY_BYTE = (
    _both("connection refused", Down(how="refused"), _LOST),
    _both("no such host name", Down(how="no such name"), _LOST),
    _both("reset before any byte", Reset(), _LOST),
    _both("reset once", Reset(), _retried(_LOST), once=True),
    _both("silence", Silence(), _SILENT, waits=True),
)
_STATUSES = (
    _both("status 500", _500, _FAILED),
    _both("status 502", HttpFault(502), _FAILED),
    _both("status 503", HttpFault(503), _BUSY),
    _both("status 504", HttpFault(504), _FAILED),
    _both("status 529", HttpFault(529), _BUSY),
    _both("status 408", HttpFault(408), _FAILED),
    _both("status 409", HttpFault(409), _FAILED),
    _both("status 500 once", _500, _retried(_FAILED), once=True),
    _both("a gateway's page with 502", HttpFault(502, body="<html>bad"), _FAILED),
    _both("429, retry after 20 s", HttpFault(429, retry_after=20), _LIMITED),
    _both("429, retry after a date in 20 s", _date, _LIMITED),
    _both(
        "429, retry after 20,000 ms",
        HttpFault(429, headers={"retry-after-ms": "20000"}),
        _LIMITED,
    ),
    _both(
        "429 once, retry after 50 ms",
        HttpFault(429, headers={"retry-after-ms": "50"}),
        _retried(_LIMITED),
        once=True,
    ),
    _both("429 without a wait", HttpFault(429), replace(_LIMITED, sends=2)),
    _both(
        "no quota left",
        _quota,
        _failed(errors.QuotaExhaustedError),
        protocols=("openai", "anthropic"),
    ),
    _both("status 402", HttpFault(402), _failed(errors.QuotaExhaustedError)),
    _both("status 401", HttpFault(401), _failed(errors.AuthenticationError)),
    _both("status 403", HttpFault(403), _failed(errors.AuthenticationError)),
    _both("404, no such model", HttpFault(404), _failed(errors.ModelNotFoundError)),
    _both(
        "out of memory",
        HttpFault(500, message="CUDA error: out of memory"),
        _failed(errors.LocalResourceError),
        protocols=("ollama",),
    ),
    _both(
        "unsupported parameter",
        HttpFault(400, code="unsupported_parameter"),
        _failed(errors.UnsupportedFeatureError),
        protocols=("openai",),
    ),
    _both(
        "status 413",
        HttpFault(413),
        replace(_final(errors.ContextWindowError), by="second"),
        protocols=("openai", "anthropic"),
    ),
    _both(
        "prompt longer than the window",
        _overflow,
        replace(_final(errors.ContextWindowError), by="second"),
    ),
    _both(
        "content policy",
        HttpFault(400, code="content_policy_violation"),
        _final(errors.ContentFilterError),
        protocols=("openai",),
    ),
    _both(
        "refusal in place of an answer",
        Answer(finish_reason="content_filter"),
        _final(errors.ContentFilterError),
        protocols=("openai", "anthropic"),
    ),
    _both("status 400", HttpFault(400, message=_PLAIN), _final(errors.BadRequestError)),
    _both("status 422", HttpFault(422, message=_PLAIN), _final(errors.BadRequestError)),
    _both(
        "redirect",
        Redirect("http://127.0.0.1:9/elsewhere"),
        _failed(errors.ModelNotFoundError),
    ),
)
_BODIES = (
    Case(
        fault="empty body",
        does=_page("", **{"Content-Type": "application/json"}),
        whole=_MALFORMED,
        ollama_whole=_CUT,
        streamed=_CUT,
    ),
    _both("empty answer", EmptyAnswer(), _MALFORMED),
    _both("malformed JSON", InvalidJson(), _MALFORMED),
    Case(
        fault="HTML in place of JSON",
        does=_page("<html>Hello</html>"),
        whole=_MALFORMED,
        ollama_whole=_CUT,
        streamed=_CUT,
    ),
    _both(
        "wrong content type",
        replace(LONG, headers={"Content-Type": "text/plain"}),
        _ANSWERED,
    ),
    _both("broken gzip", _zipped(), _MALFORMED),
    _both("header of 200 kB", _oversized_header(), _MALFORMED),
    Case(
        fault="line of 40 MB",
        does=_oversized_line(),
        whole=None,
        streamed=_MALFORMED,
        protocols=("openai", "anthropic"),
    ),
    Case(
        fault="answer without the asked structure",
        does=Answer(text='{"town": 1}'),
        whole=_failed(errors.OutputInvalidError, AGAIN_THEN_NEXT),
        streamed=_broken(errors.OutputInvalidError),
        structured=True,
    ),
    Case(
        fault="truncated JSON",
        does=EndEarly(),
        whole=_MALFORMED,
        streamed=None,
        protocols=("openai", "anthropic"),
    ),
)
_IN_THE_STREAM = (
    _both(
        "error in the first event", InStreamError(status=500, message=_PLAIN), _FAILED
    ),
    _both("cut before the first piece", CutStream(after=0), _CUT),
    _both("headers, then silence", StallStream(after=0), _SILENT, waits=True),
    Case(
        fault="cut after three pieces",
        does=CutStream(after=3),
        whole=_CUT,
        streamed=_CUT_LATE,
    ),
    Case(
        fault="stall after three pieces",
        does=StallStream(after=3),
        whole=_SILENT,
        ollama_whole=_CUT,
        streamed=_broken(errors.StreamInterruptedError),
        waits=True,
    ),
    Case(
        fault="error after three pieces",
        does=InStreamError(status=500, after=3, message=_PLAIN),
        whole=_FAILED,
        streamed=_broken(errors.ServerError),
    ),
    Case(
        fault="end without a reason after three pieces",
        does=EndEarly(after=3),
        whole=None,
        ollama_whole=_CUT,
        streamed=_CUT_LATE,
    ),
    Case(
        fault="one unreadable chunk",
        does=BadChunk(after=3),
        whole=None,
        streamed=_ANSWERED,
    ),
    Case(
        fault="three unreadable chunks",
        does=BadChunk(after=3, count=3),
        whole=None,
        streamed=_ANSWERED,
    ),
    Case(
        fault="four unreadable chunks",
        does=BadChunk(after=3, count=4),
        whole=None,
        streamed=_broken(errors.MalformedResponseError),
    ),
    Case(
        fault="complete, but no end mark",
        does=NoEndMark(),
        whole=None,
        streamed=_ANSWERED,
        protocols=("openai", "anthropic"),
    ),
)
_ON_THE_WAY = (
    _both("reset as soon as connected", Refuse(), _LOST),
    _both("black hole", BlackHole(), _SILENT, waits=True),
    _both("garbage in place of HTTP", AnswerWith(), _MALFORMED),
    _both("cut within the headers", CutAfter(30), _LOST),
    _both("reset within the headers", ResetAfter(30), _LOST),
    _both("half-closed within the headers", HalfCloseAfter(30), _LOST),
    _both("late, but in time", SlowFirstToken(LIMIT / 5), _ANSWERED),
    _both("slow to connect", PassOn(connect_delay=LIMIT / 5), _ANSWERED),
    _both("slow to answer", PassOn(first_byte_delay=LIMIT / 5), _ANSWERED),
    _both("a trickle", PassOn(piece=200, pause=0.001), _ANSWERED),
    _both(
        "a trickle of one byte in 100 ms",
        PassOn(piece=1, pause=0.1),
        _SILENT,
        waits=True,
    ),
    Case(
        fault="cut in the middle",
        does=CutAfter(_MIDDLE),
        whole=_CUT,
        streamed=_CUT_LATE,
        long=True,
    ),
    Case(
        fault="reset in the middle",
        does=ResetAfter(_MIDDLE),
        whole=_CUT,
        streamed=_CUT_LATE,
        long=True,
    ),
    Case(
        fault="half-closed in the middle",
        does=HalfCloseAfter(_MIDDLE),
        whole=_CUT,
        streamed=_CUT_LATE,
        long=True,
    ),
    Case(
        fault="garbage in the middle",
        does=InsertAt(_MIDDLE),
        whole=_MALFORMED,
        # Between the chunks of HTTP, aiohttp ends neither the answer nor the wait.
        ollama_whole=_CUT,
        streamed=_CUT_LATE,
        waits=True,
        long=True,
    ),
)
CASES: tuple[Case, ...] = (
    *_BEFORE_ANY_BYTE,
    *_STATUSES,
    *_BODIES,
    *_IN_THE_STREAM,
    *_ON_THE_WAY,
)
