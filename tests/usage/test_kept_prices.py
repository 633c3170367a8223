"""Prices that are kept are those that the table would give now."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import Config, Endpoint, load_config
from model_manager.types import Candidate, Usage
from model_manager.usage._pricing import Pricer, look_up

NOON = 1_795_262_400.0
"""2026-11-21 12:00 UTC."""
MODELS = (
    "openai/gpt-5-mini",
    "openai/gpt-4o",
    "openai/gpt-4o-audio-preview",
    "openai/gpt-5.4",
    "anthropic/claude-sonnet-4-5",
    "anthropic/claude-haiku-4-5",
    "google/gemini-2.5-pro",
    "deepseek/deepseek-chat",
    "deepseek/deepseek-reasoner",
    "perplexity/sonar-pro",
)
URLS = {
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "deepseek": "https://api.deepseek.com/v1",
    "perplexity": "https://api.perplexity.ai",
}
COUNTS = st.one_of(st.just(0), st.integers(1, 2_000), st.integers(0, 2_000_000))


def config() -> Config:
    """Return a configuration of cloud endpoints."""
    models: dict[str, dict[str, object]] = {name: {} for name in URLS}
    providers = {
        name: {"base_url": url, "models": models[name], "data_zone": "cloud"}
        for name, url in URLS.items()
    }
    return load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "gpt-5-mini"}},
            "model_providers": {"openai": {}, "anthropic": {}, **providers},
        }
    )


def candidate(endpoint: str, model: str) -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="openai",
        model=model,
        role="primary",
        why="test",
        is_local=False,
    )


def asked(endpoint: Endpoint, usage: Usage, model: str, at: float) -> Decimal | None:
    """Return what the table says, asked anew."""
    try:
        return look_up(endpoint, usage, model, at=at).total_price
    except (LookupError, ValueError):
        return None


@given(
    name=st.sampled_from(MODELS),
    hours=st.lists(st.floats(0, 48), min_size=2, max_size=4),
    counts=st.lists(st.tuples(*[COUNTS] * 5), min_size=2, max_size=4),
)
def test_a_price_is_the_same_whether_the_table_is_asked_or_was_asked_before(
    name: str, hours: list[float], counts: list[tuple[int, ...]]
) -> None:
    now = NOON
    loaded = config()
    pricer = Pricer(loaded, now=lambda: now)
    endpoint, model = name.split("/")
    for hour in hours:
        now = NOON + hour * 3600
        for sent, received, read, written, long in counts:
            usage = Usage(
                input_tokens=sent,
                output_tokens=received,
                cache_read_tokens=read,
                cache_write_tokens=written,
                cache_write_1h_tokens=long,
            )

            price = pricer.price(candidate(endpoint, model), usage)

            expected = asked(loaded.endpoints[endpoint], usage, model, now)
            assert price.usd == expected


def test_a_night_rate_counts_from_its_first_minute() -> None:
    """The tables of DeepSeek have hours in which tokens cost less."""
    loaded = config()
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    now = NOON
    pricer = Pricer(loaded, now=lambda: now)
    for half_hour in range(48):
        for seconds in (-1, 0, 1):
            now = NOON + half_hour * 1800 + seconds

            price = pricer.price(candidate("deepseek", "deepseek-chat"), usage)

            endpoint = loaded.endpoints["deepseek"]
            assert price.usd == asked(endpoint, usage, "deepseek-chat", now)


@pytest.mark.parametrize("tokens", [200_000, 200_001])
def test_a_long_prompt_pays_its_tier_after_a_short_one_did_not(tokens: int) -> None:
    loaded = config()
    pricer = Pricer(loaded, now=lambda: NOON)
    here = candidate("google", "gemini-2.5-pro")
    pricer.price(here, Usage(input_tokens=10, output_tokens=10))
    usage = Usage(input_tokens=tokens, output_tokens=10)

    price = pricer.price(here, usage)

    endpoint = loaded.endpoints["google"]
    assert price.usd == asked(endpoint, usage, "gemini-2.5-pro", NOON)


def test_any_number_of_names_is_priced_without_keeping_them_all() -> None:
    """The model's name comes from the server, which may send a new one each time."""
    pricer = Pricer(config(), now=lambda: NOON)
    here = candidate("openai", "gpt-5-mini")
    usage = Usage(input_tokens=10, output_tokens=10)

    for number in range(2_500):
        pricer.price(here, usage, model=f"surprise-{number}")

    assert len(pricer._kept.rates) <= 1_001


def test_models_named_by_callers_do_not_fill_the_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pricer, usage = Pricer(config()), Usage(input_tokens=1, output_tokens=1)
    for number in range(1500):
        for _ in range(2):
            pricer.price(candidate("deepseek", f"nobody-{number}"), usage)

    assert len(pricer._warned) <= 1000
    told = [r for r in caplog.records if r.name == "model_manager.usage"]
    assert len(told) == 1500, "each is told of, and once"
