import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.providers import _headers
from model_manager.types import RateLimit

_DATE = "Sat, 21 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": _DATE}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": _DATE}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2020 09:00:00 GMT"}, 0.0),
        ({"retry-after": "later"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_the_wait_asked_for_is_read_in_seconds(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert _headers.retry_after(headers) == seconds


def test_openai_limits_are_read() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m2.5s",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "88ms",
    }
    assert _headers.rate_limit(headers) == RateLimit(
        requests_remaining=59,
        requests_reset=62.5,
        tokens_remaining=149984,
        tokens_reset=0.088,
    )


def test_anthropic_limits_are_read_against_the_answers_own_date() -> None:
    headers = {
        "date": _DATE,
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-11-21T10:00:20Z",
        "anthropic-ratelimit-tokens-remaining": "1000",
        "anthropic-ratelimit-tokens-reset": "2026-11-21T09:59:00Z",
    }
    assert _headers.rate_limit(headers) == RateLimit(
        requests_remaining=9,
        requests_reset=20.0,
        tokens_remaining=1000,
        tokens_reset=0.0,
    )


def test_no_limits_are_none_and_never_zero() -> None:
    assert _headers.rate_limit({}) is None
    partly = _headers.rate_limit({"x-ratelimit-reset-requests": "whenever"})
    assert partly is None
    some = _headers.rate_limit({"x-ratelimit-reset-requests": "12"})
    assert some == RateLimit(requests_reset=12.0)


def test_only_the_headers_of_interest_are_picked_in_lower_case() -> None:
    raw = [
        (b"Retry-After", b" 3 "),
        (b"X-Request-ID", b"req_1"),
        (b"X-RateLimit-Remaining-Tokens", b"5"),
        (b"Set-Cookie", b"secret"),
    ]
    picked = _headers.pick(raw)
    assert picked == {
        "retry-after": "3",
        "x-request-id": "req_1",
        "x-ratelimit-remaining-tokens": "5",
    }
    assert _headers.request_id(picked) == "req_1"


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "date",
                "x-ratelimit-reset-tokens",
                "anthropic-ratelimit-requests-reset",
                "x-ratelimit-remaining-requests",
            ]
        ),
        st.text(max_size=30),
    )
)
def test_no_header_raises(headers: dict[str, str]) -> None:
    wait = _headers.retry_after(headers)
    assert wait is None or wait >= 0
    _headers.rate_limit(headers)
