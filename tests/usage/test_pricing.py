"""What calls cost: known to the cent, or said to be unknown."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import load_config
from model_manager.errors import ProviderTimeoutError, RateLimitError
from model_manager.testing import FakeClock
from model_manager.types import AttemptRecord, Candidate, Request, Route, Usage
from model_manager.usage import Books, Pricer, from_nano, to_nano
from model_manager.usage._money import NANO

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
SMALL = Usage(input_tokens=1_000_000, output_tokens=100_000)


def pricer(**models: dict[str, Any]) -> Pricer:
    """Return a pricer for a configuration with these vLLM models."""
    loaded = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "claude-sonnet-4-5"}},
            "model_providers": {
                "ollama": {"models": {"coder": {}}},
                "openai": {"models": {"gpt-6-luna": {}}},
                "google": {"base_url": GOOGLE, "data_zone": "cloud"},
                "vllm": {
                    "base_url": "https://models.example/v1",
                    "models": models or {"own": {}},
                },
            },
        }
    )
    return Pricer(loaded, now=lambda: NOON)


def candidate(endpoint: str, model: str, **more: Any) -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="openai" if endpoint == "vllm" else endpoint,
        model=model,
        role="primary",
        why="test",
        is_local=endpoint == "ollama",
        **more,
    )


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the room said."""
    return [r.getMessage() for r in caplog.records if r.name == "model_manager.usage"]


def test_cache_writes_are_priced_apart_as_the_vendors_console_did() -> None:
    """12,304 cache-write + 3 input + 550 output of Sonnet 4.5 cost $0.054399."""
    usage = Usage(
        input_tokens=3,
        cache_write_tokens=12_304,
        cache_read_tokens=0,
        output_tokens=550,
    )

    price = pricer().price(candidate("anthropic", "claude-sonnet-4-5"), usage)

    assert price.usd == Decimal("0.054399")
    assert price.source is not None
    assert price.source.startswith("genai-prices")


def test_local_models_cost_nothing_by_declaration() -> None:
    price = pricer().price(
        candidate("ollama", "coder"), Usage(input_tokens=10, output_tokens=10)
    )

    assert (price.usd, price.source) == (Decimal(0), "local")


def test_a_model_that_no_table_knows_costs_an_unknown_amount() -> None:
    price = pricer().price(
        candidate("vllm", "own"), Usage(input_tokens=10, output_tokens=10)
    )

    assert price.usd is None


def test_tokens_that_were_not_reported_cost_an_unknown_amount() -> None:
    price = pricer().price(candidate("openai", "gpt-6-luna"), Usage())

    assert price.usd is None


def test_the_configurations_price_wins_and_covers_every_bucket() -> None:
    prices = {
        "input": "2",
        "output": "10",
        "cache_read": "0.2",
        "cache_write_5m": "2.5",
        "cache_write_1h": "4",
    }
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=1_000_000,
        cache_read_tokens=1_000_000,
        cache_write_tokens=2_000_000,
        cache_write_1h_tokens=1_000_000,
    )

    price = pricer(own={"price": prices}).price(candidate("vllm", "own"), usage)

    assert (price.usd, price.source) == (Decimal("18.7"), "config")


def test_a_bucket_without_a_rate_makes_the_price_unknown_not_lower() -> None:
    prices = {"input": "2", "output": "10"}
    used = Usage(input_tokens=1, output_tokens=1, cache_read_tokens=5)

    price = pricer(own={"price": prices}).price(candidate("vllm", "own"), used)

    assert price.usd is None


@pytest.mark.parametrize(
    ("endpoint", "error", "cost"),
    [
        ("anthropic", RateLimitError("x", status=429), Decimal(0)),
        ("anthropic", ProviderTimeoutError("x"), None),
        ("ollama", ProviderTimeoutError("x"), Decimal(0)),
    ],
)
def test_a_refused_attempt_is_free_and_a_lost_one_is_unknown(
    endpoint: str, error: Any, cost: Decimal | None
) -> None:
    record = AttemptRecord(
        candidate=candidate(endpoint, "coder"),
        number=1,
        outcome="failed",
        seconds=1.0,
        error=error,
    )
    config = {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": "claude-sonnet-4-5"}},
        "model_providers": {"ollama": {"models": {"coder": {}}}},
        "ledger": {"backend": "off"},
    }
    books = Books(load_config(config), clock=FakeClock(), emit=lambda _: None)
    request = Request(agent="a")
    route = Route(agent="a", task=None, privacy="any", candidates=())

    assert books.priced(record, request, route).cost == cost


@pytest.mark.parametrize(
    ("day", "cost", "source"),
    [(19, "0.06", "genai-prices"), (20, "3", "config"), (21, "3", "config")],
)
def test_an_override_counts_from_its_first_day_in_utc(
    day: int, cost: str, source: str
) -> None:
    """Before it, the table's price counts: gpt-6-luna is $0.10 in and $0.50 out."""
    loaded = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "gpt-6-luna"}},
            "model_providers": {
                "openai": {
                    "models": {
                        "gpt-6-luna": {
                            "price": {
                                "input": "10",
                                "output": "20",
                                "valid_from": "2026-11-20",
                            }
                        }
                    }
                }
            },
        }
    )
    last_second = datetime(2026, 11, day, 23, 59, 59, tzinfo=UTC).timestamp()

    price = Pricer(loaded).price(
        candidate("openai", "gpt-6-luna"),
        Usage(input_tokens=100_000, output_tokens=100_000),
        at=last_second,
    )

    assert price.usd == Decimal(cost)
    assert price.source is not None
    assert price.source.startswith(source)


def test_a_price_is_that_of_the_day_of_the_call() -> None:
    """OpenAI cut o3 to a fifth on 10 June 2025."""
    here, usage = candidate("openai", "o3"), Usage(input_tokens=10**6, output_tokens=0)
    before = datetime(2025, 6, 9, tzinfo=UTC).timestamp()
    asked = pricer()

    assert asked.price(here, usage, at=before).usd == Decimal(10)
    assert asked.price(here, usage).usd == Decimal(2)


@pytest.mark.parametrize(
    ("model", "tier", "speed", "cost"),
    [
        ("openai/gpt-5", None, None, "2.25"),
        ("openai/gpt-5", "default", None, "2.25"),
        ("openai/gpt-5", "auto", None, "2.25"),
        ("openai/gpt-5", "flex", None, "1.125"),
        ("openai/gpt-5", "priority", None, "4.5"),
        ("openai/gpt-5", "batch", None, "1.125"),
        ("openai/gpt-5", "scale", None, None),
        ("openai/gpt-5", "priority", "fast", None),
        ("anthropic/claude-opus-5-5", "standard", "standard", "6"),
        ("anthropic/claude-opus-5-5", "batch", None, "3"),
        ("anthropic/claude-opus-5-5", "standard", "fast", "12"),
        ("anthropic/claude-opus-5-5", "priority", None, None),
        ("anthropic/claude-haiku-5-5", None, "fast", None),
    ],
)
def test_tiers_cost_what_the_answer_says_or_nobody_knows(
    model: str, tier: str | None, speed: str | None, cost: str | None
) -> None:
    endpoint, name = model.split("/")
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=100_000,
        service_tier=tier,
        speed=speed,
    )

    price = pricer().price(candidate(endpoint, name), usage)

    assert price.usd == (None if cost is None else Decimal(cost))


def test_a_tier_without_a_price_on_that_day_is_unknown_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The table knows OpenAI's tiers since 12 October 2026."""
    usage = Usage(input_tokens=10, output_tokens=10, service_tier="flex")
    before = datetime(2026, 10, 11, 23, tzinfo=UTC).timestamp()
    asked, here = pricer(), candidate("openai", "gpt-5")

    for _ in range(3):
        assert asked.price(here, usage, at=before).usd is None
    assert asked.price(here, usage, at=before + 7200).usd is not None

    (line,) = told(caplog)
    assert "openai/gpt-5 answered with service tier 'flex'" in line
    assert "set 'price'" in line


def test_an_override_is_the_price_whatever_the_tier() -> None:
    usage = Usage(input_tokens=10**6, output_tokens=0, service_tier="flex")
    own = pricer(own={"price": {"input": "2", "output": "10"}})

    assert own.price(candidate("vllm", "own"), usage).usd == Decimal(2)


def test_the_entry_that_matched_is_kept() -> None:
    asked = pricer(own={"price": {"input": "2", "output": "10"}})

    dated = asked.price(candidate("anthropic", "claude-sonnet-4-5-20250929"), SMALL)
    own = asked.price(candidate("vllm", "own"), SMALL)
    local = asked.price(candidate("ollama", "coder"), SMALL)

    assert dated.model == "claude-sonnet-4-5"
    assert (own.source, own.model) == ("config", "own")
    assert local.model is None


@pytest.mark.parametrize(
    ("name", "is_loose"),
    [
        ("anthropic/claude-sonnet-4-5", False),
        ("anthropic/Claude-Sonnet-4-5-20250929", False),
        ("anthropic/claude-opus-5@20260901", False),
        ("anthropic/claude-opus-5-2026-09-01", False),
        ("anthropic/claude-opus-5-latest", False),
        ("anthropic/claude-sonnet-4-20250514", False),
        ("openai/gpt-5-codex", False),
        ("openai/gpt-5.4-2026-03-05", False),
        ("google/gemini-2.5-pro-preview-05-06", False),
        ("anthropic/claude-3-opus-foo", True),
        ("anthropic/claude-sonnet-4-5-eu", True),
        ("openai/gpt-5-nano-tuned", True),
    ],
)
def test_a_loose_match_is_told_of_once(
    name: str, *, is_loose: bool, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, _, model = name.partition("/")
    asked = pricer()

    for _ in range(3):
        assert asked.price(candidate(endpoint, model), SMALL).usd is not None

    lines = told(caplog)
    assert len(lines) == is_loose
    assert all(f"{model} at {endpoint} is priced as" in line for line in lines)
    assert all("set 'price'" in line for line in lines)


def test_a_local_server_that_sends_the_call_on_is_not_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = candidate("ollama", "big:cloud", is_forwarded=True)

    price = pricer().price(here, SMALL)

    assert price.usd is None
    assert pricer().ceiling(here, input_tokens=1, output_tokens=1) is None
    assert "no price is known for ollama/big:cloud" in told(caplog)[0]


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=1, output_tokens=1, cache_write_1h_tokens=5),
        Usage(input_tokens=1, output_tokens=-1),
        Usage(input_tokens=None, output_tokens=5),
    ],
)
@pytest.mark.parametrize("place", ["openai/gpt-5", "vllm/own"])
def test_buckets_that_do_not_add_up_have_no_price(usage: Usage, place: str) -> None:
    full = dict.fromkeys(
        ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"), "1"
    )
    endpoint, model = place.split("/")

    price = pricer(own={"price": full}).price(candidate(endpoint, model), usage)

    assert price.usd is None


def test_an_entry_without_rates_is_unknown_unless_its_name_says_free() -> None:
    router = {"base_url": "https://openrouter.ai/api/v1", "data_zone": "cloud"}
    loaded = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "router/x"}},
            "model_providers": {"router": {**router, "models": {"x": {}}}},
        }
    )

    def usd(model: str) -> Decimal | None:
        return (
            Pricer(loaded, now=lambda: NOON)
            .price(candidate("router", model), SMALL)
            .usd
        )

    assert usd("deepseek/deepseek-r1:free") == 0
    assert usd("google/gemini-flash-1.5-8b-exp") is None


def test_amounts_are_rounded_to_a_billionth_of_a_dollar() -> None:
    """One cached token of gpt-5 in flex costs $0.0000000625."""
    usage = Usage(
        input_tokens=0, output_tokens=0, cache_read_tokens=1, service_tier="flex"
    )

    assert pricer().price(candidate("openai", "gpt-5"), usage).usd == Decimal("6.3E-8")


def test_a_threads_decimal_context_does_not_change_a_price() -> None:
    usage = Usage(input_tokens=123_456_789, output_tokens=987_654_321)
    here = candidate("anthropic", "claude-haiku-4-5")
    usual = pricer().price(here, usage).usd

    with localcontext(Context(prec=2)):
        rough = pricer().price(here, usage).usd

    assert rough == usual == Decimal("5061.728394")


@given(st.integers(-(10**20), 10**20))
def test_nano_dollars_are_dollars_exactly(nano: int) -> None:
    usd = from_nano(nano)

    assert to_nano(usd) == nano
    assert usd * NANO == nano
    plain = format(usd, "f")
    assert not plain.endswith("0") or "." not in plain


@pytest.mark.parametrize(
    ("nano", "text"),
    [(54_399_000, "0.054399"), (0, "0"), (12 * NANO, "12"), (1200 * NANO, "1200")],
)
def test_amounts_read_as_people_write_them(nano: int, text: str) -> None:
    assert str(from_nano(nano)) == text


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        ("0.0000000005", 1),
        ("0.00000000049", 0),
        ("-0.0000000005", -1),
        ("1E+3", 10**12),
    ],
)
def test_half_a_nano_dollar_is_rounded_up(usd: str, nano: int) -> None:
    assert to_nano(Decimal(usd)) == nano


def test_nothing_is_said_of_prices_that_are_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    pricer().price(candidate("openai", "gpt-5-mini"), SMALL)

    assert told(caplog) == []
