"""Whether a model fits: what the answer says, and what always holds of it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.errors import InvalidRequestError
from model_manager.gpu import Gpu, GpuProcess
from model_manager.gpu.vram import (
    CardMemory,
    Fit,
    Measured,
    ModelShape,
    StateSpace,
    fit,
)
from model_manager.testing import rtx_3090

GIB = 1024**3
MIB = 1024**2
RESERVE = (457 + 1024) * MIB
CACHES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
ORDER = ("fits", "tight", "offload", "does_not_fit")


def card_of(gib: float, **more: float | None) -> CardMemory:
    return replace(CardMemory(total=int(gib * GIB)), **more)  # type: ignore[arg-type]  # numbers of its own fields


# --- the card ---


def test_what_is_free_now_less_what_is_kept_is_the_budget(llama: ModelShape) -> None:
    found = fit(llama, CardMemory(total=24 * GIB, free=20 * GIB))

    assert found.reserve == RESERVE
    assert found.budget == 20 * GIB - RESERVE


def test_an_empty_card_is_asked_about_when_nobody_says_what_is_free(
    llama: ModelShape,
) -> None:
    told = fit(llama, CardMemory(total=24 * GIB, reserved=300 * MIB))
    untold = fit(llama, CardMemory(total=24 * GIB))

    assert told.budget == 24 * GIB - 300 * MIB - RESERVE
    assert untold.budget == 24 * GIB - 512 * MIB - RESERVE


def test_models_that_the_server_would_unload_make_room_and_are_told_of(
    qwen: ModelShape,
) -> None:
    full = CardMemory(total=24 * GIB, free=12 * GIB)

    alone = fit(qwen, full, num_ctx=4096)
    after = fit(qwen, replace(full, evictable=11 * GIB), num_ctx=4096)

    assert alone.state == "does_not_fit"
    assert after.state == "fits"
    assert any("unloads 11.0 GiB" in note for note in after.notes)


def test_never_more_of_the_card_is_used_than_the_percentage_allows(
    qwen: ModelShape,
) -> None:
    card = CardMemory(total=24 * GIB, free=int(23.6 * GIB), host_free=64 * GIB)
    others = 24 * GIB - int(23.6 * GIB)

    for percent in (100.0, 95.0, 90.0, 80.0):
        limited = replace(card, max_usage_percent=percent)
        found = fit(qwen, limited, num_ctx=8192)
        if found.state in {"fits", "tight"}:
            assert found.needed is not None
            used = others + found.needed + 457 * MIB
            assert used <= 24 * GIB * percent / 100

    assert fit(qwen, replace(card, max_usage_percent=95.0), num_ctx=8192).fits
    assert not fit(qwen, replace(card, max_usage_percent=85.0), num_ctx=8192).fits


def test_a_card_that_does_not_tell_its_size_leaves_it_unknown(
    llama: ModelShape,
) -> None:
    found = fit(llama, CardMemory(total=None))

    assert found.state == "unknown"
    assert found.unknown == ("the size of the card's memory is not known",)


def test_the_memory_of_a_card_is_taken_as_it_was_read() -> None:
    gpu = Gpu(
        index=0,
        name="NVIDIA GeForce RTX 3090",
        uuid="GPU-1",
        pci_bus_id="00000000:01:00.0",
        memory_total=24 * GIB,
        memory_used=3 * GIB,
        memory_free=20 * GIB,
        memory_reserved=300 * MIB,
        processes=(GpuProcess(pid=1, kind="compute", name="ollama", memory=2 * GIB),),
    )

    card = CardMemory.of(gpu, evictable=GIB, max_usage_percent=95, host_free=32 * GIB)

    assert card == CardMemory(
        total=24 * GIB,
        free=20 * GIB,
        reserved=300 * MIB,
        evictable=GIB,
        max_usage_percent=95,
        bandwidth=936_000_000_000,
        host_free=32 * GIB,
    )
    assert CardMemory.of(replace(gpu, name="NVIDIA GeForce RTX 5060 Ti")).bandwidth is (
        None
    )


def process(pid: int, name: str | None, gib: float | None) -> GpuProcess:
    memory = None if gib is None else int(gib * GIB)
    return GpuProcess(pid=pid, kind="compute", name=name, memory=memory)


@pytest.mark.parametrize(
    ("processes", "counted"),
    [
        # Its models lie on another card, whatever it says.
        ((process(1, "python", 20),), 0),
        ((process(1, "python", 15), process(2, "ollama.exe", 5)), 5),
        ((process(1, "llama-server", 5), process(1, "llama-server", 5)), 5),
        # Windows tells nobody's memory, and containers no names.
        ((process(1, "python", None), process(2, "ollama.exe", None)), 10),
        ((process(1, "python", 15), process(2, None, None)), 5),
        ((), 10),
        (None, 10),
    ],
)
def test_only_what_the_driver_shows_of_the_servers_models_can_be_given_back(
    processes: tuple[GpuProcess, ...] | None, counted: int
) -> None:
    gpu = replace(rtx_3090(), memory_used=20 * GIB, processes=processes)

    assert CardMemory.of(gpu, evictable=10 * GIB).evictable == counted * GIB


def test_a_percentage_that_stands_in_the_way_is_named(llama: ModelShape) -> None:
    card = CardMemory(total=24 * GIB, max_usage_percent=20)

    assert "raise max_vram_usage_percent" in fit(llama, card, num_ctx=4096).advice[0]


def test_a_shorter_context_and_a_smaller_file_are_advised_together(
    models: dict[str, ModelShape],
) -> None:
    small = models["mixtral:8x7b-instruct-v0.1-q3_k_m"]
    mixtral = replace(
        small, weights=26_000_000_000, quantization="Q4_0", parameters=46_700_000_000
    )

    found = fit(mixtral, CardMemory(total=24 * GIB), num_ctx=32768)

    *_, both = found.advice
    name = both.split()[1]
    assert "with a num_ctx of 8192" in both
    assert name not in {each.name for each in found.smaller_quantizations}


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_ctx": 4096.5},
        {"num_ctx": "8192"},
        {"num_ctx": True},
        {"parallel": None},
        {"kv_cache_type": None},
        {"batch": "512"},
    ],
)
def test_what_is_no_number_is_told(llama: ModelShape, wrong: dict[str, Any]) -> None:
    words = "num_ctx|parallel|KV cache|batch"
    with pytest.raises(InvalidRequestError, match=words):
        fit(llama, CardMemory(total=24 * GIB), **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"total": -1},
        {"bandwidth": -5},
        {"host_bandwidth": 0},
        {"free": -1},
        {"evictable": -1},
        {"host_free": -1},
        {"max_usage_percent": 0},
        {"max_usage_percent": 100.5},
        {"max_usage_percent": float("nan")},
    ],
)
def test_a_card_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        card_of(24, **wrong)

    assert refused.value.remedy


# --- the question ---


@pytest.mark.parametrize(
    ("gib", "context"), [(11, 4096), (22.9, 4096), (23, 32768), (46, 32768)]
)
def test_where_nobody_asks_it_is_the_context_that_the_server_would_take(
    models: dict[str, ModelShape], gib: float, context: int
) -> None:
    huge = models["llama3.1:70b-instruct-q4_k_m"]

    assert fit(huge, card_of(gib)).num_ctx == context
    assert fit(huge, card_of(80)).num_ctx == 131072  # 262144 is more than it can


def test_what_the_models_own_settings_ask_for_goes_before_the_servers(
    llama: ModelShape,
) -> None:
    pinned = replace(llama, pinned_context=2048)

    assert fit(pinned, card_of(24)).num_ctx == 2048
    assert fit(pinned, card_of(24), num_ctx=4096).num_ctx == 4096


def test_no_context_is_longer_than_the_model_was_trained_with(
    llama: ModelShape,
) -> None:
    longer = fit(llama, card_of(24), num_ctx=32768)

    assert longer.num_ctx == 8192
    assert longer.needed == fit(llama, card_of(24), num_ctx=8192).needed


def test_contexts_are_allocated_in_steps_of_256(llama: ModelShape) -> None:
    found = [fit(llama, card_of(24), num_ctx=n).kv_cache for n in (1, 256, 257, 512)]

    assert found == [32 * MIB, 32 * MIB, 64 * MIB, 64 * MIB]


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("f16", 1.0),
        ("Q8_0 ", 34 / 64),
        ("q4_0", 18 / 64),
        ("f32", 2.0),
        ("q5_1", 0.375),
    ],
)
def test_the_type_of_the_cache_decides_about_its_bytes(
    llama: ModelShape, kind: str, share: float
) -> None:
    found = fit(llama, card_of(24), num_ctx=4096, kv_cache_type=kind)

    assert found.kv_cache == 512 * MIB * share
    assert found.kv_cache_type == kind.strip().lower()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"kv_cache_type": "q9_9"}, "f16, bf16, f32, q8_0"),
        ({"num_ctx": 0}, "from 1 on"),
        ({"parallel": 0}, "from 1 on"),
        ({"batch": -4}, "from 1 on"),
        (
            {"kv_cache_type": "q8_0", "flash_attention": False},
            "OLLAMA_FLASH_ATTENTION=1",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(
    llama: ModelShape, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        fit(llama, card_of(24), **asked)  # type: ignore[arg-type]  # wrong on purpose


def test_without_flash_attention_a_long_context_costs_much_more(
    llama: ModelShape,
) -> None:
    usual = fit(llama, card_of(24), num_ctx=8192)
    without = fit(llama, card_of(24), num_ctx=8192, flash_attention=False)

    assert usual.graph is not None
    assert without.graph is not None
    # 32 heads look from 512 tokens at 8192, in 4 bytes.
    assert without.graph > 512 * 8192 * 32 * 4
    assert usual.graph < GIB


def test_images_take_a_projector_and_room_to_work_in(llama: ModelShape) -> None:
    sees = replace(llama, projector=600 * MIB, has_projector=True)

    found = fit(sees, card_of(24), num_ctx=512)

    assert found.projector == 600 * MIB + GIB
    assert found.num_ctx == 2048


def test_a_window_spares_cache_only_where_it_is_shorter_than_the_context(
    llama: ModelShape,
) -> None:
    windowed = replace(
        llama,
        sliding_window=1024,
        window_layers=(True, False) * 16,
        train_context=65536,
    )
    whole = replace(windowed, window_layers=None)
    card = card_of(24)

    long = fit(windowed, card, num_ctx=8192).kv_cache
    assert long == 16 * (8192 + 1024 + 1024) * 4096
    assert fit(whole, card, num_ctx=8192).kv_cache == 32 * 8192 * 4096
    short = fit(windowed, card, num_ctx=512)
    assert short.kv_cache == fit(whole, card, num_ctx=512).kv_cache


def test_layers_with_a_state_cost_the_same_at_any_context(llama: ModelShape) -> None:
    states = replace(
        llama,
        kv_heads=(0,) * 32,
        state_space=StateSpace(conv_kernel=4, inner_size=8192, state_size=16),
        train_context=65536,
    )
    card = card_of(24)

    small, large = (fit(states, card, num_ctx=n).kv_cache for n in (512, 65536))

    assert small == large == 32 * 4 * (3 * 8192 + 16 * 8192)
    assert fit(states, card, num_ctx=512, parallel=3).kv_cache == 3 * small


# --- the answer ---


def test_what_does_not_fit_is_told_with_what_would(qwen: ModelShape) -> None:
    card = CardMemory(total=24 * GIB, free=int(23.2 * GIB), host_free=64 * GIB)

    found = fit(qwen, card, num_ctx=32768, kv_cache_type="f16")

    assert found.state == "offload"
    assert found.advice[0] == f"set num_ctx to {found.max_num_ctx}, or less"
    assert "quantization" in found.advice[-1]
    names = [each.name for each in found.smaller_quantizations]
    assert names == ["q2_K"]
    budget = found.budget
    assert budget is not None
    assert all(each.needed <= budget for each in found.smaller_quantizations)
    assert all(
        a.bits_per_weight > b.bits_per_weight
        for a, b in pairwise(found.smaller_quantizations)
    )


def test_a_mixture_that_is_too_large_is_advised_in_a_smaller_quantization(
    models: dict[str, ModelShape], rtx_3090: CardMemory
) -> None:
    small = models["mixtral:8x7b-instruct-v0.1-q3_k_m"]
    too_large = replace(small, weights=26_400_000_000, quantization="Q4_K_M")

    found = fit(too_large, rtx_3090, num_ctx=8192)

    assert not found.fits
    best = found.smaller_quantizations[0]
    assert best.name in {"q3_K_L", "q3_K_M"}
    assert any(best.name in line for line in found.advice)
    smaller = {each.name: each for each in found.smaller_quantizations}
    # The file that there is has 20.4 or 22.5 thousand million bytes.
    assert 20_400_000_000 <= smaller["q3_K_M"].weights <= 22_500_000_000


def test_a_smaller_cache_is_advised_where_that_is_enough(qwen: ModelShape) -> None:
    card = CardMemory(total=24 * GIB, free=int(22.2 * GIB) + RESERVE)

    found = fit(qwen, card, num_ctx=16384)

    assert found.state == "tight"
    assert any("OLLAMA_KV_CACHE_TYPE=q8_0" in line for line in found.advice)
    assert fit(qwen, card, num_ctx=16384, kv_cache_type="q8_0").fits


def test_what_others_hold_is_asked_back_where_that_is_enough(
    llama: ModelShape,
) -> None:
    card = CardMemory(total=24 * GIB, free=4 * GIB, reserved=0)

    found = fit(llama, card)

    assert any("free the 20.0 GiB of the card" in line for line in found.advice)


def test_a_model_far_too_large_is_told_to_be(models: dict[str, ModelShape]) -> None:
    huge = models["llama3.1:70b-instruct-q4_k_m"]

    found = fit(huge, CardMemory(total=24 * GIB))

    assert found.smaller_quantizations == ()
    assert found.max_num_ctx is None
    assert found.advice == ("take a model with fewer parameters",)


def test_what_spills_over_needs_memory_of_the_machine(qwen: ModelShape) -> None:
    card = CardMemory(total=24 * GIB)

    unknown = fit(qwen, card, num_ctx=32768)
    enough = fit(qwen, replace(card, host_free=16 * GIB), num_ctx=32768)
    little = fit(qwen, replace(card, host_free=GIB), num_ctx=32768)

    assert (unknown.state, enough.state, little.state) == (
        "does_not_fit",
        "offload",
        "does_not_fit",
    )
    assert "is not known" in unknown.notes[0]
    assert enough.offload_share == pytest.approx(0.18, abs=0.02)


def test_a_speed_is_only_expected_of_a_card_that_is_known(llama: ModelShape) -> None:
    assert fit(llama, card_of(24)).expected_tokens_per_second is None


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"layers": None}, "number of layers"),
        ({"kv_heads": None}, "KV cache"),
        ({"kv_heads": (8,) * 31}, "not said of all layers"),
        ({"window_layers": (True,)}, "not said of all layers"),
        ({"vocabulary": None}, "vocabulary"),
        ({"train_context": None}, "trained with"),
        ({"weights": None}, "bytes of its weights"),
        ({"projector": None}, "projector"),
        ({"kv_lora_rank": 512}, "MLA"),
        ({"is_embedding": True}, "embedding models"),
        ({"has_draft": True}, "draft model"),
        ({"doubts": ("strange",)}, "strange"),
    ],
)
def test_what_is_not_known_never_fits_and_is_named(
    llama: ModelShape, missing: dict[str, object], words: str
) -> None:
    shape = replace(llama, **missing)  # type: ignore[arg-type]  # its own fields

    found = fit(shape, card_of(24))

    assert found.state == "unknown"
    assert not found.fits
    assert any(words in reason for reason in found.unknown)
    assert found.needed is found.margin is found.max_num_ctx is None


def test_weights_alone_can_be_too_much_whatever_else_is_unknown(
    models: dict[str, ModelShape],
) -> None:
    huge = replace(models["llama3.1:70b-instruct-q4_k_m"], kv_lora_rank=512)

    assert fit(huge, card_of(24)).state == "does_not_fit"


# --- what was measured ---


def test_what_was_measured_goes_before_what_was_reckoned(qwen: ModelShape) -> None:
    card = CardMemory(total=24 * GIB, free=int(22.2 * GIB) + RESERVE)
    took = 22 * GIB
    measured = Measured(num_ctx=16384, size=took, size_vram=took)

    reckoned = fit(qwen, card, num_ctx=16384)
    found = fit(qwen, card, num_ctx=16384, measured=measured)

    assert reckoned.state == "tight"
    assert found.state == "fits"
    assert found.is_measured
    assert found.needed == took
    assert found.max_num_ctx == 16384


@pytest.mark.parametrize(
    "other",
    [
        {"num_ctx": 8192},
        {"parallel": 2},
        {"kv_cache_type": "q8_0"},
        {"digest": "another"},
        # A part was elsewhere: what the whole would take is not known.
        {"size": 23 * GIB},
        # The server knew nothing, and told the size of the file.
        {"size": 19_850_000_000, "size_vram": 19_850_000_000},
    ],
)
def test_a_measure_of_something_else_counts_for_nothing(
    qwen: ModelShape, other: dict[str, object]
) -> None:
    shape = replace(qwen, digest="this one")
    fields: dict[str, object] = {"digest": "this one", **other}
    measured = replace(
        Measured(num_ctx=16384, size=22 * GIB, size_vram=22 * GIB),
        **fields,  # type: ignore[arg-type]  # its own fields
    )

    found = fit(shape, card_of(24), num_ctx=16384, measured=measured)

    assert not found.is_measured


def test_a_model_that_cannot_be_reckoned_can_be_measured(llama: ModelShape) -> None:
    shape = replace(llama, kv_lora_rank=512)
    measured = Measured(num_ctx=8192, size=9 * GIB, size_vram=9 * GIB)

    found = fit(shape, card_of(24), num_ctx=8192, measured=measured)

    assert found.state == "fits"
    assert found.needed == 9 * GIB


# --- how it is shown ---


def test_people_read_it_in_gib(llama: ModelShape, rtx_3090: CardMemory) -> None:
    shown = str(fit(llama, rtx_3090)).splitlines()

    assert shown[0] == "llama3:8b-instruct-q6_k: fits"
    assert shown[1].startswith("  needs   7.3 GiB: weights 5.7 GiB, KV cache 1.0 GiB")
    assert "(8192 tokens, f16)" in shown[1]
    assert shown[2] == "  budget  22.2 GiB, 14.9 GiB to spare"
    assert "up to 8192 tokens" in shown[3]
    assert "tokens/s" in shown[4]


def test_programs_read_it_as_plain_data(qwen: ModelShape) -> None:
    found = fit(qwen, card_of(24))

    data = json.loads(json.dumps(found.to_dict()))

    assert data["state"] == "does_not_fit"
    assert data["margin"] == found.margin
    assert data["smaller_quantizations"][0]["name"] == "q2_K"


def test_notebooks_show_it_as_a_table_and_no_name_breaks_out_of_it(
    llama: ModelShape,
) -> None:
    shown = fit(replace(llama, name="<script>"), card_of(24))._repr_html_()

    assert shown.startswith("<table>")
    assert "<script>" not in shown


# --- what always holds ---

SHAPES = st.builds(
    lambda layers, heads, head, weights, window, **facts: ModelShape(
        name="any",
        architecture="llama",
        layers=layers,
        kv_heads=(heads,) * layers,
        key_length=head,
        value_length=head,
        heads=heads,
        weights=weights,
        sliding_window=window,
        window_layers=None if window is None else (True, *(False,) * (layers - 1)),
        **facts,
    ),
    layers=st.integers(1, 100),
    heads=st.integers(1, 64),
    head=st.sampled_from((32, 64, 80, 128, 256)),
    weights=st.integers(1, 60 * GIB),
    window=st.none() | st.integers(1, 8192),
    embedding_length=st.integers(64, 16384),
    feed_forward_length=st.integers(0, 60000),
    vocabulary=st.integers(100, 300_000),
    train_context=st.integers(100, 300_000),
    token_embedding=st.integers(0, GIB),
    has_output=st.booleans(),
    projector=st.sampled_from((0, 800 * MIB)),
    parameters=st.none() | st.integers(1, 10**12),
)
CARDS = st.builds(
    CardMemory,
    total=st.integers(0, 96 * GIB),
    free=st.none() | st.integers(0, 96 * GIB),
    evictable=st.integers(0, 8 * GIB),
    max_usage_percent=st.floats(1, 100),
    host_free=st.none() | st.integers(0, 128 * GIB),
    bandwidth=st.none() | st.just(936 * 10**9),
)
CONTEXTS = st.integers(1, 400_000)


def needed(found: Fit) -> int:
    assert found.needed is not None
    return found.needed


@settings(deadline=None)
@given(SHAPES, CARDS, CONTEXTS)
def test_the_parts_add_up_and_the_state_follows_from_the_margin(
    shape: ModelShape, card: CardMemory, num_ctx: int
) -> None:
    found = fit(shape, card, num_ctx=num_ctx)

    parts = (found.weights, found.kv_cache, found.graph, found.projector)
    assert sum(part or 0 for part in parts) == needed(found)
    assert found.margin is not None
    assert (found.state == "fits") == (found.margin >= 0)
    if found.state == "tight":
        assert -768 * MIB <= found.margin < 0
    assert (found.offload_share == 0) == (found.state in {"fits", "tight"})
    assert found.offload_share is not None
    assert 0 <= found.offload_share <= 1
    if shape.card_weights is not None and found.budget is not None:
        assert not (found.fits and shape.card_weights > found.budget)
    assert str(found)


@settings(deadline=None)
@given(SHAPES, CARDS, CONTEXTS, st.integers(1, 8))
def test_more_context_slots_or_bytes_of_cache_never_need_less(
    shape: ModelShape, card: CardMemory, num_ctx: int, parallel: int
) -> None:
    now = needed(fit(shape, card, num_ctx=num_ctx, parallel=parallel))

    assert now <= needed(fit(shape, card, num_ctx=num_ctx + 777, parallel=parallel))
    assert now <= needed(fit(shape, card, num_ctx=num_ctx, parallel=parallel + 1))
    larger = [
        needed(fit(shape, card, num_ctx=num_ctx, kv_cache_type=kind))
        for kind in ("q4_0", "q5_0", "q8_0", "f16", "f32")
    ]
    assert larger == sorted(larger)


@settings(deadline=None)
@given(SHAPES, CARDS, st.sampled_from(CACHES), st.integers(1, 4))
def test_the_longest_context_fits_and_a_longer_one_does_not(
    shape: ModelShape, card: CardMemory, kind: str, parallel: int
) -> None:
    longest = fit(shape, card, kv_cache_type=kind, parallel=parallel).max_num_ctx

    def fits_at(num_ctx: int) -> bool:
        return fit(
            shape, card, num_ctx=num_ctx, kv_cache_type=kind, parallel=parallel
        ).fits

    most = shape.train_context or 0
    assert longest is None or longest == most or longest % 256 == 0
    assert (longest or 0) <= most
    assert longest is None or fits_at(longest)
    assert longest is not None or not fits_at(1)
    after = (longest or 0) + 256
    if after <= most:
        assert not fits_at(after)


@settings(deadline=None)
@given(SHAPES, CARDS, CONTEXTS, st.floats(1, 100))
def test_a_smaller_share_of_the_card_never_makes_anything_fit_better(
    shape: ModelShape, card: CardMemory, num_ctx: int, percent: float
) -> None:
    limited = replace(
        card, max_usage_percent=min(percent, card.max_usage_percent), host_free=None
    )
    free = replace(card, host_free=None)

    before, after = (fit(shape, each, num_ctx=num_ctx) for each in (free, limited))

    assert before.budget is not None
    assert after.budget is not None
    assert after.budget <= before.budget
    assert ORDER.index(after.state) >= ORDER.index(before.state)


@settings(deadline=None)
@given(SHAPES, CARDS, CONTEXTS)
def test_advice_that_is_followed_helps(
    shape: ModelShape, card: CardMemory, num_ctx: int
) -> None:
    found = fit(shape, card, num_ctx=num_ctx)

    assert not (found.fits and found.advice)
    assert found.fits or found.advice
    for line in found.advice:
        if line.startswith("set num_ctx"):
            assert fit(shape, card, num_ctx=found.max_num_ctx).fits
        if line.startswith("keep the KV cache"):
            assert fit(shape, card, num_ctx=num_ctx, kv_cache_type="q8_0").fits
