"""The most that a call may cost, said before it is made."""

from __future__ import annotations

import timeit
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import load_config
from model_manager.types import Candidate, Usage
from model_manager.usage import Pricer

NOON = 1_795_262_400.0
"""2026-11-21 12:00 UTC."""
MILLION = 1_000_000
PRICE = {
    "input": "2",
    "output": "10",
    "cache_read": "0.2",
    "cache_write_5m": "2.5",
    "cache_write_1h": "4",
}
MODELS = (
    "anthropic/claude-opus-5-5",
    "anthropic/claude-sonnet-4-5",
    "anthropic/claude-haiku-4-5",
    "openai/gpt-5",
    "openai/gpt-5.4",
    "openai/gpt-6-luna",
    "google/gemini-2.5-flash",
    "google/gemini-2.5-pro",
    "perplexity/sonar-pro",
    "vllm/own",
    "ollama/coder",
)
COUNTS = st.one_of(st.just(0), st.integers(1, 2_000), st.integers(0, 400_000))
CACHED = {"system": [{"type": "text", "cache_control": {"ttl": "1h"}}]}


def pricer() -> Pricer:
    """Return a pricer for one model or more of each sort."""
    cloud = {
        "google": "https://generativelanguage.googleapis.com/v1beta/openai",
        "perplexity": "https://api.perplexity.ai",
    }
    loaded = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "gpt-6-luna"}},
            "model_providers": {
                "ollama": {"models": {"coder": {}}},
                "openai": {},
                "anthropic": {},
                "vllm": {
                    "base_url": "https://models.example/v1",
                    "models": {
                        "own": {"price": PRICE},
                        "half": {"price": {"input": "2"}},
                        "none": {},
                    },
                },
                **{name: {"base_url": url} for name, url in cloud.items()},
            },
        }
    )
    return Pricer(loaded, now=lambda: NOON)


PRICER = pricer()


def candidate(label: str, options: dict[str, Any] | None = None) -> Candidate:
    endpoint, _, model = label.partition("/")
    return Candidate(
        endpoint=endpoint,
        kind="openai",
        model=model,
        role="primary",
        why="test",
        is_local=endpoint == "ollama",
        options=options or {},
    )


def ceiling(label: str, sent: int, received: int, **options: Any) -> Decimal | None:
    return PRICER.ceiling(
        candidate(label, options), input_tokens=sent, output_tokens=received
    )


@given(
    label=st.sampled_from(MODELS),
    counts=st.tuples(*[COUNTS] * 5),
    more=st.tuples(st.integers(0, 300_000), st.integers(0, 1000)),
)
def test_no_call_costs_more_than_its_ceiling(
    label: str, counts: tuple[int, ...], more: tuple[int, int]
) -> None:
    sent, received, read, short, long = counts
    usage = Usage(
        input_tokens=sent,
        output_tokens=received,
        cache_read_tokens=read,
        cache_write_tokens=short + long,
        cache_write_1h_tokens=long,
    )
    here = candidate(label, CACHED if long else None)

    price = PRICER.price(here, usage).usd
    most = PRICER.ceiling(
        here,
        input_tokens=sent + read + short + long + more[0],
        output_tokens=received + more[1],
    )

    assert price is not None
    assert most is not None
    assert 0 <= price <= most


@given(
    label=st.sampled_from(MODELS),
    counts=st.tuples(*[COUNTS] * 5),
    bucket=st.integers(0, 4),
    more=st.integers(1, 300_000),
)
def test_more_tokens_never_cost_less(
    label: str, counts: tuple[int, ...], bucket: int, more: int
) -> None:
    def cost(sent: int, received: int, *cached: int) -> Decimal:
        read, short, long = cached
        usage = Usage(
            input_tokens=sent,
            output_tokens=received,
            cache_read_tokens=read,
            cache_write_tokens=short + long,
            cache_write_1h_tokens=long,
        )
        usd = PRICER.price(candidate(label), usage).usd
        assert usd is not None
        return usd

    larger = [n + more if i == bucket else n for i, n in enumerate(counts)]

    assert 0 <= cost(*counts) <= cost(*larger)


@pytest.mark.parametrize(
    ("options", "usd"),
    [
        ({}, "3.5"),
        (CACHED, "5"),
        ({"cache_control": {"type": "ephemeral"}}, "5"),
        ({"service_tier": "priority"}, "3.5"),
    ],
)
def test_input_counts_at_the_dearest_rate_that_applies(
    options: dict[str, Any], usd: str
) -> None:
    assert ceiling("vllm/own", MILLION, 100_000, **options) == Decimal(usd)


@pytest.mark.parametrize(
    ("label", "options", "usd"),
    [
        ("openai/gpt-5", {}, "2.25"),
        ("openai/gpt-5", {"service_tier": None}, "2.25"),
        ("openai/gpt-5", {"service_tier": "default"}, "2.25"),
        ("openai/gpt-5", {"service_tier": "flex"}, "1.125"),
        ("openai/gpt-5", {"service_tier": "priority"}, "4.5"),
        ("openai/gpt-5", {"service_tier": "auto"}, "4.5"),
        ("openai/gpt-5", {"service_tier": ["?"]}, "4.5"),
        ("openai/gpt-5", {"service_tier": "ultrafast"}, None),
        ("anthropic/claude-opus-5-5", {}, "7"),
        ("anthropic/claude-opus-5-5", {"service_tier": "standard_only"}, "7"),
        ("anthropic/claude-opus-5-5", {"service_tier": "auto"}, "7"),
        ("anthropic/claude-opus-5-5", {"speed": "fast"}, "14"),
        ("anthropic/claude-opus-5-5", {"speed": 1}, "14"),
        ("anthropic/claude-haiku-5-5", {"speed": "fast"}, None),
        ("vllm/none", {}, None),
        ("vllm/half", {}, None),
        ("nowhere/none", {}, None),
        ("ollama/coder", {}, "0"),
    ],
)
def test_the_options_say_which_tier_it_may_be(
    label: str, options: dict[str, Any], usd: str | None
) -> None:
    expected = None if usd is None else Decimal(usd)

    assert ceiling(label, MILLION, 100_000, **options) == expected


@pytest.mark.parametrize(("sent", "usd"), [(200_000, "0.25"), (200_001, "0.5000025")])
def test_a_long_prompt_is_in_the_tier_that_it_reaches(sent: int, usd: str) -> None:
    assert ceiling("google/gemini-2.5-pro", sent, 0) == Decimal(usd)


def test_a_missing_rate_matters_only_where_it_is_used() -> None:
    assert ceiling("vllm/half", MILLION, 0) == Decimal(2)


def test_asking_again_is_quick() -> None:
    here = candidate("openai/gpt-5", {"service_tier": "auto"})

    def ask() -> None:
        PRICER.ceiling(here, input_tokens=5000, output_tokens=900)

    ask()
    seconds = min(timeit.repeat(ask, number=1000, repeat=5)) / 1000
    assert seconds < 200e-6, "a look-up in the table takes longer"
