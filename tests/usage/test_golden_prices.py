"""Priced answers of several vendors, as they come over the wire.

Every cost stands here in dollars, and is computed a second time: from the buckets as a
person reads them off the answer, and the rates of a price table that is not the one
the library uses (`second_prices.json` says which).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from model_manager.config import load_config
from model_manager.providers.anthropic._decode import read_usage as read_anthropic
from model_manager.providers.ollama._decode import _usage as read_ollama
from model_manager.providers.openai._decode import read_usage as read_openai
from model_manager.types import Candidate, Usage
from model_manager.usage import Pricer

SECOND = json.loads(
    (Path(__file__).parent / "second_prices.json").read_text(encoding="utf-8")
)["models"]
MILLION = Decimal(1_000_000)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
"""A Wednesday, outside the hours in which some models cost more."""
MORNING = datetime(2026, 11, 25, 8, tzinfo=UTC)
"""The same day, inside them."""
URLS = {
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "mistral": "https://api.mistral.ai/v1",
    "groq": "https://api.groq.com/openai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "xai": "https://api.x.ai/v1",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """An answer's usage, and what it costs."""

    model: str
    """`endpoint/model`, in both tables."""
    raw: Mapping[str, Any]
    """The usage object on the wire."""
    buckets: tuple[int, int, int, int, int]
    """Input, output, read from a cache, written to one for 5 minutes, for an hour."""
    usd: str
    said: str | None = None
    """The service tier beside the usage, where the protocol has it there."""
    tier: str = "standard"
    """The tier's name in the second table."""
    at: datetime = NOON


def messages(sent: int, received: int, **more: Any) -> dict[str, Any]:
    """Return a usage object of Anthropic's Messages API."""
    short, long = more.pop("short", 0), more.pop("long", 0)
    return {
        "input_tokens": sent,
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": more.pop("read", 0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": long,
        },
        "output_tokens": received,
        "service_tier": "standard",
        "inference_geo": "global",
        **more,
    }


def chat(sent: int, received: int, **more: Any) -> dict[str, Any]:
    """Return a usage object of OpenAI's chat protocol; `sent` holds what is cached."""
    details = {"cached_tokens": more.pop("read", 0), "audio_tokens": 0}
    if "written" in more:
        details["cache_write_tokens"] = more.pop("written")
    return {
        "prompt_tokens": sent,
        "completion_tokens": received,
        "total_tokens": sent + received,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": more.pop("thought", 0),
            "audio_tokens": 0,
        },
        **more,
    }


CASES = {
    "anthropic: 5 minute cache write, as on the vendor's console": Case(
        model="anthropic/claude-sonnet-4-5",
        raw=messages(3, 550, short=12_304),
        buckets=(3, 550, 0, 12_304, 0),
        usd="0.054399",
    ),
    "anthropic: the same prompt again, read from the cache, by a dated id": Case(
        model="anthropic/claude-sonnet-4-5-20250929",
        raw=messages(3, 412, read=12_304),
        buckets=(3, 412, 12_304, 0, 0),
        usd="0.0098802",
    ),
    "anthropic: 1 hour cache write": Case(
        model="anthropic/claude-haiku-4-5",
        raw=messages(21, 350, long=40_960),
        buckets=(21, 350, 0, 0, 40_960),
        usd="0.083691",
    ),
    "anthropic: read, 5 minutes and 1 hour in one answer": Case(
        model="anthropic/claude-opus-5-5",
        raw=messages(19, 1_204, read=8_192, short=2_048, long=4_096),
        buckets=(19, 1_204, 8_192, 2_048, 4_096),
        usd="0.0688024",
    ),
    "anthropic: no cache at all": Case(
        model="anthropic/claude-sonnet-5-5",
        raw=messages(1_523, 288),
        buckets=(1_523, 288, 0, 0, 0),
        usd="0.005926",
    ),
    "anthropic: thinking is output": Case(
        model="anthropic/claude-opus-4-8",
        raw=messages(
            640, 5_120, read=3_072, output_tokens_details={"thinking_tokens": 4_700}
        ),
        buckets=(640, 5_120, 3_072, 0, 0),
        usd="0.132736",
    ),
    "anthropic: a read at a fortieth of the input's rate": Case(
        model="anthropic/claude-fable-5-1",
        raw=messages(12, 90, read=100_000),
        buckets=(12, 90, 100_000, 0, 0),
        usd="0.02962",
    ),
    "anthropic: batch": Case(
        model="anthropic/claude-sonnet-4-5",
        raw=messages(2_000, 900, read=10_000, short=500, service_tier="batch"),
        buckets=(2_000, 900, 10_000, 500, 0),
        usd="0.0121875",
        tier="batch",
    ),
    "anthropic: fast": Case(
        model="anthropic/claude-opus-5-5",
        raw=messages(1_000, 2_000, read=30_000, short=700, speed="fast"),
        buckets=(1_000, 2_000, 30_000, 700, 0),
        usd="0.107",
        tier="fast",
    ),
    "anthropic: fast, the older model, 1 hour": Case(
        model="anthropic/claude-opus-4-8",
        raw=messages(77, 410, long=9_000, speed="fast"),
        buckets=(77, 410, 0, 0, 9_000),
        usd="0.20127",
        tier="fast",
    ),
    "anthropic: a prompt of just 100,000": Case(
        model="anthropic/claude-haiku-5-5",
        raw=messages(1_000, 800, read=90_000, short=9_000),
        buckets=(1_000, 800, 90_000, 9_000, 0),
        usd="0.002525",
    ),
    "anthropic: one token more, and everything is in the next tier": Case(
        model="anthropic/claude-haiku-5-5",
        raw=messages(1_001, 800, read=90_000, short=5_000, long=4_000),
        buckets=(1_001, 800, 90_000, 5_000, 4_000),
        usd="0.0141255",
    ),
    "anthropic: a long prompt in a batch": Case(
        model="anthropic/claude-haiku-5-5",
        raw=messages(150_000, 3_000, service_tier="batch"),
        buckets=(150_000, 3_000, 0, 0, 0),
        usd="0.04125",
        tier="batch",
    ),
    "openai: plain": Case(
        model="openai/gpt-5-mini",
        raw=chat(1_234, 567),
        buckets=(1_234, 567, 0, 0, 0),
        said="default",
        usd="0.0014425",
    ),
    "openai: cached and thinking, by a dated id": Case(
        model="openai/gpt-5-2025-08-07",
        raw=chat(10_240, 2_048, read=8_960, thought=1_536),
        buckets=(1_280, 2_048, 8_960, 0, 0),
        said="default",
        usd="0.0232",
    ),
    "openai: flex": Case(
        model="openai/gpt-5",
        raw=chat(10_241, 2_048, read=8_961),
        buckets=(1_280, 2_048, 8_961, 0, 0),
        said="flex",
        tier="flex",
        usd="0.011600063",
    ),
    "openai: priority": Case(
        model="openai/gpt-5",
        raw=chat(10_240, 2_048, read=8_960),
        buckets=(1_280, 2_048, 8_960, 0, 0),
        said="priority",
        tier="priority",
        usd="0.0464",
    ),
    "openai: priority, a reasoning model": Case(
        model="openai/o4-mini",
        raw=chat(700, 900, thought=832),
        buckets=(700, 900, 0, 0, 0),
        said="priority",
        tier="priority",
        usd="0.0086",
    ),
    "openai: flex, another": Case(
        model="openai/o3",
        raw=chat(4_000, 1_500, read=1_024, thought=1_216),
        buckets=(2_976, 1_500, 1_024, 0, 0),
        said="flex",
        tier="flex",
        usd="0.009232",
    ),
    "openai: batch": Case(
        model="openai/gpt-5-mini",
        raw=chat(50_000, 4_000),
        buckets=(50_000, 4_000, 0, 0, 0),
        said="batch",
        tier="batch",
        usd="0.01025",
    ),
    "openai: a prompt of just 272,000": Case(
        model="openai/gpt-5.4",
        raw=chat(272_000, 1_000, read=256_000),
        buckets=(16_000, 1_000, 256_000, 0, 0),
        said="default",
        usd="0.119",
    ),
    "openai: one token more": Case(
        model="openai/gpt-5.4",
        raw=chat(272_001, 1_000, read=256_000),
        buckets=(16_001, 1_000, 256_000, 0, 0),
        said="default",
        usd="0.230505",
    ),
    "openai: one token more, in flex": Case(
        model="openai/gpt-5.4",
        raw=chat(272_001, 1_000, read=256_000),
        buckets=(16_001, 1_000, 256_000, 0, 0),
        said="flex",
        tier="flex",
        usd="0.1152525",
    ),
    "openai: written to the cache": Case(
        model="openai/gpt-6-luna",
        raw=chat(20_000, 600, read=4_096, written=12_288),
        buckets=(3_616, 600, 4_096, 12_288, 0),
        said="default",
        usd="0.00223856",
    ),
    "openai: long, written, priority": Case(
        model="openai/gpt-6.1-sol",
        raw=chat(300_000, 5_000, read=200_000, written=60_000),
        buckets=(40_000, 5_000, 200_000, 60_000, 0),
        said="priority",
        tier="priority",
        usd="1.15",
    ),
    "openai: the cheapest": Case(
        model="openai/gpt-4.1-nano",
        raw=chat(9, 1),
        buckets=(9, 1, 0, 0, 0),
        usd="0.0000013",
    ),
    "openai: half price for what is cached": Case(
        model="openai/gpt-4o-mini",
        raw=chat(2_006, 300, read=1_920),
        buckets=(86, 300, 1_920, 0, 0),
        said="default",
        usd="0.0003369",
    ),
    "openai: a dated id of this year": Case(
        model="openai/gpt-5.4-mini-2026-03-17",
        raw=chat(888, 77),
        buckets=(888, 77, 0, 0, 0),
        said="auto",
        usd="0.0010125",
    ),
    "openai: an embedding": Case(
        model="openai/text-embedding-3-small",
        raw={"prompt_tokens": 8_191, "total_tokens": 8_191},
        buckets=(8_191, 0, 0, 0, 0),
        usd="0.00016382",
    ),
    "google: a prompt of just 200,000": Case(
        model="google/gemini-2.5-pro",
        raw=chat(200_000, 1_500, read=150_000),
        buckets=(50_000, 1_500, 150_000, 0, 0),
        usd="0.09625",
    ),
    "google: one token more": Case(
        model="google/gemini-2.5-pro",
        raw=chat(200_001, 1_500, read=150_000),
        buckets=(50_001, 1_500, 150_000, 0, 0),
        usd="0.1850025",
    ),
    "google: a model with a price for sound, too": Case(
        model="google/gemini-2.5-flash",
        raw={"prompt_tokens": 5_000, "completion_tokens": 900, "total_tokens": 5_900},
        buckets=(5_000, 900, 0, 0, 0),
        usd="0.00375",
    ),
    "google: a model of this year": Case(
        model="google/gemini-3.8-flash",
        raw={"prompt_tokens": 1_001, "completion_tokens": 33, "total_tokens": 1_034},
        buckets=(1_001, 33, 0, 0, 0),
        usd="0.0008745",
    ),
    "mistral: by a dated id": Case(
        model="mistral/mistral-large-2512",
        raw={"prompt_tokens": 3_210, "completion_tokens": 432, "total_tokens": 3_642},
        buckets=(3_210, 432, 0, 0, 0),
        usd="0.002253",
    ),
    "mistral: the latest": Case(
        model="mistral/mistral-small-latest",
        raw=chat(900, 41, read=512),
        buckets=(388, 41, 512, 0, 0),
        usd="0.00009048",
    ),
    "groq: its word for list price": Case(
        model="groq/openai/gpt-oss-120b",
        raw=chat(2_000, 350, read=1_024, queue_time=0.04, total_time=0.9),
        buckets=(976, 350, 1_024, 0, 0),
        said="on_demand",
        usd="0.0004332",
    ),
    "deepseek: in the dear hours": Case(
        model="deepseek/deepseek-flash",
        raw=chat(
            6_000,
            700,
            read=4_096,
            prompt_cache_hit_tokens=4_096,
            prompt_cache_miss_tokens=1_904,
        ),
        buckets=(1_904, 700, 4_096, 0, 0),
        at=MORNING,
        usd="0.001435776",
    ),
    "deepseek: the same in the others": Case(
        model="deepseek/deepseek-flash",
        raw=chat(6_000, 700, read=4_096),
        buckets=(1_904, 700, 4_096, 0, 0),
        tier="off_peak",
        usd="0.000717888",
    ),
    "deepseek: the larger model": Case(
        model="deepseek/deepseek-v4-pro",
        raw=chat(12_000, 2_500, thought=1_900),
        buckets=(12_000, 2_500, 0, 0, 0),
        at=MORNING,
        usd="0.02574",
    ),
    "xai: a short prompt": Case(
        model="xai/grok-4.7",
        raw=chat(199_000, 500, read=64),
        buckets=(198_936, 500, 64, 0, 0),
        usd="0.400904",
    ),
    "xai: a long one": Case(
        model="xai/grok-4.7",
        raw=chat(201_000, 500, read=64),
        buckets=(200_936, 500, 64, 0, 0),
        usd="0.809808",
    ),
    "ollama: at home": Case(
        model="ollama/llama3.1",
        raw={
            "prompt_eval_count": 26,
            "eval_count": 298,
            "eval_duration": 4_709_213_000,
        },
        buckets=(26, 298, 0, 0, 0),
        usd="0",
    ),
}


def pricer() -> Pricer:
    """Return a pricer for the vendors, without any price of one's own."""
    servers = {name: {"base_url": url} for name, url in URLS.items()}
    loaded = load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "gpt-6-luna"}},
            "model_providers": {"ollama": {}, "anthropic": {}, "openai": {}, **servers},
        }
    )
    return Pricer(loaded)


def candidate(label: str) -> Candidate:
    endpoint, _, model = label.partition("/")
    return Candidate(
        endpoint=endpoint,
        kind="openai",
        model=model,
        role="primary",
        why="test",
        is_local=endpoint == "ollama",
    )


def decoded(case: Case) -> Usage:
    """Return the usage as the vendor's adapter reads it."""
    endpoint = case.model.partition("/")[0]
    if endpoint == "anthropic":
        return read_anthropic(case.raw)
    if endpoint == "ollama":
        usage = read_ollama(case.raw)
        assert usage is not None
        return usage
    usage = read_openai(case.raw, case.said)
    # As for every embedding: it writes nothing, and the protocol does not say so.
    return usage if "completion_tokens" in case.raw else replace(usage, output_tokens=0)


def buckets_of(usage: Usage) -> tuple[int | None, ...]:
    hour = usage.cache_write_1h_tokens or 0
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens or 0,
        (usage.cache_write_tokens or 0) - hour,
        hour,
    )


def second_price(case: Case) -> Decimal:
    """Compute the cost from the second table, without any of the library's code."""
    entry = SECOND[case.model]
    rates = entry[case.tier]
    times = Decimal(rates.get("times", 1))
    if "times" in rates:
        rates = entry["standard"]
    sent, received, read, short, long = case.buckets
    prompt = sent + read + short + long
    for more_than, dearer in rates.get("above", {}).items():
        if prompt > int(more_than):
            rates = dearer
    names = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
    total = Decimal(0)
    for name, tokens in zip(names, (sent, received, read, short, long), strict=True):
        if tokens:
            total += Decimal(rates[name]) * tokens
    exact = total * times / MILLION
    return exact.quantize(Decimal("1e-9"), ROUND_HALF_UP)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_answer_costs_what_is_written_here_and_in_the_second_table(
    case: Case,
) -> None:
    usage = decoded(case)
    assert buckets_of(usage) == case.buckets

    price = pricer().price(candidate(case.model), usage, at=case.at.timestamp())

    assert price.usd == Decimal(case.usd)
    assert second_price(case) == Decimal(case.usd)


def test_there_are_enough_answers_of_enough_vendors() -> None:
    assert len(CASES) >= 30
    assert len({case.model.partition("/")[0] for case in CASES.values()}) >= 6


@pytest.mark.parametrize(
    ("case", "ours"),
    [
        # The table keeps the price of a long prompt from when one was accepted, until
        # 30 April 2026; the second has list price alone.
        (
            Case(
                model="anthropic/claude-sonnet-4-5",
                raw=messages(200_001, 10),
                buckets=(200_001, 10, 0, 0, 0),
                usd="0.600153",
            ),
            "1.200231",
        ),
        # The table's entry is of 2025, with cheaper nights; the model behind the name
        # and its price have changed since. A price of one's own mends it.
        (
            Case(
                model="deepseek/deepseek-chat",
                raw=chat(1_000, 1_000),
                buckets=(1_000, 1_000, 0, 0, 0),
                usd="0.0007",
            ),
            "0.00137",
        ),
        # The second table has Google's prices for tiers, and ours has none: unknown,
        # not list price.
        (
            Case(
                model="google/gemini-2.5-pro",
                raw=chat(1_000, 1_000),
                buckets=(1_000, 1_000, 0, 0, 0),
                usd="0.005625",
                said="flex",
                tier="flex",
            ),
            None,
        ),
    ],
    ids=[
        "a tier that is history",
        "an entry that is old",
        "a tier that only one knows",
    ],
)
def test_where_the_tables_differ_it_is_known_why(case: Case, ours: str | None) -> None:
    usage = decoded(case)

    price = pricer().price(candidate(case.model), usage, at=case.at.timestamp())

    assert second_price(case) == Decimal(case.usd)
    assert price.usd == (None if ours is None else Decimal(ours))
