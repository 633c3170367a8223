"""The sums against llama.cpp's own: real loads of models of many forms.

The models are written on the spot, their weights are holes in a file. Compared are the
lines `... buffer size = N MiB` that llama.cpp writes when it loads, on the CPU, where
it puts all tensors: weights, KV cache and states within 5 %, in fact to the last digit
shown; and what it computes in, which must not be more than was reckoned, give or take
a hundredth for lists of small numbers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from model_manager.gpu.vram import CardMemory, Fit, fit, shape_from_gguf

pytestmark = pytest.mark.real_server

MIB: Final = 1024**2
GIB: Final = 1024**3
ODDS: Final = 1.01
PATIENCE: Final = 60
"""Seconds after which a load counts as hanging."""
_HOW: Final = '(eval "$(.ci/real-servers start)"), or set MM_LLAMA_PYTHON'
_LINE: Final = re.compile(
    r"\w+:\s+\S+\s+(model|KV|compute|RS)\s+buffer size\s*=\s*([\d.]+)\s*MiB"
)
Numbers = dict[str, int]
Sizes = dict[str, int]
"""Kind of buffer -> bytes."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A model's form, small but of the real proportions."""

    architecture: str
    layers: int
    width: int
    vocabulary: int
    kind: Kind
    heads: int = 0
    kv_heads: int | list[int] = 0
    head: int = 0
    forward: int = 0
    experts: int = 0
    window: int = 0
    tied: bool = False
    states: bool = False
    norms: Numbers = field(default_factory=dict)
    """Tensors that each layer has besides, and their length."""
    layer: Callable[[int], Iterator[Tensor]] | None = None
    """The tensors of a layer, where they are of a kind of their own."""
    besides: Numbers = field(default_factory=dict)
    """Tensors of no layer, and their length."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys of the architecture besides."""


Tensor = tuple[str, Kind, tuple[int, ...]]


def one_in_four(number: int) -> Iterator[Tensor]:
    """Yield a layer of Qwen 3.5: three of four keep a state, the fourth attends."""
    width, head, forward, state, groups, rank = 1024, 128, 3072, 128, 8, 16
    yield "post_attention_norm.weight", Kind.F32, (width,)
    if (number + 1) % 4 == 0:
        yield "attn_q.weight", Kind.Q8_0, (width, 2 * 8 * head)
        yield "attn_k.weight", Kind.Q8_0, (width, 2 * head)
        yield "attn_v.weight", Kind.Q8_0, (width, 2 * head)
        yield "attn_output.weight", Kind.Q8_0, (8 * head, width)
        yield "attn_q_norm.weight", Kind.F32, (head,)
        yield "attn_k_norm.weight", Kind.F32, (head,)
    else:
        keys, values = state * groups, state * rank
        yield "attn_qkv.weight", Kind.Q8_0, (width, 2 * keys + values)
        yield "attn_gate.weight", Kind.Q8_0, (width, values)
        yield "ssm_conv1d.weight", Kind.F32, (4, 2 * keys + values)
        yield "ssm_dt.bias", Kind.F32, (rank,)
        yield "ssm_a", Kind.F32, (rank,)
        yield "ssm_beta.weight", Kind.F32, (width, rank)
        yield "ssm_alpha.weight", Kind.F32, (width, rank)
        yield "ssm_norm.weight", Kind.F32, (state,)
        yield "ssm_out.weight", Kind.Q8_0, (values, width)
    yield "ffn_gate.weight", Kind.Q8_0, (width, forward)
    yield "ffn_up.weight", Kind.Q8_0, (width, forward)
    yield "ffn_down.weight", Kind.Q8_0, (forward, width)


def two_lengths(number: int) -> Iterator[Tensor]:
    """Yield a layer of Gemma 4: five of six have a window, and shorter heads."""
    width, forward = 1024, 4096
    whole = (number + 1) % 6 == 0
    head, kv_heads = (512, 1) if whole else (256, 2)
    yield "attn_q.weight", Kind.Q8_0, (width, 4 * head)
    yield "attn_k.weight", Kind.Q8_0, (width, kv_heads * head)
    yield "attn_v.weight", Kind.Q8_0, (width, kv_heads * head)
    yield "attn_output.weight", Kind.Q8_0, (4 * head, width)
    yield "attn_q_norm.weight", Kind.F32, (head,)
    yield "attn_k_norm.weight", Kind.F32, (head,)
    for name in ("post_attention_norm", "ffn_norm", "post_ffw_norm"):
        yield f"{name}.weight", Kind.F32, (width,)
    yield "ffn_gate.weight", Kind.Q8_0, (width, forward)
    yield "ffn_up.weight", Kind.Q8_0, (width, forward)
    yield "ffn_down.weight", Kind.Q8_0, (forward, width)


FORMS: Final[dict[str, Form]] = {
    "grouped heads": Form(
        architecture="llama",
        layers=8,
        width=1024,
        vocabulary=32000,
        kind=Kind.Q8_0,
        heads=16,
        kv_heads=4,
        head=64,
        forward=2816,
    ),
    "long heads, tied": Form(
        architecture="qwen3",
        layers=6,
        width=1024,
        vocabulary=50000,
        kind=Kind.Q4_K,
        heads=16,
        kv_heads=8,
        head=128,
        forward=3072,
        tied=True,
        norms={"attn_q_norm": 128, "attn_k_norm": 128},
    ),
    "experts": Form(
        architecture="llama",
        layers=4,
        width=1024,
        vocabulary=4000,
        kind=Kind.Q3_K,
        heads=8,
        kv_heads=2,
        head=128,
        forward=3584,
        experts=8,
    ),
    "every other layer a window": Form(
        architecture="gemma2",
        layers=12,
        width=1024,
        vocabulary=20000,
        kind=Kind.F16,
        heads=4,
        kv_heads=1,
        head=256,
        forward=4096,
        window=1024,
        tied=True,
        norms={"post_attention_norm": 1024, "post_ffw_norm": 1024},
    ),
    "five of six layers a window": Form(
        architecture="gemma3",
        layers=12,
        width=1024,
        vocabulary=20000,
        kind=Kind.Q6_K,
        heads=4,
        kv_heads=1,
        head=256,
        forward=4096,
        window=1024,
        tied=True,
        norms={
            "post_attention_norm": 1024,
            "post_ffw_norm": 1024,
            "attn_q_norm": 256,
            "attn_k_norm": 256,
        },
    ),
    "states": Form(
        architecture="mamba",
        layers=8,
        width=1024,
        vocabulary=8000,
        kind=Kind.F16,
        tied=True,
        states=True,
    ),
    "states and heads": Form(
        architecture="jamba",
        layers=8,
        width=1024,
        vocabulary=8000,
        kind=Kind.F16,
        heads=16,
        kv_heads=[0, 0, 0, 4, 0, 0, 0, 4],
        head=64,
        forward=2048,
        states=True,
    ),
}
FORMS["one layer in four attends"] = Form(
    architecture="qwen35",
    layers=8,
    width=1024,
    vocabulary=20000,
    kind=Kind.Q8_0,
    heads=8,
    kv_heads=2,
    head=128,
    forward=3072,
    layer=one_in_four,
    keys={
        "full_attention_interval": 4,
        "rope.dimension_sections": [11, 11, 10, 0],
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 2048,
        "ssm.state_size": 128,
        "ssm.time_step_rank": 16,
        "ssm.group_count": 8,
    },
)
FORMS["heads of two lengths"] = Form(
    architecture="gemma4",
    layers=12,
    width=1024,
    vocabulary=20000,
    kind=Kind.Q8_0,
    heads=4,
    kv_heads=[1 if (number + 1) % 6 == 0 else 2 for number in range(12)],
    head=512,
    forward=4096,
    window=1024,
    tied=True,
    layer=two_lengths,
    besides={"rope_freqs": 256},
    keys={
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
        "attention.sliding_window_pattern": [(n + 1) % 6 != 0 for n in range(12)],
        "attention.shared_kv_layers": 6,
        "embedding_length_per_layer_input": 0,
        "rope.dimension_count_swa": 256,
    },
)
STATE: Final = {"conv_kernel": 4, "inner_size": 2048, "state_size": 16}
STEPS: Final = 64
"""How Mamba calls the rank of its time steps."""


def heads_of(form: Form) -> list[int]:
    if isinstance(form.kv_heads, list):
        return form.kv_heads
    return [form.kv_heads] * form.layers


def tensors(form: Form) -> Iterator[Tensor]:
    yield "token_embd.weight", form.kind, (form.width, form.vocabulary)
    yield "output_norm.weight", Kind.F32, (form.width,)
    if not form.tied:
        yield "output.weight", form.kind, (form.width, form.vocabulary)
    for name, length in form.besides.items():
        yield f"{name}.weight", Kind.F32, (length,)
    for number, kv_heads in enumerate(heads_of(form)):
        layer = f"blk.{number}."
        yield f"{layer}attn_norm.weight", Kind.F32, (form.width,)
        if form.layer is not None:
            for name, kind, sizes in form.layer(number):
                yield f"{layer}{name}", kind, sizes
            continue
        parts = attention(form, kv_heads) if kv_heads else states(form)
        for name, kind, sizes in (*parts, *forward(form)):
            yield f"{layer}{name}", kind, sizes
        for name, length in form.norms.items():
            yield f"{layer}{name}.weight", Kind.F32, (length,)


def attention(form: Form, kv_heads: int) -> Iterator[Tensor]:
    whole, part = form.heads * form.head, kv_heads * form.head
    yield "attn_q.weight", form.kind, (form.width, whole)
    yield "attn_k.weight", form.kind, (form.width, part)
    yield "attn_v.weight", form.kind, (form.width, part)
    yield "attn_output.weight", form.kind, (whole, form.width)


def states(form: Form) -> Iterator[Tensor]:
    inner, state = STATE["inner_size"], STATE["state_size"]
    yield "ssm_in.weight", form.kind, (form.width, 2 * inner)
    yield "ssm_conv1d.weight", Kind.F32, (STATE["conv_kernel"], inner)
    yield "ssm_conv1d.bias", Kind.F32, (inner,)
    yield "ssm_x.weight", form.kind, (inner, STEPS + 2 * state)
    yield "ssm_dt.weight", Kind.F32, (STEPS, inner)
    yield "ssm_dt.bias", Kind.F32, (inner,)
    yield "ssm_a", Kind.F32, (state, inner)
    yield "ssm_d", Kind.F32, (inner,)
    yield "ssm_out.weight", form.kind, (inner, form.width)
    if form.heads:
        yield "ssm_dt_norm.weight", Kind.F32, (STEPS,)
        yield "ssm_b_norm.weight", Kind.F32, (state,)
        yield "ssm_c_norm.weight", Kind.F32, (state,)


def forward(form: Form) -> Iterator[Tensor]:
    if not form.forward:
        return
    many = (form.experts,) if form.experts else ()
    name = "_exps" if form.experts else ""
    yield "ffn_norm.weight", Kind.F32, (form.width,)
    if form.experts:
        yield "ffn_gate_inp.weight", Kind.F32, (form.width, form.experts)
    yield f"ffn_gate{name}.weight", form.kind, (form.width, form.forward, *many)
    yield f"ffn_up{name}.weight", form.kind, (form.width, form.forward, *many)
    yield f"ffn_down{name}.weight", form.kind, (form.forward, form.width, *many)


def write(path: Path, form: Form) -> Path:
    """Write a model whose weights are a hole in the file."""
    writer = gguf.GGUFWriter(path, form.architecture)
    writer.add_block_count(form.layers)
    writer.add_context_length(65536)
    writer.add_embedding_length(form.width)
    writer.add_feed_forward_length(form.forward)
    writer.add_head_count(form.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    if form.head:
        writer.add_head_count_kv(form.kv_heads)
        writer.add_key_length(form.head)
        writer.add_value_length(form.head)
        writer.add_rope_dimension_count(form.head)
    if form.experts:
        writer.add_expert_count(form.experts)
        writer.add_expert_used_count(2)
    if form.window:
        writer.add_sliding_window(form.window)
    if form.states:
        for name, value in {**STATE, "time_step_rank": STEPS}.items():
            writer.add_uint32(f"{form.architecture}.ssm.{name}", value)
    for key, value in form.keys.items():
        add = writer.add_array if isinstance(value, list) else writer.add_uint32
        add(f"{form.architecture}.{key}", value)
    vocabulary(writer, form.vocabulary)
    room = sum(_announce(writer, tensor) for tensor in tensors(form))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + room)
    return path


def vocabulary(writer: gguf.GGUFWriter, count: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"<{number}>" for number in range(count)])
    writer.add_token_types([gguf.TokenType.NORMAL] * count)
    writer.add_token_merges(["< 1"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)


def _announce(
    writer: gguf.GGUFWriter, tensor: tuple[str, Kind, tuple[int, ...]]
) -> int:
    """Announce a tensor and return the room that it takes in the file."""
    name, kind, (row, *others) = tensor
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    sizes = [*reversed(others), row // weights * size]
    count = int(np.prod(sizes))
    if kind in {Kind.F32, Kind.F16}:
        plain = np.dtype(np.float32 if kind is Kind.F32 else np.float16)
        writer.add_tensor_info(name, [*reversed(others), row], plain, count)
    else:
        writer.add_tensor_info(name, sizes, np.dtype(np.uint8), count, raw_dtype=kind)
    return -(-count // 32) * 32


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("models")

    def of(name: str) -> Path:
        path = folder / f"{name}.gguf"
        return path if path.exists() else write(path, FORMS[name])

    return of


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill a process at the end, or when it takes too long."""
    overdue = threading.Timer(PATIENCE, process.kill)
    overdue.start()
    try:
        yield process
    finally:
        overdue.cancel()
        process.kill()
        process.communicate()


def loaded(path: Path, **asked: Any) -> Sizes:
    """Load a model and return what llama.cpp says that it took."""
    python = os.environ.get("MM_LLAMA_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip(f"no interpreter that has llama.cpp; start the servers {_HOW}")
    script = Path(__file__).with_name("llama_load.py")
    sizes: Sizes = {}
    seen: list[str] = []
    with ended(
        subprocess.Popen(  # noqa: S603 - an interpreter that the user named
            [python, str(script), json.dumps({"path": str(path), **asked})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            seen.append(line)
            if (found := _LINE.search(line)) is not None:
                kind = found[1]
                sizes[kind] = sizes.get(kind, 0) + int(float(found[2]) * MIB)
                if kind == "compute":
                    break  # It comes last.
    assert "compute" in sizes, "".join(seen[-20:])
    return sizes


CARD: Final = CardMemory(total=24 * GIB)


def reckoned(path: Path, **asked: Any) -> Fit:
    return fit(
        shape_from_gguf(path),
        CARD,
        num_ctx=asked["num_ctx"],
        parallel=asked["parallel"],
        kv_cache_type=asked["cache"],
        batch=asked["batch"],
        flash_attention=asked["flash_attention"],
    )


@pytest.mark.parametrize(
    "row",
    [
        ("grouped heads", 4096, 1, "f16"),
        ("grouped heads", 1000, 3, "f16"),
        ("grouped heads", 32768, 1, "q4_0"),
        ("long heads, tied", 4096, 2, "q8_0"),
        ("long heads, tied", 8192, 1, "iq4_nl"),
        ("experts", 4096, 1, "f16"),
        ("experts", 16384, 2, "q5_1"),
        ("every other layer a window", 8192, 1, "f16"),
        ("every other layer a window", 1024, 2, "f16"),
        ("five of six layers a window", 16384, 2, "q8_0"),
        ("five of six layers a window", 32768, 1, "bf16"),
        ("states", 8192, 4, "f16"),
        ("states and heads", 8192, 1, "f16"),
        ("states and heads", 4096, 4, "q4_1"),
        ("one layer in four attends", 8192, 1, "f16"),
        ("one layer in four attends", 16384, 2, "q8_0"),
        ("heads of two lengths", 8192, 1, "f16"),
        ("heads of two lengths", 16384, 2, "q8_0"),
    ],
)
@pytest.mark.parametrize("batch", [512, 2048])
def test_llama_cpp_takes_what_was_reckoned(
    model: Callable[[str], Path], row: tuple[str, int, int, str], batch: int
) -> None:
    name, num_ctx, parallel, cache = row
    path = model(name)
    asked = {
        "num_ctx": num_ctx,
        "parallel": parallel,
        "cache": cache,
        "batch": batch,
        "flash_attention": True,
    }

    took = loaded(path, **asked)

    found = reckoned(path, **asked)
    kept = took.get("KV", 0) + took.get("RS", 0)
    assert shape_from_gguf(path).weights == pytest.approx(took["model"], rel=0.05)
    assert found.kv_cache == pytest.approx(kept, rel=0.05)
    assert found.graph is not None
    assert took["compute"] <= found.graph * ODDS


@pytest.mark.parametrize("name", ["grouped heads", "experts"])
def test_without_flash_attention_there_is_room_for_all_scores(
    model: Callable[[str], Path], name: str
) -> None:
    asked = {
        "num_ctx": 4096,
        "parallel": 1,
        "cache": "f16",
        "batch": 512,
        "flash_attention": False,
    }
    took = loaded(model(name), **asked)

    found = reckoned(model(name), **asked)
    assert found.kv_cache == pytest.approx(took["KV"], rel=0.05)
    assert found.graph is not None
    assert took["compute"] <= found.graph * ODDS
