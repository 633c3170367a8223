"""What the three servers answer, and what they keep."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from base64 import b64decode
from typing import Any

import aiohttp
import pytest

from model_manager.testing import (
    Answer,
    AnthropicServer,
    HttpFault,
    LoopbackServer,
    OllamaServer,
    OpenAIServer,
)
from model_manager.types import InstalledModel, ToolCall, Usage

SERVERS = [OpenAIServer, AnthropicServer, OllamaServer]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_default_answer_says_that_it_is_simulated(
    client: Any, *, stream: bool
) -> None:
    got = await client.chat(stream=stream)

    assert got.status == 200
    assert client.text(got) == "Simulated answer from m."


@pytest.mark.parametrize("stream", [False, True])
async def test_a_scripted_answer_arrives_whole_with_every_character(
    client: Any, *, stream: bool
) -> None:
    text = "Grüße, 世界 🙂\u0085\u2028 and\nlines"
    client.server.script(Answer(text=text, chunk_size=1))

    assert client.text(await client.chat(stream=stream)) == text


async def test_half_a_surrogate_pair_is_answered_and_not_a_crash(client: Any) -> None:
    halves = [{"role": "user", "content": "\ud83d \udcc3"}]

    assert (await client.chat(messages=halves)).status == 200


async def test_after_the_script_comes_the_default_again(client: Any) -> None:
    client.server.script(Answer(text="one"), HttpFault(500))

    answers = [await client.chat() for _ in range(3)]

    assert [got.status for got in answers] == [200, 500, 200]
    assert client.text(answers[2]).startswith("Simulated")


async def test_an_outcome_can_hold_until_it_is_taken_back(client: Any) -> None:
    client.server.always(HttpFault(503))
    statuses = [(await client.chat()).status for _ in range(2)]
    client.server.reset_script()

    assert [*statuses, (await client.chat()).status] == [503, 503, 200]


async def test_outcomes_can_be_for_one_model_or_one_path(client: Any) -> None:
    client.server.script(HttpFault(500), model="other")
    client.server.script(HttpFault(502), path="/v1/models")

    assert (await client.chat()).status == 200
    assert (await client.chat(model="other")).status == 500
    assert (await client.send("GET", "/v1/models")).status == 502


async def test_requests_are_kept_and_their_repr_shows_neither_key_nor_prompt(
    client: Any,
) -> None:
    await client.send(
        "POST",
        client.path(),
        client.body(stream=True),
        headers={"Authorization": "Bearer sk-secret"},
    )

    request = client.server.requests[-1]
    assert (request.method, request.path) == ("POST", client.path())
    assert (request.model, request.streaming) == ("m", True)
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.body["messages"][0]["content"] == "Hello"
    assert "sk-secret" not in repr(request)
    assert "Hello" not in repr(request)


async def test_the_text_can_be_made_from_the_request(client: Any) -> None:
    client.server._answer = lambda body: body["model"].upper()

    assert client.text(await client.chat()) == "M"


async def test_tools_are_called_once_and_their_results_answered(client: Any) -> None:
    first = (await client.chat(tools=client.tools())).raw.decode()
    results: dict[str, dict[str, Any]] = {
        "OpenAIServer": {"role": "tool", "tool_call_id": "x", "content": "sunny"},
        "OllamaServer": {"role": "tool", "tool_name": "weather", "content": "sunny"},
        "AnthropicServer": {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}],
        },
    }
    result = results[type(client.server).__name__]
    second = await client.chat(tools=client.tools(), messages=[result])

    assert "weather" in first
    assert "city" in first
    assert client.text(second).startswith("Simulated")


async def test_structured_output_fits_the_schema(client: Any) -> None:
    wanted: dict[str, dict[str, Any]] = {
        "OpenAIServer": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": PERSON},
            }
        },
        "OllamaServer": {"format": PERSON},
        "AnthropicServer": {
            "output_config": {"format": {"type": "json_schema", "schema": PERSON}}
        },
    }

    got = await client.chat(**wanted[type(client.server).__name__])

    assert json.loads(client.text(got)) == {"name": "", "age": 0}


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_server_can_insist_on_a_key(
    kind: Any, session: aiohttp.ClientSession
) -> None:
    async with kind(key="right") as server:
        url = server.base_url.removesuffix("/v1") + "/v1/models"
        statuses = []
        for key in ("right", "wrong"):
            headers = {"Authorization": f"Bearer {key}"}
            async with session.get(url, headers=headers) as response:
                statuses.append(response.status)

    assert statuses[0] != 401
    assert statuses[1] == 401


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_on_its_own_thread_serves_several_loops(kind: Any) -> None:
    async def ask(server: LoopbackServer) -> int:
        url = server.base_url.removesuffix("/v1") + "/v1/models"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status

    with kind() as server:
        statuses = {asyncio.run(ask(server)) for _ in range(2)}
        address = server.base_url
    server.start()
    try:
        assert server.base_url == address
        assert statuses == {asyncio.run(ask(server))}
    finally:
        server.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(ask(server))


def test_an_address_is_there_only_once_started() -> None:
    with pytest.raises(RuntimeError, match="start it first"):
        _ = OpenAIServer().base_url


def test_a_port_that_is_taken_is_told_to_who_started() -> None:
    with OpenAIServer() as first:
        second = OpenAIServer()
        second._port = first._port
        with pytest.raises(OSError, match="in use"):
            second.start()


async def test_openai_counts_the_cached_part_inside_the_prompt(
    openai_server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    usage = Usage(
        input_tokens=7, cache_read_tokens=3, output_tokens=5, reasoning_tokens=2
    )
    openai_server.script(Answer(text="x", usage=usage), Answer(text="x", usage=Usage()))
    url = f"{openai_server.base_url}/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

    async with session.post(url, json=body) as response:
        told = (await response.json())["usage"]
        headers = response.headers
    async with session.post(url, json=body) as response:
        silent = await response.json()

    assert told == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert "usage" not in silent
    assert headers["x-request-id"] == "req_simulated_000001"
    assert headers["x-ratelimit-remaining-requests"] == "999"


async def test_openai_embeds_as_numbers_or_packed(
    openai_server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    url = f"{openai_server.base_url}/embeddings"
    vectors = []
    for form in ("float", "base64"):
        body = {"model": "e", "input": ["a", "b"], "encoding_format": form}
        async with session.post(url, json=body) as response:
            data = (await response.json())["data"]
        assert [item["index"] for item in data] == [0, 1]
        vectors.append([item["embedding"] for item in data])

    numbers, packed = vectors
    unpacked = [struct.unpack("<8f", b64decode(text)) for text in packed]
    assert unpacked == [pytest.approx(vector, rel=1e-6) for vector in numbers]
    assert sum(x * x for x in numbers[0]) == pytest.approx(1)
    assert numbers[0] != numbers[1]


async def test_lists_of_models_and_unknown_names(
    session: aiohttp.ClientSession,
) -> None:
    for kind in (OpenAIServer, AnthropicServer):
        async with kind(models=["one", "two"]) as server:
            root = server.base_url.removesuffix("/v1")
            async with session.get(f"{root}/v1/models") as response:
                data = (await response.json())["data"]
            for path in ("/v1/chat/completions", "/v1/messages"):
                body = {"model": "three", "messages": [], "max_tokens": 1}
                async with session.post(root + path, json=body) as response:
                    assert response.status == 404
        assert [model["id"] for model in data] == ["one", "two"]


async def test_anthropic_wants_max_tokens(
    anthropic_server: AnthropicServer, session: aiohttp.ClientSession
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{anthropic_server.base_url}/v1/messages"
    async with session.post(url, json=body) as response:
        error = await response.json()

    assert response.status == 400
    assert error["error"]["message"] == "max_tokens: Field required"


async def test_anthropic_writes_cache_buckets_apart(
    anthropic_server: AnthropicServer, session: aiohttp.ClientSession
) -> None:
    usage = Usage(
        input_tokens=7,
        output_tokens=5,
        cache_read_tokens=3,
        cache_write_tokens=4,
        cache_write_1h_tokens=1,
        reasoning_tokens=2,
    )
    anthropic_server.script(Answer(text="x", thinking="hm", usage=usage))
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }
    url = f"{anthropic_server.base_url}/v1/messages"
    async with session.post(url, json=body) as response:
        told = await response.json()

    assert told["usage"] == {
        "input_tokens": 7,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 3,
            "ephemeral_1h_input_tokens": 1,
        },
        "output_tokens_details": {"thinking_tokens": 2},
        "service_tier": "standard",
    }
    assert [block["type"] for block in told["content"]] == ["thinking", "text"]


OLLAMA_MODELS = [
    InstalledModel(name="able", size=5, capabilities=frozenset({"tools", "thinking"})),
    InstalledModel(name="plain:8b", capabilities=frozenset()),
    InstalledModel(name="embedder", capabilities=frozenset({"embeddings"})),
    InstalledModel(name="big:cloud", size=300, remote_host="https://ollama.com:443"),
]


async def test_ollama_lists_what_it_was_given(session: aiohttp.ClientSession) -> None:
    async with (
        OllamaServer(models=OLLAMA_MODELS) as server,
        session.get(f"{server.base_url}/api/tags") as response,
    ):
        tags = {tag["name"]: tag for tag in (await response.json())["models"]}

    assert list(tags) == ["able:latest", "plain:8b", "embedder:latest", "big:cloud"]
    assert tags["able:latest"]["size"] == 5
    assert tags["able:latest"]["capabilities"] == ["completion", "thinking", "tools"]
    assert tags["embedder:latest"]["capabilities"] == ["embedding"]
    assert tags["big:cloud"]["remote_host"] == "https://ollama.com:443"
    assert "remote_host" not in tags["plain:8b"]


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/chat", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/chat", {"model": ""}, 400, "model is required"),
        (
            "/api/chat",
            {"model": "plain:8b", "tools": [{"function": {"name": "f"}}]},
            400,
            '"plain:8b" does not support tools',
        ),
        (
            "/api/chat",
            {"model": "plain:8b", "think": True},
            400,
            '"plain:8b" does not support thinking',
        ),
        (
            "/api/chat",
            {"model": "embedder"},
            400,
            '"embedder" does not support chat',
        ),
        ("/api/show", {"model": "nope"}, 404, "model 'nope' not found"),
    ],
)
async def test_ollama_refuses_what_a_model_cannot_do(
    session: aiohttp.ClientSession,
    *,
    path: str,
    body: dict[str, Any],
    status: int,
    error: str,
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], **body}
    async with (
        OllamaServer(models=OLLAMA_MODELS) as server,
        session.post(server.base_url + path, json=body) as response,
    ):
        assert response.status == status
        assert await response.json() == {"error": error}


async def test_ollama_keeps_what_was_asked_loaded_until_told_otherwise(
    session: aiohttp.ClientSession,
) -> None:
    seen = []
    async with OllamaServer(models=["a", "b:7b"]) as server:
        for body in (
            {"model": "a", "messages": [{"role": "user", "content": "hi"}]},
            {"model": "b:7b", "messages": []},
            {"model": "a", "keep_alive": 0},
        ):
            async with session.post(f"{server.base_url}/api/chat", json=body):
                pass
            async with session.get(f"{server.base_url}/api/ps") as response:
                seen.append([m["name"] for m in (await response.json())["models"]])

    assert seen == [["a:latest"], ["a:latest", "b:7b"], ["b:7b"]]


async def test_ollama_gives_arguments_as_objects_and_thinking_apart(
    ollama_server: OllamaServer, session: aiohttp.ClientSession
) -> None:
    calls = (ToolCall("1", "f", {"x": 1}), ToolCall("2", "g", {}))
    ollama_server.script(Answer(thinking="hm", text="ok", tool_calls=calls))
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }
    async with session.post(f"{ollama_server.base_url}/api/chat", json=body) as got:
        message = (await got.json())["message"]

    assert message["thinking"] == "hm"
    assert [call["function"] for call in message["tool_calls"]] == [
        {"index": 0, "name": "f", "arguments": {"x": 1}},
        {"index": 1, "name": "g", "arguments": {}},
    ]


async def test_the_usual_answer_may_be_a_whole_one_and_arrivals_have_a_time() -> None:
    usual = Answer(text="Hello", model="somebody")
    before = time.monotonic()
    async with OpenAIServer(answer=usual) as server, aiohttp.ClientSession() as session:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        url = f"{server.base_url}/chat/completions"
        async with session.post(url, json=body) as response:
            got = await response.json()

    assert got["choices"][0]["message"]["content"] == "Hello"
    assert got["model"] == "somebody"
    assert before <= server.requests[0].at <= time.monotonic()
