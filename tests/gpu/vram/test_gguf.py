"""Shapes of model files: written by the format's own library, and by an enemy."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from model_manager.errors import InvalidRequestError
from model_manager.gpu.vram import ModelShape, StateSpace, shape_from_gguf
from model_manager.gpu.vram._ggml import BLOCKS, TYPE_NAMES, tensor_bytes
from model_manager.gpu.vram._keys import _FILE_TYPES

Write = Callable[[gguf.GGUFWriter], None]
WIDTH = 64
VOCABULARY = 96


def written(path: Path, *more: Write, architecture: str = "llama") -> Path:
    """Write a small model of two layers by the format's own library."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(4)
    writer.add_feed_forward_length(128)
    for each in more or (tensors,):
        each(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(writer: gguf.GGUFWriter) -> None:
    ones = np.ones((VOCABULARY, WIDTH), np.float32)
    writer.add_head_count_kv(2)
    writer.add_token_list([f"token {number}" for number in range(VOCABULARY)])
    writer.add_tensor("token_embd.weight", ones)
    writer.add_tensor("output.weight", ones.astype(np.float16))
    packed = gguf.quants.quantize(ones, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(
        "blk.0.attn_k.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0
    )
    writer.add_tensor("blk.0.ffn_gate_exps.weight", ones)


def test_the_sizes_of_all_types_are_those_of_the_formats_own_library() -> None:
    theirs = {
        kind.name: gguf.GGML_QUANT_SIZES[kind] for kind in gguf.GGMLQuantizationType
    }

    assert dict(BLOCKS) == theirs
    assert dict(TYPE_NAMES) == {t.value: t.name for t in gguf.GGMLQuantizationType}
    assert tensor_bytes("q6_K", (256, 3)) == 630
    assert tensor_bytes("Q9_Z", (256, 3)) is None


def test_the_names_of_mixtures_are_those_of_the_formats_own_library() -> None:
    theirs = {
        t.value: t.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for t in gguf.LlamaFileType
    }

    assert {n: theirs[n] for n in _FILE_TYPES} == dict(_FILE_TYPES)


def test_a_file_tells_all_that_the_sum_needs(tmp_path: Path) -> None:
    path = written(tmp_path / "small.gguf")

    shape = shape_from_gguf(path)

    assert shape.unknown == ()
    assert shape.name == "small"
    assert shape.architecture == "llama"
    assert shape.kv_heads == (2, 2)
    assert (shape.key_length, shape.value_length) == (16, 16)
    assert shape.vocabulary == VOCABULARY
    assert shape.token_embedding == VOCABULARY * WIDTH * 4
    assert shape.expert_bytes == VOCABULARY * WIDTH * 4
    assert shape.has_output
    assert shape.parameters == 4 * VOCABULARY * WIDTH
    assert shape.file_size == path.stat().st_size


def test_weights_are_what_the_formats_own_library_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "small.gguf")

    theirs = sum(tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors)

    shape = shape_from_gguf(path)
    assert shape.weights == theirs
    assert shape.card_weights == theirs - shape.token_embedding


def test_embeddings_that_serve_as_output_count_on_the_card(tmp_path: Path) -> None:
    def tied(writer: gguf.GGUFWriter) -> None:
        ones = np.ones((VOCABULARY, WIDTH), np.float32)
        writer.add_tensor("token_embd.weight", ones)

    shape = shape_from_gguf(written(tmp_path / "tied.gguf", tied))

    assert not shape.has_output
    assert shape.card_weights == shape.weights == VOCABULARY * WIDTH * 4
    # Nothing was said of KV heads or of tokens: all heads, and the table's rows.
    assert shape.kv_heads == (4, 4)
    assert shape.vocabulary == VOCABULARY


def test_layers_that_keep_a_state_are_told_apart(tmp_path: Path) -> None:
    def hybrid(writer: gguf.GGUFWriter) -> None:
        tensors_only(writer)
        writer.add_head_count_kv([0, 2])
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(128)
        writer.add_ssm_state_size(16)
        writer.add_ssm_group_count(2)

    shape = shape_from_gguf(written(tmp_path / "hybrid.gguf", hybrid))

    assert shape.kv_heads == (0, 2)
    assert shape.state_space == StateSpace(
        conv_kernel=4, inner_size=128, state_size=16, group_count=2
    )
    assert shape.unknown == ()


def tensors_only(writer: gguf.GGUFWriter) -> None:
    writer.add_tensor("token_embd.weight", np.ones((VOCABULARY, WIDTH), np.float32))


@pytest.mark.parametrize(
    ("architecture", "pattern", "windows"),
    [
        ("gemma2", None, (True, False)),
        # Its files name a window that llama.cpp does not keep to.
        ("phi3", None, None),
        ("gemma4", [True, False], (True, False)),
    ],
)
def test_a_window_counts_only_where_it_is_certain(
    tmp_path: Path,
    architecture: str,
    pattern: list[bool] | None,
    windows: tuple[bool, ...] | None,
) -> None:
    def windowed(writer: gguf.GGUFWriter) -> None:
        tensors_only(writer)
        writer.add_sliding_window(512)
        if pattern is not None:
            writer.add_array(
                f"{architecture}.attention.sliding_window_pattern", pattern
            )

    path = written(tmp_path / "w.gguf", windowed, architecture=architecture)

    shape = shape_from_gguf(path)
    assert shape.sliding_window == 512
    assert shape.window_layers == windows


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("llama.attention.kv_lora_rank", 512, "latent attention"),
        ("llama.pooling_type", 1, "embedding models"),
        ("split.count", 3, "one of 3"),
    ],
)
def test_what_the_sum_does_not_cover_is_unknown(
    tmp_path: Path, key: str, value: int, reason: str
) -> None:
    def special(writer: gguf.GGUFWriter) -> None:
        tensors_only(writer)
        writer.add_uint32(key, value)

    shape = shape_from_gguf(written(tmp_path / "s.gguf", special))

    assert any(reason in each for each in shape.unknown)


def head(tensor_count: int, key_count: int, *parts: bytes, version: int = 3) -> bytes:
    return (
        b"GGUF"
        + struct.pack("<IQQ", version, tensor_count, key_count)
        + b"".join(parts)
    )


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def array(kind: int, length: int) -> bytes:
    return text(b"a") + struct.pack("<IIQ", 9, kind, length)


def tensor(sizes: list[int], kind: int = 0, name: bytes = b"t") -> bytes:
    listed = struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, 0)
    return text(name) + listed


U32_KEY = text(b"k") + struct.pack("<II", 4, 1)
HUGE = 2**63


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends in the middle"),
        (b"GG", "ends in the middle"),
        (b"PK\x03\x04" + bytes(100), "no GGUF file"),
        (head(0, 0, version=1), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "other byte order"),
        (head(HUGE, 0), "claims"),
        (head(0, HUGE), "claims"),
        (head(0, 5), "ends in the middle"),
        (head(0, 1, text(b"k", HUGE)), "a name of"),
        (head(0, 1, text(b"k"), struct.pack("<I", 99)), "unknown type 99"),
        (head(0, 1, text(b"k"), struct.pack("<IQ", 8, HUGE)), "ends in the middle"),
        (head(0, 1, array(8, HUGE)), "claims a list"),
        (head(0, 1, array(0, HUGE)), "ends in the middle"),
        (head(0, 1, array(9, 1)), "list of the unknown type"),
        (head(0, 1, array(8, 2), text(b"x", HUGE)), "claims|ends in the middle"),
        (head(0, 2, U32_KEY, U32_KEY), "twice"),
        (head(1, 0, tensor([])), "0 dimensions"),
        (head(1, 0, tensor([1] * 9)), "9 dimensions"),
        (head(1, 0, tensor([4, 4])), "bytes before its weights do"),
        (head(1, 0, tensor([HUGE, HUGE, HUGE, HUGE])), "before its weights do"),
        (head(2, 0, tensor([1]), tensor([1]), bytes(64)), "twice"),
    ],
)
def test_a_broken_or_hostile_file_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)

    with pytest.raises(InvalidRequestError, match=reason) as refused:
        shape_from_gguf(path)

    assert refused.value.remedy


def test_a_head_that_never_ends_is_left_before_it_fills_the_memory(
    tmp_path: Path,
) -> None:
    path = tmp_path / "endless.gguf"
    path.write_bytes(head(0, 1, text(b"k"), struct.pack("<IQ", 8, 2**40)))
    os.truncate(path, 2**41)  # sparse: it takes no room

    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError, match="more than 64 MiB"):
            shape_from_gguf(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 * 1024**2


def test_a_head_full_of_lists_takes_no_more_than_it_should(tmp_path: Path) -> None:
    numbers = struct.pack("<1024f", *range(1024))
    parts = [
        text(b"%d" % number) + struct.pack("<IIQ", 9, 6, 1024) + numbers
        for number in range(1024)
    ]
    path = tmp_path / "full.gguf"
    path.write_bytes(head(0, 1024, *parts))

    tracemalloc.start()
    try:
        shape = shape_from_gguf(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "the bytes of its weights" in shape.unknown[0]
    assert peak < 64 * 1024**2


def test_an_unknown_type_of_tensor_makes_the_weights_unknown(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(head(1, 0, tensor([4], kind=77)))

    shape = shape_from_gguf(path)

    assert shape.weights is None
    assert any("number 77" in reason for reason in shape.unknown)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    places: list[Any] = [tmp_path, tmp_path / "missing.gguf", tmp_path / "\0"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        places.append(tmp_path / "pipe")

    for place in places:
        with pytest.raises(InvalidRequestError, match="is not there, or no file"):
            shape_from_gguf(place)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("whoever runs this may read every file")
    path = written(tmp_path / "private.gguf")
    path.chmod(0)

    with pytest.raises(InvalidRequestError, match="permission denied"):
        shape_from_gguf(path)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("gguf") / "w.gguf").read_bytes()


def test_a_download_that_was_cut_off_anywhere_is_noticed(
    whole_file: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "cut.gguf"
    for length in range(0, len(whole_file) - 32, 37):
        path.write_bytes(whole_file[:length])
        with pytest.raises(InvalidRequestError):
            shape_from_gguf(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1500), value=st.binary(min_size=1, max_size=8))
@example(place=8, value=b"\xff" * 8)
def test_any_damage_ends_in_a_shape_or_a_refusal(
    whole_file: bytes, tmp_path: Path, place: int, value: bytes
) -> None:
    damaged = whole_file[:place] + value + whole_file[place + len(value) :]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged)

    try:
        shape = shape_from_gguf(path)
    except InvalidRequestError:
        return
    assert isinstance(shape, ModelShape)
