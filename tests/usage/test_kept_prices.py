"""Prices that are kept are those that the table would give now."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider
from hypothesis import given
from hypothesis import strategies as st

from model_manager.config import Config, Endpoint, load_config
from model_manager.types import Candidate, Usage
from model_manager.usage import Pricer
from model_manager.usage.pricing import _table

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
    "google/gemini-2.5-flash",
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
            "agent_models": {"a": {"primary": "gpt-6-luna"}},
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


def counts_of(usage: Usage) -> genai_prices.Usage:
    """Return our buckets as the table counts them: what is cached is input, too."""
    return genai_prices.Usage(
        input_tokens=usage.total_input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )


def rounded(usd: Decimal) -> Decimal:
    return usd.quantize(Decimal("1e-9"), ROUND_HALF_UP)


def asked(endpoint: Endpoint, usage: Usage, model: str, at: float) -> Decimal | None:
    """Return what the table says, asked anew."""
    try:
        found = genai_prices.calc_price(
            counts_of(usage),
            model,
            provider_id=endpoint.name,
            genai_request_timestamp=datetime.fromtimestamp(at, UTC),
        )
    except (LookupError, ValueError):
        return None
    return rounded(found.total_price)


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
        for sent, received, read, short, long in counts:
            usage = Usage(
                input_tokens=sent,
                output_tokens=received,
                cache_read_tokens=read,
                cache_write_tokens=short + long,
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

    assert sum(len(one.found) for one in pricer._minutes.values()) <= 1_001


def test_the_tables_own_caches_do_not_grow_with_names_either() -> None:
    from genai_prices.data_snapshot import get_snapshot

    pricer = Pricer(config(), now=lambda: NOON)
    here = candidate("anthropic", "claude-sonnet-4-5")
    usage = Usage(input_tokens=10, output_tokens=10)
    pricer.price(here, usage)
    snapshot = get_snapshot()
    before = len(snapshot._lookup_cache), len(snapshot._provider_cache)

    for number in range(50):
        pricer.price(here, usage, model=f"claude-sonnet-4-5-surprise-{number}")

    assert (len(snapshot._lookup_cache), len(snapshot._provider_cache)) == before


def test_a_few_minutes_are_kept_and_the_latest_of_them() -> None:
    """A budget asks about now while the ledger is computed again from the past."""
    pricer = Pricer(config(), now=lambda: NOON)
    here = candidate("openai", "gpt-5-mini")
    usage = Usage(input_tokens=10, output_tokens=10)
    pricer.price(here, usage)
    kept = pricer._minutes[int(NOON // 60)]

    for minute in range(100):
        pricer.price(here, usage, at=NOON - 86_400 + minute * 60)

    assert len(pricer._minutes) <= 4
    assert pricer._minutes[int(NOON // 60)] is kept


ENTRIES = [(provider, model) for provider in providers for model in provider.models]


@given(
    entry=st.sampled_from(ENTRIES),
    hour=st.integers(0, 23),
    counts=st.tuples(*[COUNTS] * 5),
    context=st.sampled_from(
        [
            {},
            {"service_tier": "flex"},
            {"service_tier": "priority"},
            {"processing": "batch"},
            {"speed": "fast"},
        ]
    ),
)
def test_every_entry_of_the_table_is_read_as_the_table_reads_it(
    entry: tuple[Provider, ModelInfo],
    hour: int,
    counts: tuple[int, ...],
    context: dict[str, str],
) -> None:
    provider, model = entry
    sent, received, read, short, long = counts
    usage = Usage(
        input_tokens=sent,
        output_tokens=received,
        cache_read_tokens=read,
        cache_write_tokens=short + long,
        cache_write_1h_tokens=long,
    )
    when = datetime.fromtimestamp(NOON + hour * 3600, UTC)

    rates = _table._rates_in(provider, model, when=when, context=context)

    nano = rates.cost(usage) if rates is not None else None
    if nano is None:
        return  # Unknown here; the table counts what has no rate as free.
    found = model.calc_price(
        counts_of(usage),
        provider,
        genai_request_timestamp=when,
        price_context=context,
    )
    assert Decimal(nano) == rounded(found.total_price) * 10**9


def test_hardly_any_entry_with_a_price_for_tokens_is_unknown() -> None:
    usage = Usage(input_tokens=10, output_tokens=0)
    when = datetime.fromtimestamp(NOON, UTC)
    for provider, model in ENTRIES:
        rates = _table._rates_in(provider, model, when=when, context={})
        prices = model.get_prices(when)

        known = rates is not None and rates.cost(usage) is not None

        named_free = model.id.endswith(":free") and not vars(prices)
        assert known == (prices.input_mtok is not None or named_free)


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
