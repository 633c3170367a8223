"""How routes and responses look: plain data, text, and notebook HTML; all escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_manager.types._health import EndpointHealth, Health
    from model_manager.types._response import AttemptRecord, Response
    from model_manager.types._route import Candidate, Route

_TABLE = (
    '<table style="border-collapse:collapse;text-align:left;font-size:90%">'
    "<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
)
_STALE = "the newest configuration is not in force"
_CELL = 'style="text-align:left;padding:2px 12px 2px 0;vertical-align:top"'


def candidate_dict(candidate: Candidate) -> dict[str, object]:
    """Return a candidate as plain data."""
    return {
        "endpoint": candidate.endpoint,
        "kind": candidate.kind,
        "model": candidate.model,
        "configured_as": candidate.configured_as or None,
        "role": candidate.role,
        "why": candidate.why,
        "is_local": candidate.is_local,
        "context_window": candidate.context_window,
        "capabilities": dict(candidate.capabilities),
    }


def route_dict(route: Route) -> dict[str, object]:
    """Return a route as plain data."""
    return {
        "agent": route.agent,
        "task": route.task,
        "privacy": route.privacy,
        "candidates": [candidate_dict(c) for c in route.candidates],
        "refused": [
            {
                **candidate_dict(r.candidate),
                "code": r.code,
                "reason": r.reason,
                "remedy": r.remedy,
            }
            for r in route.refused
        ],
        "notes": list(route.notes),
        "config_version": route.config_version,
    }


def route_text(route: Route) -> str:
    """Return a route as text for people."""
    task = "none" if route.task is None else _printable(route.task)
    lines = [f"{route.agent}  (task: {task}, privacy: {route.privacy})"]
    if not route.candidates:
        lines.append("  nobody may answer")
    for place, candidate in enumerate(route.candidates, start=1):
        where = "local" if candidate.is_local else "cloud"
        lines.append(f"  {place}. {candidate.label} ({where}): {candidate.why}")
    for refusal in route.refused:
        lines.append(f"  x  {refusal.candidate.label}: {refusal.reason}")
        lines.append(f"     {refusal.remedy}")
    lines.extend(f"  note: {note}" for note in route.notes)
    return "\n".join(lines)


def route_html(route: Route) -> str:
    """Return a route as an HTML table for notebooks."""
    title = (
        f"<b>{escape(route.agent)}</b>, task: {escape(route.task or 'none')}, "
        f"privacy: {escape(route.privacy)}"
    )
    rows = [
        (str(place), c.label, "local" if c.is_local else "cloud", c.why)
        for place, c in enumerate(route.candidates, start=1)
    ]
    rows += [
        ("✗", r.candidate.label, f"refused: {r.code}", f"{r.reason}. {r.remedy}")
        for r in route.refused
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in route.notes)
    table = _table(("", "model", "where", "why"), rows)
    return f"<div>{title}{table}<ul>{notes}</ul></div>"


def attempt_dict(attempt: AttemptRecord) -> dict[str, object]:
    """Return an attempt as plain data."""
    return {
        "number": attempt.number,
        "endpoint": attempt.candidate.endpoint,
        "model": attempt.candidate.model,
        "outcome": attempt.outcome,
        "seconds": attempt.seconds,
        "waited": attempt.waited,
        "queued": attempt.queued,
        "hedged": attempt.hedged,
        "error": type(attempt.error).__name__ if attempt.error else None,
        "error_message": str(attempt.error) if attempt.error else None,
        "decision": attempt.decision or None,
        "request_id": attempt.request_id,
        "cost_usd": _money(attempt.cost),
        "price_source": attempt.price_source,
    }


def response_dict(response: Response[Any]) -> dict[str, object]:
    """Return a response as plain data, text included."""
    usage = asdict(response.usage)
    usage.pop("raw")
    return {
        "text": response.text,
        "tool_calls": [
            {"id": c.id, "name": c.name, "arguments": dict(c.arguments)}
            for c in response.tool_calls
        ],
        "thinking": response.thinking,
        "finish_reason": response.finish_reason,
        "model": response.model,
        "provider": response.provider,
        "is_local": response.is_local,
        "usage": usage,
        "cost_usd": _money(response.cost),
        "timings": asdict(response.timings),
        "attempts": [attempt_dict(a) for a in response.attempts],
        "route": route_dict(response.route),
        "request_id": response.request_id,
        "call_id": response.call_id,
        "metadata": dict(response.metadata),
    }


def response_html(response: Response[Any]) -> str:
    """Return a response as HTML for notebooks: the text, then where it came from."""
    where = "local" if response.is_local else "cloud"
    cost = _price(response.cost)
    tokens = f"{_count(response.usage.total_input_tokens)} in, "
    tokens += f"{_count(response.usage.output_tokens)} out"
    facts = (
        f"{response.provider}/{response.model} ({where}) · {tokens} tokens · "
        f"cost {cost} · {response.timings.total:.2f} s · "
        f"{sum(a.number > 0 for a in response.attempts)} attempt(s)"
    )
    return (
        f'<div style="white-space:pre-wrap">{escape(response.text)}</div>'
        f'<div style="font-size:85%;opacity:.7">{escape(facts)}</div>'
    )


def health_dict(health: Health) -> dict[str, object]:
    """Return a health report as plain data."""
    return {
        "ok": health.ok,
        "endpoints": [
            {
                "endpoint": e.endpoint,
                "kind": e.kind,
                "status": e.status,
                "detail": e.detail,
                "version": e.version,
                "seconds": e.seconds,
                "installed": None if e.installed is None else sorted(e.installed),
                "refused": e.refused or None,
                "running": e.running,
                "queued": e.queued,
            }
            for e in health.endpoints
        ],
        "resting": [
            {
                "endpoint": endpoint,
                "model": model or None,
                "kind": rest.kind,
                "reason": rest.reason,
                "seconds": rest.seconds,
            }
            for (endpoint, model), rest in health.resting.items()
        ],
        "config_version": health.config_version,
        "config_problem": health.config_problem or None,
        "ledger_problem": health.ledger_problem or None,
        "gpu_problem": health.gpu_problem or None,
    }


def health_text(health: Health) -> str:
    """Return a health report as text, a line an endpoint and a line a rest."""
    width = max((len(e.endpoint) for e in health.endpoints), default=0)
    lines = [
        f"{e.endpoint:<{width}}  {e.status:<11}  {_health_words(e)}".rstrip()
        for e in health.endpoints
    ]
    lines += [f"{label}  {words}" for label, words in _rests(health)]
    if health.config_problem:
        lines.append(f"{_STALE}: {health.config_problem}")
    if health.ledger_problem:
        lines.append(health.ledger_problem)
    if health.gpu_problem:
        lines.append(f"the card may not be used: {health.gpu_problem}")
    return "\n".join(lines)


def health_html(health: Health) -> str:
    """Return a health report as an HTML table for notebooks."""
    rows: list[tuple[str, ...]] = [
        (e.endpoint, e.kind, e.status, _health_words(e)) for e in health.endpoints
    ]
    rows += [(label, "", "resting", words) for label, words in _rests(health)]
    if health.config_problem:
        rows.append(("configuration", "", "not in force", health.config_problem))
    if health.ledger_problem:
        rows.append(("ledger", "", "cannot be written", health.ledger_problem))
    if health.gpu_problem:
        rows.append(("gpu", "", "may not be used", health.gpu_problem))
    return _table(("endpoint", "kind", "status", "detail"), rows)


def _rests(health: Health) -> list[tuple[str, str]]:
    return [
        (
            f"{endpoint}/{model}" if model else endpoint,
            f"left alone for {rest.seconds:.1f} s: {rest.reason}",
        )
        for (endpoint, model), rest in health.resting.items()
    ]


def _health_words(endpoint: EndpointHealth) -> str:
    words = [endpoint.detail] if endpoint.detail else []
    if endpoint.version:
        words.insert(0, f"version {endpoint.version}")
    if endpoint.installed is not None:
        words.append(f"{len(endpoint.installed)} models installed")
    if endpoint.running or endpoint.queued:
        words.append(f"{endpoint.running} calls running, {endpoint.queued} queued")
    return ", ".join(words)


def _printable(text: str) -> str:
    """Show control characters as escapes: a terminal must not obey a caller's text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _price(cost: Decimal | None) -> str:
    if cost is None:
        return "unknown"
    return f"${cost:.6f}" if cost else "$0"


def _money(value: object) -> str | None:
    return None if value is None else str(value)


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    header = "".join(f"<th {_CELL}>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td {_CELL}>{escape(c)}</td>" for c in row) + "</tr>"
        for row in rows
    )
    return _TABLE.format(head=header, body=body)
