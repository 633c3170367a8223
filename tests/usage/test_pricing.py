"""What calls cost: known to the cent, or said to be unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from model_manager.config import load_config
from model_manager.errors import ProviderTimeoutError, RateLimitError
from model_manager.types import AttemptRecord, Candidate, Usage
from model_manager.usage import Pricer, Settler


def pricer(**models: dict[str, Any]) -> Pricer:
    """Return a pricer for a configuration with these vLLM models."""
    loaded = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "claude-sonnet-4-5"}},
            "model_providers": {
                "ollama": {"models": {"coder": {}}},
                "openai": {"models": {"gpt-6-luna": {}}},
                "vllm": {
                    "base_url": "https://models.example/v1",
                    "models": models or {"own": {}},
                },
            },
        }
    )
    return Pricer(loaded)


def candidate(endpoint: str, model: str) -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="openai" if endpoint == "vllm" else endpoint,
        model=model,
        role="primary",
        why="test",
        is_local=endpoint == "ollama",
    )


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

    assert Settler(pricer()).settle(record).cost == cost
