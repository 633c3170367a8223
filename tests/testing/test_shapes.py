"""The servers' answers have the shape of answers recorded from real ones.

Ollama's must agree exactly. llama.cpp's server speaks OpenAI's and Anthropic's
protocols with some words of its own: everything else that it says, ours say too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from model_manager.testing import (
    Answer,
    AnthropicServer,
    EndEarly,
    HttpFault,
    InStreamError,
    LoopbackServer,
    OllamaServer,
    OpenAIServer,
    Outcome,
)
from model_manager.types import InstalledModel, ToolCall

RECORDED = Path(__file__).parent / "recorded"
USER = [{"role": "user", "content": "hi"}]
CHAT = {"model": "tiny-chat", "messages": USER}
CALL = ToolCall("call_1", "get_weather", {"city": "Paris", "unit": "celsius"})

# Objects whose keys are data: arguments of a call, the header of a model's file.
OPEN = frozenset({"arguments", "input", "model_info"})
# What llama.cpp adds to the protocols that it speaks.
OWN_WORDS = frozenset({"timings", "models", "meta", "aliases", "tags", "architecture"})
# Where the vendor itself says `null` or text, llama.cpp says text or a number.
LOOSE = frozenset({"content", "code"})


@dataclass(frozen=True)
class Exchange:
    status: int
    content_type: str
    body: bytes

    @property
    def frames(self) -> list[Any]:
        """The JSON objects of the body, be it one, lines, or events."""
        data = [line.removeprefix(b"data: ") for line in self.body.split(b"\n")]
        return [json.loads(line) for line in data if line.startswith(b"{")]

    @property
    def shapes(self) -> list[Any]:
        """The shapes of the frames, equal neighbours taken together."""
        return [shape for shape, _ in groupby(map(shape_of, self.frames))]

    @property
    def events(self) -> list[str]:
        """The names of server-sent events, equal neighbours taken together."""
        lines = self.body.decode().split("\n")
        return [n for n, _ in groupby(x for x in lines if x.startswith("event: "))]


def shape_of(value: Any, name: str = "") -> Any:
    """Replace every value by its JSON type; a list is the list of its shapes."""
    if isinstance(value, dict):
        if name in OPEN:
            return "open object"
        return {key: shape_of(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for shape in map(shape_of, value):
            if shape not in shapes:
                shapes.append(shape)
        return shapes
    if isinstance(value, bool) or value is None:
        return str(value) if value is None else "bool"
    return "text" if isinstance(value, str) else "number"


def missing(recorded: Any, ours: Any, path: str = "") -> list[str]:
    """Return where `ours` lacks what `recorded` has, or has another type."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        found = []
        for key in recorded.keys() - OWN_WORDS:
            if key not in ours:
                found.append(f"{path}.{key} is missing")
            elif key not in LOOSE or isinstance(recorded[key], dict | list):
                found += missing(recorded[key], ours[key], f"{path}.{key}")
        return found
    if isinstance(recorded, list) and isinstance(ours, list):
        if len(recorded) != len(ours):
            return [f"{path}: {len(recorded)} shapes recorded, {len(ours)} here"]
        pairs = zip(recorded, ours, strict=True)
        return [text for one, two in pairs for text in missing(one, two, f"{path}[]")]
    return [] if recorded == ours else [f"{path}: {recorded} recorded, {ours} here"]


def recorded(name: str) -> Exchange:
    """Read an excerpt: a status line, headers, an empty line, the body."""
    head, body = (RECORDED / f"{name}.http").read_bytes().split(b"\n\n", 1)
    status, *lines = head.decode().split("\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Exchange(int(status.split()[1]), headers["content-type"], body)


async def answered(
    server: LoopbackServer, method: str, path: str, body: object
) -> Exchange:
    """Send a request to a server of ours."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = server.base_url.removesuffix("/v1") + path
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=None if body is None else data) as response,
    ):
        kind = response.headers["content-type"].lower()
        return Exchange(response.status, kind, await response.read())


def ollama() -> OllamaServer:
    chat, embed = frozenset({"tools"}), frozenset({"embeddings"})
    return OllamaServer(
        models=[
            InstalledModel(name="tiny-chat", capabilities=chat),
            InstalledModel(name="tiny-think", capabilities=chat | {"thinking"}),
            InstalledModel(name="tiny-embed", capabilities=embed),
        ]
    )


THINK = {"model": "tiny-think", "messages": USER, "think": True}
OLLAMA_CASES: dict[str, tuple[str, str, object, Outcome | None]] = {
    "chat": ("POST", "/api/chat", CHAT | {"stream": False}, None),
    "chat_length": (
        "POST",
        "/api/chat",
        CHAT | {"stream": False},
        Answer(text="x", finish_reason="length"),
    ),
    "chat_think": (
        "POST",
        "/api/chat",
        THINK | {"stream": False},
        Answer(text="x", thinking="y"),
    ),
    "chat_tools": (
        "POST",
        "/api/chat",
        CHAT | {"stream": False},
        Answer(tool_calls=(CALL,)),
    ),
    "chat_tool_result": (
        "POST",
        "/api/chat",
        CHAT
        | {
            "stream": False,
            "tools": [{"type": "function", "function": {"name": "get_weather"}}],
            "messages": [*USER, {"role": "tool", "content": "sunny"}],
        },
        None,
    ),
    "chat_format_schema": (
        "POST",
        "/api/chat",
        CHAT | {"stream": False, "format": {"type": "object"}},
        None,
    ),
    "chat_load_only": ("POST", "/api/chat", {"model": "tiny-chat"}, None),
    "chat_unload": ("POST", "/api/chat", {"model": "tiny-chat", "keep_alive": 0}, None),
    "chat_stream": ("POST", "/api/chat", CHAT, None),
    "chat_tools_stream": ("POST", "/api/chat", CHAT, Answer(tool_calls=(CALL,))),
    "embed": ("POST", "/api/embed", {"model": "tiny-embed", "input": ["a", "b"]}, None),
    "tags": ("GET", "/api/tags", None, None),
    "ps_before": ("GET", "/api/ps", None, None),
    "show": ("POST", "/api/show", {"model": "tiny-chat"}, None),
    "version": ("GET", "/api/version", None, None),
    "root": ("GET", "/", None, None),
    "err_404": ("GET", "/api/nothing", None, None),
    "err_method": ("GET", "/api/chat", None, None),
    "err_model_not_found": ("POST", "/api/chat", CHAT | {"model": "nope"}, None),
    "err_no_model": ("POST", "/api/chat", {"messages": USER}, None),
    "err_bad_json": ("POST", "/api/chat", b'{"model": "x"', None),
    "err_think_unsupported": ("POST", "/api/chat", CHAT | {"think": True}, None),
    "err_chat_on_embed_model": (
        "POST",
        "/api/chat",
        CHAT | {"model": "tiny-embed"},
        None,
    ),
    "err_embed_on_chat_model": (
        "POST",
        "/api/embed",
        {"model": "tiny-chat", "input": "x"},
        None,
    ),
    "err_queue_full": ("POST", "/api/chat", CHAT, HttpFault(503)),
    "err_runner_killed_midstream": ("POST", "/api/chat", CHAT, InStreamError(after=2)),
    "err_server_killed_midstream": ("POST", "/api/chat", CHAT, EndEarly(after=2)),
}


@pytest.mark.parametrize("name", OLLAMA_CASES)
async def test_ollama_answers_have_the_recorded_shape(name: str) -> None:
    method, path, body, outcome = OLLAMA_CASES[name]
    real = recorded(f"ollama/{name}")
    async with ollama() as server:
        if outcome is not None:
            server.script(outcome)
        ours = await answered(server, method, path, body)

    assert (ours.status, ours.content_type) == (real.status, real.content_type)
    assert ours.shapes == real.shapes
    if not real.frames:
        assert ours.body == real.body


async def test_ollama_lists_loaded_models_in_the_recorded_shape() -> None:
    async with ollama() as server:
        await answered(server, "POST", "/api/chat", CHAT)
        ours = await answered(server, "GET", "/api/ps", None)

    assert ours.shapes == recorded("ollama/ps_after").shapes


@pytest.mark.parametrize("name", [name for name in OLLAMA_CASES if "err_" in name])
async def test_ollama_errors_have_the_recorded_words(name: str) -> None:
    method, path, body, outcome = OLLAMA_CASES[name]
    real = recorded(f"ollama/{name}")
    async with ollama() as server:
        if outcome is not None:
            server.script(outcome)
        ours = await answered(server, method, path, body)

    if real.frames and "error" in real.frames[-1]:
        assert ours.frames[-1] == real.frames[-1]


STREAM = CHAT | {"stream": True}
USAGE = STREAM | {"stream_options": {"include_usage": True}}
COMPLETIONS = "/v1/chat/completions"
OPENAI_CASES: dict[str, tuple[str, str, object, Outcome | None]] = {
    "chat": ("POST", COMPLETIONS, CHAT, None),
    "chat_length": (
        "POST",
        COMPLETIONS,
        CHAT,
        Answer(text="x", finish_reason="length"),
    ),
    "chat_json_schema": (
        "POST",
        COMPLETIONS,
        CHAT
        | {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "object"}},
            }
        },
        None,
    ),
    "chat_reasoning": ("POST", COMPLETIONS, CHAT, Answer(text="x", thinking="y")),
    "chat_tool_auto": ("POST", COMPLETIONS, CHAT, Answer(tool_calls=(CALL,))),
    "chat_stream": ("POST", COMPLETIONS, USAGE, None),
    "chat_stream_no_usage": ("POST", COMPLETIONS, STREAM, None),
    "chat_tool_auto_stream": ("POST", COMPLETIONS, STREAM, Answer(tool_calls=(CALL,))),
    "embeddings": (
        "POST",
        "/v1/embeddings",
        {"model": "e", "input": ["a", "b"]},
        None,
    ),
    "models": ("GET", "/v1/models", None, None),
    "err_401": ("POST", COMPLETIONS, CHAT, HttpFault(401)),
    "err_404": ("GET", "/v1/nothing", None, None),
    "err_no_messages": ("POST", COMPLETIONS, {"model": "tiny-chat"}, None),
}


async def from_ours(
    server: LoopbackServer, case: tuple[str, str, object, Outcome | None]
) -> Exchange:
    method, path, body, outcome = case
    async with server:
        if outcome is not None:
            server.script(outcome)
        return await answered(server, method, path, body)


def compare(real: Exchange, ours: Exchange) -> None:
    assert ours.status == real.status
    assert ours.content_type.split(";")[0] == real.content_type.split(";")[0]
    assert missing(real.shapes, ours.shapes) == []


@pytest.mark.parametrize("name", OPENAI_CASES)
async def test_openai_answers_have_what_was_recorded(name: str) -> None:
    real = recorded(f"llama_server/{name}")
    server = OpenAIServer(models=["tiny-chat", "e"])
    ours = await from_ours(server, OPENAI_CASES[name])

    compare(real, ours)
    assert ours.body.endswith(b"data: [DONE]\n\n") is real.body.endswith(
        b"data: [DONE]\n\n"
    )


async def test_openai_packs_embeddings_as_recorded() -> None:
    real = recorded("llama_server/embeddings_base64")
    body = {"model": "e", "input": "a", "encoding_format": "base64"}
    ours = await from_ours(OpenAIServer(), ("POST", "/v1/embeddings", body, None))

    assert shape_of(ours.frames[0]["data"][0]["embedding"]) == "text"
    assert shape_of(real.frames[0]["data"][0]["embedding"]) == "text"


async def test_openai_names_an_unknown_model_as_recorded() -> None:
    real = recorded("ollama/err_model_not_found_openai")
    server = OpenAIServer(models=["tiny-chat"])
    case = ("POST", COMPLETIONS, CHAT | {"model": "nope"}, None)

    compare(real, await from_ours(server, case))


MESSAGES = "/v1/messages"
SAY = CHAT | {"max_tokens": 10}
ANTHROPIC_CASES: dict[str, tuple[str, str, object, Outcome | None]] = {
    "llama_server/messages": ("POST", MESSAGES, SAY, None),
    "llama_server/messages_max_tokens": (
        "POST",
        MESSAGES,
        SAY,
        Answer(text="x", finish_reason="length"),
    ),
    "llama_server/messages_thinking": (
        "POST",
        MESSAGES,
        SAY,
        Answer(text="x", thinking="y"),
    ),
    "llama_server/messages_tool": ("POST", MESSAGES, SAY, Answer(tool_calls=(CALL,))),
    "llama_server/messages_stream": ("POST", MESSAGES, SAY | {"stream": True}, None),
    "llama_server/messages_tool_stream": (
        "POST",
        MESSAGES,
        SAY | {"stream": True},
        Answer(tool_calls=(CALL,)),
    ),
    "ollama/anthropic_messages": ("POST", MESSAGES, SAY, None),
    "ollama/err_model_not_found_anthropic": (
        "POST",
        MESSAGES,
        SAY | {"model": "nope"},
        None,
    ),
}


@pytest.mark.parametrize("name", ANTHROPIC_CASES)
async def test_anthropic_answers_have_what_was_recorded(name: str) -> None:
    real = recorded(name)
    server = AnthropicServer(models=["tiny-chat"])
    ours = await from_ours(server, ANTHROPIC_CASES[name])
    # The vendor sends pings; llama.cpp's server does not.
    spoken = ours.body.replace(b'event: ping\ndata: {"type":"ping"}\n\n', b"")

    compare(real, Exchange(ours.status, ours.content_type, spoken))
    assert Exchange(200, "", spoken).events == real.events


def test_every_excerpt_is_compared() -> None:
    there = {
        str(path.relative_to(RECORDED).with_suffix(""))
        for path in RECORDED.glob("*/*.http")
    }
    compared = {
        "ollama/ps_after",
        "ollama/err_model_not_found_openai",
        "llama_server/embeddings_base64",
        *(f"ollama/{name}" for name in OLLAMA_CASES),
        *(f"llama_server/{name}" for name in OPENAI_CASES),
        *ANTHROPIC_CASES,
    }

    assert compared == there
