"""Shapes of what servers answer: of a real Ollama, and of one that answers nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_manager.gpu.vram import (
    CardMemory,
    Measured,
    ModelShape,
    fit,
    measured_from_ps,
    shape_from_show,
)

GIB = 1024**3
MIB = 1024**2


def recorded() -> dict[str, Any]:
    """Return what Ollama 0.32.15 told of a synthetic model of two layers."""
    layer = {
        "attn_k": [128, 64],
        "attn_norm": [128],
        "attn_output": [128, 128],
        "attn_q": [128, 128],
        "attn_v": [128, 64],
        "ffn_down": [256, 128],
        "ffn_gate": [128, 256],
        "ffn_norm": [128],
        "ffn_up": [128, 256],
    }
    whole = {"output": [128, 879], "output_norm": [128], "token_embd": [128, 879]}
    named = {
        **whole,
        **{f"blk.{n}.{name}": shape for n in range(2) for name, shape in layer.items()},
    }
    return {
        "parameters": 'num_ctx                        2048\nstop    "<|im_end|>"',
        "details": {"family": "llama", "quantization_level": "unknown"},
        "capabilities": ["completion", "tools"],
        "model_info": {
            "general.architecture": "llama",
            "general.file_type": 0,
            "general.parameter_count": 520576,
            "llama.attention.head_count": 4,
            "llama.attention.head_count_kv": 2,
            "llama.attention.layer_norm_rms_epsilon": 1e-05,
            "llama.block_count": 2,
            "llama.context_length": 8192,
            "llama.embedding_length": 128,
            "llama.feed_forward_length": 256,
            "llama.vocab_size": 879,
            "tokenizer.ggml.merges": None,
            "tokenizer.ggml.tokens": None,
        },
        "tensors": [
            {"name": f"{name}.weight", "type": "F32", "shape": shape}
            for name, shape in named.items()
        ],
    }


PS = {
    "name": "tiny-chat:latest",
    "size": 10758389,
    "digest": "f74df0859a80d7f10d2535347143469e3dcf523dcfde4573770a6c7d7c8772d1",
    "size_vram": 0,
    "context_length": 4096,
}
"""What the same server told of it when it was loaded, on a machine without a card."""


def test_a_real_server_took_what_is_reckoned_from_what_it_tells() -> None:
    shape = shape_from_show(recorded(), name="tiny-chat")

    found = fit(shape, CardMemory(total=24 * GIB), num_ctx=4096)

    assert shape.unknown == ()
    # Without a card, the table of embeddings is counted with all the rest.
    assert found.needed is not None
    reckoned = found.needed + shape.token_embedding
    assert reckoned == pytest.approx(PS["size"], rel=0.05)


def test_all_that_a_real_server_tells_is_understood() -> None:
    shape = shape_from_show(recorded(), name="tiny-chat", size=2096376, digest="f7")

    assert shape == ModelShape(
        name="tiny-chat",
        architecture="llama",
        layers=2,
        kv_heads=(2, 2),
        key_length=32,
        value_length=32,
        embedding_length=128,
        feed_forward_length=256,
        heads=4,
        vocabulary=879,
        train_context=8192,
        pinned_context=2048,
        weights=520576 * 4,
        token_embedding=128 * 879 * 4,
        has_output=True,
        parameters=520576,
        file_size=2096376,
        quantization="F32",
        digest="f7",
    )


def test_without_a_list_of_tensors_the_files_stand_in_for_the_weights() -> None:
    body = recorded()
    del body["tensors"]

    with_size = shape_from_show(body, name="m", size=2_096_376)
    without = shape_from_show(body, name="m")

    assert with_size.card_weights == 2_096_376
    assert with_size.unknown == ()
    assert without.unknown == ("not known: the bytes of its weights",)


def test_a_projector_is_what_the_files_hold_besides_the_tensors() -> None:
    body = {**recorded(), "projector_info": {"clip.has_vision_encoder": True}}

    known = shape_from_show(body, name="m", size=520576 * 4 + 600 * MIB)
    unknown = shape_from_show(body, name="m")

    assert known.has_projector
    assert known.projector == 600 * MIB
    assert unknown.projector is None
    assert fit(unknown, CardMemory(total=24 * GIB)).state == "unknown"


def test_a_projector_among_the_tensors_is_no_weight() -> None:
    body = recorded()
    body["tensors"].append({"name": "v.patch.weight", "type": "F16", "shape": [64, 64]})

    shape = shape_from_show(body, name="m")

    assert shape.projector == 64 * 64 * 2
    assert shape.weights == 520576 * 4
    assert shape.has_projector


def test_a_mixture_is_told_with_the_width_of_the_experts_that_are_used() -> None:
    body = recorded()
    body["model_info"] |= {
        "llama.expert_count": 8.0,
        "llama.expert_used_count": 2.0,
        "llama.expert_feed_forward_length": 200.0,
        "llama.expert_shared_feed_forward_length": 50,
    }
    body["tensors"].append(
        {"name": "blk.0.ffn_up_exps.weight", "type": "Q4_K", "shape": [256, 128, 8]}
    )

    shape = shape_from_show(body, name="m")

    assert (shape.experts, shape.experts_used) == (8, 2)
    assert shape.expert_bytes == 128 * 8 * 144
    assert shape.feed_forward_length == 450
    assert shape.active_share is not None
    assert 0 < shape.active_share < 1


def test_what_an_expert_takes_is_reckoned_where_no_tensors_are_listed() -> None:
    body = recorded()
    del body["tensors"]
    body["model_info"] |= {
        "llama.expert_count": 8,
        "llama.expert_used_count": 2,
        "general.parameter_count": 2 * 8 * 3 * 128 * 256 + 100_000,
    }

    shape = shape_from_show(body, name="m", size=10_000_000)
    told = shape.active_share
    body["model_info"].pop("general.parameter_count")

    assert told == pytest.approx(1 - 0.94 * 6 / 8, abs=0.01)
    untold = shape_from_show(body, name="m", size=10_000_000)
    assert untold.active_share is None
    card = CardMemory(total=24 * GIB, bandwidth=936_000_000_000)
    assert fit(untold, card).expected_tokens_per_second is None


def test_only_every_fourth_layer_of_a_hybrid_keeps_a_cache_that_grows() -> None:
    body = hybrid({"qwen35.full_attention_interval": 4})

    shape = shape_from_show(body, name="m", size=17_000_000_000)
    found = fit(shape, CardMemory(total=48 * GIB), num_ctx=32768)

    assert shape.kv_heads == (0, 0, 0, 4) * 16
    # Of 16 layers: 4 heads, 256 + 256 numbers of 2 bytes; of 48 a state.
    cache = 16 * 32768 * 4 * 512 * 2
    state = 48 * 4 * (3 * (6144 + 2 * 16 * 128) + 128 * 6144)
    assert found.kv_cache == cache + state
    assert shape_from_show(hybrid({}), name="m", size=1).kv_heads == shape.kv_heads
    listed = hybrid(
        {"qwen35.attention.recurrent_layers": [True, True, False] * 21 + [1]}
    )
    assert shape_from_show(listed, name="m").kv_heads == (0, 0, 4) * 21 + (0,)


def hybrid(keys: dict[str, object]) -> dict[str, Any]:
    """Return the numbers of a Qwen 3.5 of 27B."""
    body = recorded()
    del body["tensors"]
    named = {
        "block_count": 64,
        "context_length": 262144,
        "embedding_length": 5120,
        "feed_forward_length": 17408,
        "vocab_size": 248320,
        "attention.head_count": 24,
        "attention.head_count_kv": 4,
        "attention.key_length": 256,
        "attention.value_length": 256,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 6144,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
    }
    info = {f"qwen35.{name}": value for name, value in named.items()}
    body["model_info"] = {"general.architecture": "qwen35", **info, **keys}
    return body


def test_layers_with_a_window_may_have_heads_of_their_own_and_others_no_cache() -> None:
    body = recorded()
    body["model_info"] |= {
        "llama.attention.key_length": 512,
        "llama.attention.value_length": 512,
        "llama.attention.key_length_swa": 256,
        "llama.attention.value_length_swa": 128,
        "llama.attention.sliding_window": 512,
        "llama.attention.sliding_window_pattern": [True, False],
    }
    both = shape_from_show(body, name="m")
    body["model_info"]["llama.attention.shared_kv_layers"] = 1
    shared = shape_from_show(body, name="m")
    card = CardMemory(total=24 * GIB)

    def cache(shape: ModelShape) -> int | None:
        return fit(shape, card, num_ctx=8192, batch=512).kv_cache

    window, whole = 1024 * 2 * (256 + 128) * 2, 8192 * 2 * 1024 * 2
    assert cache(both) == window + whole
    assert cache(shared) == window


def test_files_that_no_list_names_count_as_weights() -> None:
    listed = 520576 * 4

    alone = shape_from_show(recorded(), name="m", size=listed + 20 * MIB)
    more = shape_from_show(recorded(), name="m", size=40 * GIB)

    assert alone.weights == listed
    assert more.weights == 40 * GIB


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("llama.block_count", "32", "number of layers"),
        ("llama.block_count", 10**12, "number of layers"),
        ("llama.block_count", -1, "number of layers"),
        ("llama.block_count", True, "number of layers"),
        ("llama.block_count", 2.5, "number of layers"),
        ("llama.embedding_length", float("inf"), "width of its embeddings"),
        ("llama.attention.head_count_kv", [2], "KV cache"),
        ("llama.attention.head_count_kv", [2, "x"], "KV cache"),
        ("llama.attention.key_length", {}, "length of its keys"),
        ("llama.context_length", None, "trained with"),
        ("llama.feed_forward_length", [256], "feed-forward"),
        ("general.architecture", 7, "its architecture"),
        ("general.architecture", "other", "number of layers"),
        ("llama.pooling_type", 1, "embedding models"),
        ("llama.feed_forward_length", 10**400, "feed-forward"),
        ("llama.block_count", 0, "number of layers"),
        ("llama.context_length", 0, "trained with"),
        ("llama.embedding_length", 0, "width of its embeddings"),
        ("llama.attention.head_count", 0, "attention heads"),
        ("llama.attention.key_length", 0, "length of its keys"),
        ("llama.attention.value_length", 0, "length of its values"),
    ],
)
def test_what_is_not_what_it_should_be_is_unknown_and_named(
    key: str, value: object, words: str
) -> None:
    body = recorded()
    body["model_info"][key] = value

    shape = shape_from_show(body, name="m")

    assert any(words in reason for reason in shape.unknown)
    assert fit(shape, CardMemory(total=24 * GIB)).state == "unknown"


def test_lists_say_it_layer_by_layer() -> None:
    body = recorded()
    body["model_info"] |= {
        "llama.attention.head_count_kv": [2, 1],
        "llama.attention.head_count": [4.0, 2.0],
    }

    shape = shape_from_show(body, name="m")

    assert shape.kv_heads == (2, 1)
    assert shape.heads == 4
    assert shape.unknown == ()


def test_layers_without_cache_or_state_make_the_sum_unknown() -> None:
    body = recorded()
    body["model_info"]["llama.attention.head_count_kv"] = [0, 2]

    shape = shape_from_show(body, name="m")

    assert any("keep a state" in reason for reason in shape.unknown)


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "a", "type": "Q9_Z", "shape": [4]},
        {"name": "a", "type": "F32", "shape": []},
        {"name": "a", "type": "F32", "shape": ["4"]},
        {"name": "a", "type": "F32"},
        {"name": 1, "type": "F32", "shape": [4]},
        "a",
    ],
)
def test_a_tensor_that_cannot_be_counted_makes_no_guess_of_the_weights(
    tensor: object,
) -> None:
    body = recorded()
    body["tensors"].append(tensor)

    shape = shape_from_show(body, name="m")

    assert shape.weights is None
    assert fit(shape, CardMemory(total=24 * GIB)).state == "unknown"


TEXTS = st.text(alphabet="ab0.é", max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**53])
    | st.floats()
    | TEXTS,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.data())
def test_no_answer_makes_it_fall_over_or_fit(data: st.DataObject) -> None:
    body = recorded()
    for part in data.draw(st.sets(st.sampled_from(sorted(body)))):
        body[part] = data.draw(JSON)
    info = body["model_info"]
    if isinstance(info, dict) and info:
        for key in data.draw(st.sets(st.sampled_from(sorted(info)), max_size=4)):
            info[key] = data.draw(JSON)

    shape = shape_from_show(body, name="m")

    found = fit(shape, CardMemory(total=24 * GIB))
    assert found.state == "unknown" or not shape.unknown
    assert json.dumps(found.to_dict())


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["model_info", "tensors", "details"]), JSON))
@example({"model_info": [], "tensors": {}, "details": 1})
def test_nonsense_is_unknown(body: dict[str, object]) -> None:
    shape = shape_from_show(body, name="m")

    assert fit(shape, CardMemory(total=24 * GIB)).state == "unknown"


def test_what_a_server_took_is_read_from_its_list_of_loaded_models() -> None:
    assert measured_from_ps(PS, parallel=2, kv_cache_type="q8_0") == Measured(
        num_ctx=4096,
        size=10758389,
        size_vram=0,
        parallel=2,
        kv_cache_type="q8_0",
        digest=str(PS["digest"]),
    )


@pytest.mark.parametrize(
    "wrong", [{"size": None}, {"size": 0}, {"size_vram": "x"}, {"context_length": 0}]
)
def test_a_list_that_does_not_tell_enough_measures_nothing(
    wrong: dict[str, object],
) -> None:
    assert measured_from_ps({**PS, **wrong}) is None
