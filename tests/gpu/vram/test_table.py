"""Five known models on a card of 24 GiB, against sums made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from model_manager.gpu.vram import CardMemory, ModelShape, fit

GIB = 1024**3
LLAMA = "llama3:8b-instruct-q6_k"
MIXTRAL = "mixtral:8x7b-instruct-v0.1-q3_k_m"
LARGER = "mixtral, the larger file"
SMALL = "qwen2.5-coder:1.5b"
QWEN = "qwen2.5-coder:32b"
HUGE = "llama3.1:70b-instruct-q4_k_m"
FITS = ("fits",)
CLOSE = ("fits", "tight")
NOT = ("offload",)
"""There is memory of the machine for the rest; it is no answer to want."""


@pytest.mark.parametrize(
    "row",
    [
        (LLAMA, 4096, "f16", 6.5, FITS),
        (LLAMA, 8192, "f16", 7.3, FITS),
        (MIXTRAL, 4096, "f16", 19.5, FITS),
        (MIXTRAL, 8192, "f16", 20.1, FITS),
        (MIXTRAL, 16384, "f16", 21.1, FITS),
        (MIXTRAL, 32768, "f16", 23.1, NOT),
        (MIXTRAL, 32768, "q8_0", 21.2, FITS),
        (LARGER, 4096, "f16", 21.5, FITS),
        (LARGER, 8192, "f16", 22.1, CLOSE),
        (LARGER, 16384, "f16", 23.1, NOT),
        (LARGER, 16384, "q8_0", 22.2, CLOSE),
        (LARGER, 32768, "f16", 25.1, NOT),
        (LARGER, 32768, "q4_0", 22.3, ("tight",)),
        (SMALL, 4096, "f16", 1.3, FITS),
        (SMALL, 8192, "f16", 1.7, FITS),
        (SMALL, 16384, "f16", 2.0, FITS),
        (SMALL, 32768, "f16", 2.4, FITS),
        (QWEN, 4096, "f16", 19.4, FITS),
        (QWEN, 8192, "f16", 20.7, FITS),
        (QWEN, 16384, "f16", 22.7, ("tight",)),
        (QWEN, 16384, "q8_0", 20.9, FITS),
        (QWEN, 32768, "f16", 26.7, NOT),
        (QWEN, 32768, "q8_0", 23.0, NOT),
        (QWEN, 32768, "q4_0", 21.0, FITS),
        (HUGE, 4096, "f16", 40.6, NOT),
        (HUGE, 8192, "f16", 42.2, NOT),
        (HUGE, 16384, "f16", 44.7, NOT),
        (HUGE, 32768, "f16", 49.7, NOT),
    ],
)
def test_a_known_model_needs_what_was_reckoned_by_hand(
    models: Mapping[str, ModelShape],
    rtx_3090: CardMemory,
    row: tuple[str, int, str, float, tuple[str, ...]],
) -> None:
    name, num_ctx, cache, gib, states = row

    found = fit(models[name], rtx_3090, num_ctx=num_ctx, kv_cache_type=cache)

    assert found.needed == pytest.approx(gib * GIB, rel=0.05)
    assert found.state in states


@pytest.mark.parametrize(
    ("name", "kib"),
    [(LLAMA, 128), (MIXTRAL, 128), (SMALL, 28), (QWEN, 256), (HUGE, 320)],
)
def test_a_token_of_context_costs_what_is_known_of_the_model(
    models: Mapping[str, ModelShape], rtx_3090: CardMemory, name: str, kib: int
) -> None:
    found = fit(models[name], rtx_3090, num_ctx=4096)

    assert found.kv_cache == 4096 * kib * 1024


@pytest.mark.parametrize("name", [MIXTRAL, QWEN, HUGE, LLAMA, SMALL])
def test_where_nobody_asks_the_servers_own_context_is_judged(
    models: Mapping[str, ModelShape], rtx_3090: CardMemory, name: str
) -> None:
    found = fit(models[name], rtx_3090)

    assert found.num_ctx == (8192 if name == LLAMA else 32768)
    assert found.fits == (name in {LLAMA, SMALL})


def test_most_of_a_model_of_70_billion_lies_off_a_24_gib_card(
    models: Mapping[str, ModelShape], rtx_3090: CardMemory
) -> None:
    found = fit(models[HUGE], rtx_3090, num_ctx=8192)

    # 42 of its 80 layers go to the card.
    assert found.offload_share == pytest.approx(1 - 42 / 80, abs=0.02)
    assert found.margin == pytest.approx(-20 * GIB, rel=0.05)


@pytest.mark.parametrize(
    "row",
    [
        (LLAMA, 8192, 75, 105),
        (MIXTRAL, 8192, 80, 110),
        (QWEN, 8192, 25, 35),
        (SMALL, 8192, 200, 300),
        # What users saw who kept the default context: a part spilled over.
        (QWEN, 32768, 4.9, 8.3),
        (HUGE, 8192, 1, 2),
    ],
)
def test_the_speed_is_that_of_a_healthy_card(
    models: Mapping[str, ModelShape],
    rtx_3090: CardMemory,
    row: tuple[str, int, float, float],
) -> None:
    name, num_ctx, slowest, fastest = row

    found = fit(models[name], rtx_3090, num_ctx=num_ctx)

    assert found.expected_tokens_per_second is not None
    assert slowest <= found.expected_tokens_per_second <= fastest


def test_two_small_models_share_the_card_and_a_large_one_shares_it_with_nobody(
    models: Mapping[str, ModelShape], rtx_3090: CardMemory
) -> None:
    resident = fit(models[LLAMA], rtx_3090, num_ctx=8192).needed
    assert resident is not None
    assert rtx_3090.free is not None
    beside = CardMemory(total=24 * GIB, free=rtx_3090.free - resident)

    assert fit(models[SMALL], beside, num_ctx=8192).fits
    assert not fit(models[QWEN], beside, num_ctx=4096).fits
