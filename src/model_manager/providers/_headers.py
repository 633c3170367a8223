"""What the headers of both vendors tell: limits, waits, and the request's id."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

from model_manager.types import RateLimit

_IDS = ("request-id", "x-request-id")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_WHOLE_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+")
_REQUESTS_LEFT = (
    "x-ratelimit-remaining-requests",
    "anthropic-ratelimit-requests-remaining",
)
_REQUESTS_RESET = ("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset")
_TOKENS_LEFT = ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining")
_TOKENS_RESET = ("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset")


_WANTED: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        name.encode(): name
        for name in (
            "date",
            "retry-after",
            "retry-after-ms",
            *_IDS,
            *_REQUESTS_LEFT,
            *_REQUESTS_RESET,
            *_TOKENS_LEFT,
            *_TOKENS_RESET,
        )
    }
)
_LIMITS = frozenset((*_REQUESTS_LEFT, *_REQUESTS_RESET, *_TOKENS_LEFT, *_TOKENS_RESET))


def pick(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers that this module reads, in one pass, names in lower case."""
    picked: dict[str, str] = {}
    for name, value in raw:
        key = _WANTED.get(name.lower())
        if key is not None:
            picked[key] = value.decode("latin-1").strip()
    return picked


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the provider's id of the request, where it gives one."""
    return _first(headers, _IDS)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait asked for in seconds: milliseconds, seconds or an HTTP date.

    A date is compared with the answer's own `Date`, so that a wrong clock on this
    machine does no harm. What cannot be read, or is negative as a number, is `None`.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment = _http_date(value)
    return None if moment is None else max(0.0, moment - _now(headers))


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return what is left before the provider's limits; `None` if it is silent."""
    if _LIMITS.isdisjoint(headers):
        return None
    found = RateLimit(
        requests_remaining=_count(_first(headers, _REQUESTS_LEFT)),
        requests_reset=_reset(_first(headers, _REQUESTS_RESET), headers),
        tokens_remaining=_count(_first(headers, _TOKENS_LEFT)),
        tokens_reset=_reset(_first(headers, _TOKENS_RESET), headers),
    )
    return None if found == _SILENT else found


_SILENT = RateLimit()


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((headers[name] for name in names if headers.get(name)), None)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _count(value: str | None) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _reset(value: str | None, headers: Mapping[str, str]) -> float | None:
    """Read `6m0s`, `88ms`, plain seconds, or a moment in time (RFC 3339)."""
    if value is None:
        return None
    if _WHOLE_DURATION.fullmatch(value):
        return sum(float(n) * _UNITS[unit] for n, unit in _DURATION.findall(value))
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return max(0.0, _timestamp(moment) - _now(headers))


def _now(headers: Mapping[str, str]) -> float:
    moment = _http_date(headers.get("date", ""))
    return time.time() if moment is None else moment


def _http_date(value: str) -> float | None:
    try:
        return _timestamp(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return None


def _timestamp(moment: datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
