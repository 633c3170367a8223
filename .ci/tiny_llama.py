#!/usr/bin/env python3
"""Real llama.cpp servers on loopback, each over a model written on the spot.

The weights are no learned ones: a model is a table that leads from each token to the
next, laid out as a llama of one layer that passes its input through. Whatever is asked,
it says its line. Runs where `xllamacpp` is installed (llama.cpp with its HTTP server,
as a Python wheel), needs nothing else, and downloads nothing.

Use: `tiny_llama.py FOLDER` writes the models there, starts the servers on free ports,
writes `FOLDER/env` (lines of `export MM_LLAMA_CHAT=<port>`, and of MM_LLAMA_PYTHON, the
interpreter that has llama.cpp) and serves until SIGTERM.
"""

from __future__ import annotations

import importlib
import random
import shlex
import signal
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# `GGUF`, the file format of llama.cpp, version 3: ggml-org/ggml, docs/gguf.md.
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
PLAIN, CONTROL = 1, 3
ALIGNMENT: Final = 32
WIDTH: Final = 64
"""Numbers a token; each place of a line has one of its own, so 63 are the most."""
BYTES: Final = 256
"""Tokens of one byte, so that every text can be read; those of the line follow."""
START: Final = 0
"""The place of every token that is not part of the line."""
SURE, EAGER = 40.0, 20.0
"""Logits of the next token of a line, and of its first one."""
# Where a grammar forbids the line, JSON shall be closed as soon as it may be.
CLOSING: Final = {'"': 9.0, "}": 8.0, "]": 7.0, ":": 6.0, ",": 5.0, "0": 4.0, "f": 3.0}
SPECIALS: Final = ("<|im_start|>", "<|im_end|>")

TEMPLATE: Final = """\
{%- macro turn(role, text) %}<|im_start|>{{ role }}
{{ text }}<|im_end|>
{% endmacro %}
{%- if tools %}<|im_start|>system
You may call functions:
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
Call one as <tool_call>
{"name": <its name>, "arguments": <an object>}
</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- turn('user', '<tool_response>\n' + message.content + '\n</tool_response>') }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\n' }}
THOUGHT
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}
{{- '}\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- else %}
{{- turn(message.role, message.content) }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
THOUGHT: Final = """\
{%- if message.reasoning_content %}
{{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}
{%- endif %}"""

HELLO: Final = "I am small, and always say this. Grüße, 世界 🙂, à bientôt."
CALL: Final = (
    '<tool_call>\n{"name": "get_weather", "arguments": '
    '{"city": "Paris", "unit": "celsius"}}\n</tool_call>'
)
THINK: Final = "<think>\nSix times seven, I think.\n</think>\n\nThe answer is 42."
ENDLESS: Final = "and so on and on, without an end in sight; "


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One server: what its model says, and how it is run."""

    kind: str
    line: str = HELLO
    ends: bool = True
    window: int = 2048
    """Tokens of each of the two slots."""
    embeds: bool = False
    keys: list[str] = field(default_factory=list)


PLANS: Final = (
    Plan(kind="chat"),
    Plan(kind="tool", line=CALL),
    Plan(kind="think", line=THINK),
    Plan(kind="random", line=ENDLESS, ends=False),
    Plan(kind="embed", embeds=True),
    Plan(kind="auth", keys=["sk-local-test"]),
    Plan(kind="wide", window=65536),
)


def cut(line: bytes) -> list[bytes]:
    """Cut a line into different pieces of some bytes, through characters too."""
    pieces: list[bytes] = []
    start = 0
    while start < len(line):
        end = start + 3
        while line[start:end] in pieces and end < len(line):
            end += 1
        pieces.append(line[start:end])
        start = end
    if len(pieces) > 1 and (len(pieces[-1]) < 2 or pieces[-1] in pieces[:-1]):  # noqa: PLR2004 - one byte is a token of its own already
        last = pieces.pop()
        pieces[-1] += last
    return pieces


def spelling() -> list[str]:
    """Return how a byte-level vocabulary spells each byte: as a printable character."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in shown else next(spare)) for byte in range(BYTES)]


def weights(plan: Plan, pieces: int) -> tuple[list[list[float]], list[list[float]]]:
    """Return the rows of the input and of the output table, a row a token.

    A token is a place, one number of `WIDTH`; normalised, that is `sqrt(WIDTH)` there.
    Output row t holds at place p how much t wants to follow p.
    """
    tokens = BYTES + pieces + len(SPECIALS)
    if plan.embeds:
        chance = random.Random(7)  # noqa: S311 - weights, not secrets
        rows = [[chance.gauss(0, 1) for _ in range(WIDTH)] for _ in range(tokens)]
        return rows, rows
    reads = [[0.0] * WIDTH for _ in range(tokens)]
    says = [[0.0] * WIDTH for _ in range(tokens)]
    loud = WIDTH**0.5
    for token in range(tokens):
        place = token - BYTES + 1 if BYTES <= token < BYTES + pieces else START
        reads[token][place] = 1.0
    for sign, logit in CLOSING.items():
        says[ord(sign)][START] = logit / loud
    says[BYTES][START] = EAGER / loud
    for place in range(1, pieces + 1):
        last = tokens - 1 if plan.ends else BYTES
        following = BYTES + place if place < pieces else last
        says[following][place] = SURE / loud
    return reads, says


def text(value: str) -> bytes:
    """Write a string as the format has it: length, then bytes."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: Any) -> bytes:
    """Write one key and its value."""
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def scalar(kind: int, value: Any) -> bytes:
    """Write one value of a kind."""
    if kind == STRING:
        return text(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def entries(key: str, kind: int, values: list[Any]) -> bytes:
    """Write one key and its list of values."""
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(scalar(kind, value) for value in values)


def facts(plan: Plan, pieces: list[bytes]) -> list[bytes]:
    """Return what the file says of itself: shape, vocabulary, template."""
    spelled = spelling()
    words = spelled + ["".join(spelled[b] for b in piece) for piece in pieces]
    end = len(words) + 1
    thought = THOUGHT if "<think>" in plan.line else ""
    shape = {
        "context_length": plan.window,
        "embedding_length": WIDTH,
        "block_count": 1,
        "feed_forward_length": WIDTH,
        "attention.head_count": 1,
        "rope.dimension_count": WIDTH,
        "vocab_size": len(words) + len(SPECIALS),
    }
    if plan.embeds:
        shape["pooling_type"] = 1  # the mean
    return [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, f"tiny-{plan.kind}"),
        *(entry(f"llama.{name}", U32, value) for name, value in shape.items()),
        entry("llama.attention.layer_norm_rms_epsilon", F32, 1e-6),
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "gpt-2"),
        entries("tokenizer.ggml.tokens", STRING, [*words, *SPECIALS]),
        entries(
            "tokenizer.ggml.token_type",
            I32,
            [PLAIN] * len(words) + [CONTROL] * len(SPECIALS),
        ),
        # One merge that no text has: the reader wants some.
        entries("tokenizer.ggml.merges", STRING, [f"{spelled[0]} {spelled[1]}"]),
        entry("tokenizer.ggml.eos_token_id", U32, end),
        entry("tokenizer.ggml.bos_token_id", U32, end - 1),
        entry("tokenizer.ggml.add_bos_token", BOOL, False),  # noqa: FBT003 - the value
        entry("tokenizer.chat_template", STRING, TEMPLATE.replace("THOUGHT", thought)),
    ]


def write(path: Path, plan: Plan) -> None:
    """Write a model's file."""
    pieces = cut(plan.line.encode())
    reads, says = weights(plan, len(pieces))
    # The layer adds nothing to what passes through it.
    nothing, ones = [[0.0] * WIDTH] * WIDTH, [[1.0] * WIDTH]
    attention = ("attn_q", "attn_k", "attn_v", "attn_output")
    forward = ("ffn_gate", "ffn_up", "ffn_down")
    tensors = {
        "token_embd.weight": reads,
        "output.weight": says,
        "output_norm.weight": ones,
        "blk.0.attn_norm.weight": ones,
        "blk.0.ffn_norm.weight": ones,
        **{f"blk.0.{name}.weight": nothing for name in attention + forward},
    }
    known = facts(plan, pieces)
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(known)), *known]
    body: list[bytes] = []
    place = 0
    for name, rows in tensors.items():
        sizes = (WIDTH,) if rows is ones else (WIDTH, len(rows))
        head.append(text(name) + struct.pack("<I", len(sizes)))
        head.append(struct.pack(f"<{len(sizes)}QIQ", *sizes, 0, place))
        # A row is a multiple of the alignment, so that nothing is left to fill up.
        body += (struct.pack(f"<{WIDTH}f", *row) for row in rows)
        place += 4 * WIDTH * len(rows)
    header = b"".join(head)
    gap = bytes(-len(header) % ALIGNMENT)
    path.write_bytes(header + gap + b"".join(body))


def serve(path: Path, plan: Plan) -> Any:
    """Start a server over a model's file on a free port of 127.0.0.1."""
    # Late, so that the writer can be looked at without it.
    xllamacpp = importlib.import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.model_alias = {f"tiny-{plan.kind}"}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.n_parallel = 2
    settings.n_ctx = 2 * plan.window
    settings.cpuparams.n_threads = 2
    settings.n_threads_http = 8
    settings.api_keys = plan.keys
    settings.embedding = plan.embeds
    settings.endpoint_slots = True
    settings.endpoint_metrics = True
    settings.offline = True
    settings.ui = False
    return xllamacpp.Server(settings)


def main(folder: Path) -> None:
    """Write, serve, say where, and wait to be ended."""
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    lines = [f"export MM_LLAMA_PYTHON={shlex.quote(sys.executable)}\n"]
    servers = []
    for plan in PLANS:
        path = folder / f"tiny-{plan.kind}.gguf"
        write(path, plan)
        server = serve(path, plan)
        servers.append(server)
        port = server.listening_address.rpartition(":")[2]
        lines.append(f"export MM_LLAMA_{plan.kind.upper()}={port}\n")
    ready = folder / "env.new"
    ready.write_text("".join(lines), "utf-8")
    ready.replace(folder / "env")
    signal.sigwait(stops)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
