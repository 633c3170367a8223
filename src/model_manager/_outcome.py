"""How a walk ends: a response, embeddings, or one error that tells the whole story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from model_manager._answer import Answer
from model_manager.errors import (
    AllCandidatesFailedError,
    BudgetExceededError,
    CallTimeoutError,
    LocalOnlyUnavailableError,
    ModelManagerError,
    NoCandidateError,
    StreamBrokenError,
    UnavailableError,
)
from model_manager.events import CallFailed, CallFinished, CallStarted
from model_manager.types import (
    AttemptRecord,
    Embeddings,
    Refusal,
    Response,
    Route,
    Timings,
    Usage,
)

if TYPE_CHECKING:
    from model_manager._pipeline import Walk

_BUDGET_CODES: Final = frozenset({"budget", "unpriced"})
_SHOWN = 3
"""Refusals that an error's message spells out; the route holds them all."""


CANCELLED: Final = "cancelled"
"""The error of a call that whoever asked has left or cancelled."""


def begun(walk: Walk) -> CallStarted:
    """Return the event of a walk that begins."""
    request, route = walk.request, walk.route
    return CallStarted(
        call_id=request.call_id,
        agent=request.agent,
        task=route.task,
        privacy=route.privacy,
        candidates=tuple([one.label for one in route.candidates]),
        refused=tuple([f"{r.candidate.label} ({r.code})" for r in route.refused]),
        config_version=route.config_version,
    )


def ended(
    walk: Walk, error: BaseException | None, *, seconds: float
) -> CallFinished | CallFailed:
    """Return the event of a walk that has ended.

    Args:
        walk: The walk.
        error: What it ended in.
        seconds: How long it took.
    """
    request, answer = walk.request, walk.answer
    if answer is None:
        # Whoever leaves or is cancelled raises no ordinary exception.
        name = type(error).__name__ if isinstance(error, Exception) else CANCELLED
        return CallFailed(
            call_id=request.call_id,
            agent=request.agent,
            error=name,
            seconds=seconds,
            attempts=walk.sent,
        )
    candidate = answer.attempt.candidate
    return CallFinished(
        call_id=request.call_id,
        agent=request.agent,
        endpoint=candidate.endpoint,
        model=candidate.model,
        seconds=seconds,
        attempts=walk.sent,
        cost=walk.records[-1].cost,
    )


def response_of(walk: Walk, answer: Answer, *, now: float) -> Response[Any]:
    """Build the response of a finished walk.

    Args:
        walk: The walk.
        answer: Its answer, read to the end and checked.
        now: The clock's monotonic seconds.
    """
    calls = answer.tool_calls()
    reason = answer.finish.reason if answer.finish is not None else "unknown"
    return Response(
        text=answer.text,
        parsed=answer.parsed,
        tool_calls=calls,
        thinking=answer.thinking,
        thinking_parts=answer.thinking_parts(),
        finish_reason="tool_calls" if calls else reason,
        **_provenance(walk, answer, now=now),
    )


def embeddings_of(walk: Walk, answer: Answer, *, now: float) -> Embeddings:
    """Build the embeddings of a finished walk; see `response_of`."""
    return Embeddings(vectors=answer.vectors, **_provenance(walk, answer, now=now))


def _provenance(walk: Walk, answer: Answer, *, now: float) -> dict[str, Any]:
    """Return where an answer came from and what it took: what all answers share."""
    record, candidate = walk.records[-1], answer.attempt.candidate
    told = answer.finish.model if answer.finish is not None else None
    return {
        "model": told or candidate.model,
        "provider": candidate.endpoint,
        "is_local": candidate.is_local,
        "usage": record.usage or Usage(),
        "cost": record.cost,
        "timings": _timings(walk, answer, now=now),
        "route": walk.route,
        "attempts": tuple(walk.records),
        "request_id": answer.request_id,
        "call_id": walk.request.call_id,
        "metadata": walk.request.metadata,
    }


def _timings(walk: Walk, answer: Answer, *, now: float) -> Timings:
    finish = answer.finish
    return Timings(
        total=now - walk.started,
        first_token=walk.first_token,
        load=finish.load_seconds if finish is not None else None,
        tokens_per_second=walk.records[-1].tokens_per_second,
    )


def nobody(route: Route) -> ModelManagerError:
    """Return the error for a route whose every candidate was refused."""
    resting = [refusal for refusal in route.refused if refusal.code == "resting"]
    if resting:
        error = AllCandidatesFailedError(
            f"nobody may be asked now for agent {route.agent!r}: {_reasons(resting)}.",
            route=route,
            remedy=resting[0].remedy,
        )
        waits = [r.retry_in for r in resting if r.retry_in is not None]
        error.retry_after = min(waits, default=None)
        return error
    if any(one.code in _BUDGET_CODES for one in route.refused):
        return over_budget(route)
    cls = NoCandidateError
    if route.privacy == "local_only" and any(
        refusal.code == "privacy" for refusal in route.refused
    ):
        cls = LocalOnlyUnavailableError
    if not route.refused:
        return cls(
            f"agent {route.agent!r} has no model for this call.",
            route=route,
            remedy="Give it 'primary', 'fallback' or 'local' (for embeddings: "
            "'embedding') in the configuration.",
        )
    return cls(
        f"nobody may answer agent {route.agent!r}: {_reasons(route.refused)}.",
        route=route,
        remedy=route.refused[0].remedy,
    )


def over_budget(route: Route) -> BudgetExceededError:
    """Return the error for a route that budgets leave nobody on."""
    broke = [one for one in route.refused if one.code in _BUDGET_CODES]
    error = BudgetExceededError(
        f"no budget for agent {route.agent!r}: {_reasons(route.refused)}.",
        route=route,
        remedy=broke[0].remedy,
    )
    waits = [one.retry_in for one in broke if one.retry_in is not None]
    error.retry_after = min(waits, default=None)
    return error


def _denied(record: AttemptRecord) -> Refusal | None:
    """Return the refusal that a candidate would have had, were it planned now."""
    error = record.error
    if not isinstance(error, UnavailableError) or error.code != "budget":
        return None
    return Refusal(
        record.candidate,
        "budget",
        error.what.removeprefix(f"{record.candidate.label} was not asked: ").rstrip(
            "."
        ),
        error.remedy,
        retry_in=error.retry_after,
    )


def _reasons(refused: Sequence[Refusal]) -> str:
    shown = "; ".join(f"{r.candidate.label}: {r.reason}" for r in refused[:_SHOWN])
    more = len(refused) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def all_failed(
    route: Route, records: Sequence[AttemptRecord]
) -> AllCandidatesFailedError | BudgetExceededError:
    """Return the error for a call in which every attempt failed."""
    denied = [refusal for one in records if (refusal := _denied(one)) is not None]
    if len(denied) == len(records):
        # There was room when the route was planned, and others were quicker.
        return over_budget(
            replace(route, candidates=(), refused=(*route.refused, *denied))
        )
    sends = [record for record in records if record.outcome != "skipped"]
    first = (sends or records)[0].error
    what = first.what if first is not None else "it gave no reason"
    asked = len({record.candidate.label for record in sends})
    return AllCandidatesFailedError(
        f"every model that may answer failed ({asked} asked, {len(sends)} attempts); "
        f"the first: {what}",
        attempts=records,
        route=route,
        remedy=first.remedy if first is not None else "",
    )


def timed_out(route: Route, records: Sequence[AttemptRecord]) -> CallTimeoutError:
    """Return the error for a call whose deadline passed."""
    sends = sum(record.number > 0 for record in records)
    remedy = "Raise timeout= or 'timeouts.total', or put a faster model first."
    if not sends:
        remedy = (
            "Nothing was sent: it spent its time waiting its turn. Raise timeout=, or "
            "the 'limits' of the provider."
        )
    return CallTimeoutError(
        f"no answer for agent {route.agent!r} before the call's deadline, after "
        f"{sends} attempt(s).",
        attempts=records,
        route=route,
        remedy=remedy,
    )


def broken(
    route: Route, records: Sequence[AttemptRecord], lost: Answer
) -> StreamBrokenError:
    """Return the error for a stream that broke and may not be begun anew."""
    cause = records[-1].error
    why = f": {cause.what}" if cause is not None else "."
    error = StreamBrokenError(
        f"{lost.attempt.candidate.label}'s answer was lost after "
        f"{len(lost.text)} characters{why}",
        attempts=records,
        route=route,
        remedy="Ask again, or read the stream's events: they can begin anew with "
        "another model.",
    )
    error.partial_text = lost.text
    return error
