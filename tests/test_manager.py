"""The whole library over real sockets: the vendors' SDKs against loopback servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import override

from model_manager import Message, ModelManager, Tool, ToolResult, errors
from model_manager.testing import (
    Answer,
    AnthropicServer,
    CutStream,
    FakeClock,
    HttpFault,
    OllamaServer,
    OpenAIServer,
    Reset,
    ScriptedProvider,
    Silence,
)
from model_manager.types import Completed, InstalledModel, StreamReset, Usage

KEYS = {"ANTHROPIC_API_KEY": "sk-ant-PLANTED-KEY", "OPENAI_API_KEY": "sk-PLANTED-KEY"}
SONNET = "claude-sonnet-5-5"
LUNA = "gpt-6-luna"


class Servers:
    """The three servers, and a configuration that points at them."""

    def __init__(self) -> None:
        self.anthropic = AnthropicServer()
        self.openai = OpenAIServer()
        self.ollama = OllamaServer(models=["coder", "nomic-embed-text"])

    def config(self) -> dict[str, Any]:
        return {
            "version": "1.1.0",
            "agent_models": {
                "cloudy": {"primary": SONNET, "fallback": LUNA, "local": "coder"},
                "homely": {"primary": LUNA, "local": "coder", "prefer_local": True},
                "secret": {
                    "primary": SONNET,
                    "local": "coder",
                    "privacy": "local_only",
                },
            },
            "defaults": {"primary": LUNA, "embedding": "nomic-embed-text"},
            "model_providers": {
                "anthropic": {
                    "base_url": self.anthropic.base_url,
                    "api_key_env": "ANTHROPIC_API_KEY",
                    "data_zone": "cloud",
                    "models": {SONNET: {}},
                },
                "openai": {
                    "base_url": self.openai.base_url,
                    "api_key_env": "OPENAI_API_KEY",
                    "data_zone": "cloud",
                    "models": {LUNA: {}},
                },
                "ollama": {
                    "base_url": self.ollama.base_url,
                    "models": {"coder": {}, "nomic-embed-text": {}},
                },
            },
            "retry": {"base_delay": 0.01},
        }

    def manager(self, environ: dict[str, str] | None = None) -> ModelManager:
        return ModelManager(self.config(), environ=KEYS if environ is None else environ)


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    with made.anthropic, made.openai, made.ollama:
        yield made


@pytest.fixture
async def manager(servers: Servers) -> AsyncIterator[ModelManager]:
    async with servers.manager() as made:
        yield made


async def test_an_answer_says_what_it_cost_and_why_it_came_from_there(
    manager: ModelManager,
) -> None:
    response = await manager.generate("cloudy", "hello", task="code")

    assert response.text == f"Simulated answer from {SONNET}."
    assert (response.provider, response.model) == ("anthropic", SONNET)
    assert not response.is_local
    assert response.cost is not None
    assert response.cost > 0
    assert response.usage.output_tokens
    assert response.timings.total > 0
    assert response.timings.first_token is None, "a whole answer has no first token"
    assert response.route.candidates[0].role == "primary"
    assert response.attempts[0].rate_limit is not None
    assert response.attempts[0].rate_limit.requests_remaining is not None
    assert response.request_id


async def test_local_answers_cost_nothing_and_say_how_fast_they_were(
    manager: ModelManager,
) -> None:
    response = await manager.generate("homely", "hello")

    assert response.is_local
    assert response.cost == Decimal(0)
    assert response.timings.tokens_per_second
    assert response.timings.load is not None
    assert response.timings.first_token is not None


async def test_the_local_server_down_means_the_cloud_answers(
    servers: Servers, manager: ModelManager
) -> None:
    await manager.generate("homely", "hello")
    await asyncio.to_thread(servers.ollama.stop)

    response = await manager.generate("homely", "hello")

    assert response.provider == "openai"
    assert isinstance(response.attempts[0].error, errors.ConnectionFailedError)


async def test_the_cloud_down_means_the_local_model_answers(
    servers: Servers, manager: ModelManager
) -> None:
    servers.anthropic.always(HttpFault(529))
    servers.openai.always(Reset())

    response = await manager.generate("cloudy", "hello")

    assert (response.provider, response.is_local) == ("ollama", True)
    assert [a.outcome for a in response.attempts][-1] == "answered"


async def test_a_silent_local_server_is_looked_at_within_the_calls_own_time(
    servers: Servers, manager: ModelManager
) -> None:
    servers.ollama.always(Silence(), path="/api/version")
    response = await manager.generate("cloudy", "hello", timeout=1)

    assert response.provider == "anthropic"
    assert 0.2 <= response.timings.total < 1


async def test_private_work_reaches_no_cloud_server_whatever_fails(
    servers: Servers, manager: ModelManager
) -> None:
    servers.ollama.always(HttpFault(500))

    with pytest.raises(errors.AllCandidatesFailedError):
        await manager.generate("secret", "hello", model=SONNET)
    with pytest.raises(errors.AllCandidatesFailedError):
        await manager.generate("cloudy", "hello", privacy="local_only")

    assert servers.anthropic.requests == []
    assert servers.openai.requests == []


async def test_private_work_without_a_local_model_is_refused_with_the_reason(
    servers: Servers,
) -> None:
    config = servers.config()
    del config["model_providers"]["ollama"]
    config["defaults"] = {"primary": LUNA}
    config["agent_models"] = {}
    async with ModelManager(config, environ=KEYS) as manager:
        with pytest.raises(errors.LocalOnlyUnavailableError, match="stay on this"):
            await manager.generate("somebody", "hello", privacy="local_only")

    assert servers.openai.requests == []


async def test_without_keys_the_rest_still_works(servers: Servers) -> None:
    async with servers.manager(environ={}) as manager:
        response = await manager.generate("cloudy", "hello")

        assert response.provider == "ollama"
        assert {r.code for r in response.route.refused} == {"missing_key"}


async def test_a_model_installed_later_is_used_without_a_restart() -> None:
    clock = FakeClock()
    script = ScriptedProvider(clock=clock, installed={})
    config = {
        "version": "1.1.0",
        "agent_models": {"a": {"local": "late"}},
        "model_providers": {
            "box": {
                "kind": "scripted",
                "base_url": "http://127.0.0.1:9",
                "models": {"late": {}},
            }
        },
    }
    manager = ModelManager(
        config, providers={"scripted": script.factory}, clock=clock, environ={}
    )
    with pytest.raises(errors.NoCandidateError, match="does not have it"):
        await manager.generate("a", "hello")
    script.installed = {"late": InstalledModel(name="late")}

    with pytest.raises(errors.NoCandidateError):
        await manager.generate("a", "hello")
    clock.advance(61)
    response = await manager.generate("a", "hello")

    assert response.model == "late"


@pytest.mark.parametrize("agent", ["cloudy", "homely", "plain"])
async def test_streams_give_the_same_answer_as_whole_calls(
    manager: ModelManager, agent: str
) -> None:
    whole = await manager.generate(agent, "hello")

    async with manager.stream(agent, "hello") as stream:
        events = [event async for event in stream]
    async with manager.stream(agent, "hello") as again:
        text = "".join([piece async for piece in again.text])

    assert isinstance(events[-1], Completed)
    assert stream.response.text == text == whole.text
    assert stream.response.usage.output_tokens == whole.usage.output_tokens
    assert stream.response.timings.first_token is not None
    assert again.response.text == text


@pytest.mark.parametrize("agent", ["cloudy", "homely", "plain"])
async def test_a_tool_is_called_and_its_result_is_answered(
    manager: ModelManager, agent: str
) -> None:
    weather = Tool(
        "get_weather",
        "Tell the weather.",
        {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    )
    asked = await manager.generate(agent, "weather?", tools=[weather])
    call = asked.tool_calls[0]

    answered = await manager.generate(
        agent,
        [
            Message.user("weather?"),
            asked.message(),
            Message.tool(ToolResult(call.id, "sunny", name=call.name)),
        ],
        tools=[weather],
    )

    assert asked.finish_reason == "tool_calls"
    assert isinstance(call.arguments["city"], str)
    assert answered.text.startswith("Simulated answer")


class Holder(BaseModel):
    call: Callable[[], int]


class City(BaseModel):
    name: str
    people: int


@pytest.mark.parametrize("agent", ["cloudy", "homely", "plain"])
async def test_structured_output_is_parsed(manager: ModelManager, agent: str) -> None:
    response = await manager.generate(agent, "a city", output_type=City)

    assert isinstance(response.parsed, City)


async def test_embedding_keeps_the_order_of_its_inputs(manager: ModelManager) -> None:
    both = await manager.embed("somebody", ["one", "two"])
    second = await manager.embed("somebody", "two")

    assert len(both.vectors) == 2
    assert both.vectors[1] == second.vectors[0] != both.vectors[0]
    assert (both.model, both.cost) == ("nomic-embed-text", Decimal(0))


async def test_embeddings_of_the_cloud_have_a_price(servers: Servers) -> None:
    config = servers.config()
    price = {"input": "1", "output": "2"}
    config["model_providers"]["openai"]["models"]["vectors"] = {"price": price}
    config["defaults"] = {"embedding": "vectors"}
    servers.openai.always(Answer(usage=Usage(input_tokens=1_000_000)))
    async with ModelManager(config, environ=KEYS) as manager:
        embedded = await manager.embed("somebody", ["one"])

    assert embedded.cost == Decimal(1)


async def test_a_cut_stream_begins_anew_elsewhere(
    servers: Servers, manager: ModelManager
) -> None:
    servers.anthropic.always(CutStream(after=2))

    async with manager.stream("cloudy", "hello") as stream:
        events = [event async for event in stream]

    assert any(isinstance(event, StreamReset) for event in events)
    assert stream.response.provider == "openai"
    assert stream.response.text == f"Simulated answer from {LUNA}."


@pytest.mark.parametrize("agent", ["cloudy", "homely", "plain"])
async def test_leaving_a_stream_early_hangs_up(
    servers: Servers, manager: ModelManager, agent: str
) -> None:
    long = Answer(text="word " * 2000, pause=0.01)
    asked = {
        "cloudy": servers.anthropic,
        "homely": servers.ollama,
        "plain": servers.openai,
    }[agent]
    asked.always(long)

    async with manager.stream(agent, "hello") as stream:
        async for _ in stream:
            break

    await asked.wait_for_disconnects(1)


async def test_no_key_prompt_or_answer_shows_in_logs_errors_or_reprs(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="model_manager")
    servers.anthropic.always(HttpFault(400, message="you said SECRET-PROMPT"))
    servers.openai.always(Answer(text="SECRET-ANSWER"))
    shown = []
    async with servers.manager() as manager:
        shown.append(repr(await manager.generate("plain", "SECRET-PROMPT")))
        with pytest.raises(errors.BadRequestError) as caught:
            await manager.generate("cloudy", "SECRET-PROMPT")
        shown += [repr(manager), repr(manager.config), str(caught.value)]
        shown += [
            repr(caught.value),
            repr(caught.value.attempts),
            str(vars(caught.value)),
        ]

    text = " ".join([*shown, caplog.text])
    assert "SECRET" not in text
    assert "PLANTED" not in text


async def test_health_tells_of_every_endpoint(
    servers: Servers, manager: ModelManager
) -> None:
    await asyncio.to_thread(servers.openai.stop)

    health = await manager.health()

    status = {e.endpoint: e.status for e in health.endpoints}
    assert status == {"anthropic": "ok", "openai": "unreachable", "ollama": "ok"}
    assert "coder" in str(health.to_dict())
    assert "unreachable" in str(health)


async def test_an_agents_handle_has_the_same_methods(manager: ModelManager) -> None:
    handle = manager.for_agent("homely")

    assert (await handle.generate("hello")).is_local
    assert handle.explain("hello").agent == "homely"
    assert await asyncio.to_thread(lambda: handle.sync.generate("hello").is_local)
    manager.sync.close()


def test_ten_loops_in_a_row_share_one_manager(servers: Servers) -> None:
    manager = servers.manager()

    for _ in range(10):
        answers = [asyncio.run(manager.generate(a, "hi")) for a in ("cloudy", "homely")]
        assert [a.is_local for a in answers] == [False, True]


def test_threads_with_loops_of_their_own_share_one_manager(servers: Servers) -> None:
    manager = servers.manager()

    async def four() -> int:
        calls = (manager.generate(agent, "hi") for agent in ("cloudy", "homely") * 2)
        return len(await asyncio.gather(*calls))

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: asyncio.run(four()), range(24)))

    assert done == [4] * 24


def test_leaving_the_manager_in_one_loop_disturbs_no_other(servers: Servers) -> None:
    servers.openai.always(Answer(text="word " * 40, pause=0.01))
    manager = servers.manager()
    begun = threading.Event()

    async def long() -> str:
        async with manager.stream("plain", "hi") as stream:
            async for _ in stream:
                begun.set()
        return stream.response.text

    async def short() -> None:
        async with manager:
            await manager.generate("homely", "hi")
            manager.sync.generate("homely", "hi")

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(asyncio.run, long())]
        answers.append(pool.submit(lambda: manager.sync.generate("plain", "hi").text))
        begun.wait(30)
        asyncio.run(short())
        texts = {answer.result(timeout=30) for answer in answers}
    manager.sync.close()

    assert texts == {"word " * 40}


def test_threads_without_a_loop_share_the_sync_methods(servers: Servers) -> None:
    manager = servers.manager()

    with manager.sync, ThreadPoolExecutor(8) as pool:
        texts = set(
            pool.map(lambda _: manager.sync.generate("plain", "hi").text, range(64))
        )

    assert texts == {f"Simulated answer from {LUNA}."}


async def test_sync_methods_work_inside_a_running_loop(manager: ModelManager) -> None:
    response = manager.sync.generate("plain", "hello")
    with manager.sync.stream("homely", "hello") as stream:
        text = "".join(stream.text)
    manager.sync.close()

    assert response.provider == "openai"
    assert text == stream.response.text


def test_leaving_a_sync_stream_early_hangs_up(servers: Servers) -> None:
    servers.openai.always(Answer(text="word " * 2000, pause=0.01))
    manager = servers.manager()

    with manager.sync.stream("plain", "hello") as stream:
        next(iter(stream))

    asyncio.run(servers.openai.wait_for_disconnects(1))
    manager.sync.close()


def test_the_background_thread_ends_with_close(servers: Servers) -> None:
    manager = servers.manager()
    manager.sync.generate("plain", "hello")

    manager.sync.close()

    assert not [t for t in threading.enumerate() if "model_manager-sync" in t.name]
    assert manager.sync.generate("plain", "hello").text, "a later call starts anew"
    manager.sync.close()


def test_closing_ends_a_call_that_is_under_way(servers: Servers) -> None:
    servers.openai.always(Silence())
    manager = servers.manager()

    with ThreadPoolExecutor(1) as pool:
        call: Future[Any] = pool.submit(manager.sync.generate, "plain", "hello")
        while not servers.openai.requests:
            time.sleep(0.01)
        manager.sync.close()

        with pytest.raises(errors.ModelManagerError, match="closed while"):
            call.result(timeout=30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gets_a_background_loop_of_its_own(servers: Servers) -> None:
    """In a process of its own: a fork beside pytest's threads proves nothing."""
    program = f"""
import json, os
from model_manager import ModelManager
manager = ModelManager(json.loads({json.dumps(json.dumps(servers.config()))}),
                       environ={KEYS!r})
manager.sync.generate("plain", "hello")
child = os.fork()
if child == 0:
    manager.sync.generate("plain", "hello")
    os._exit(7)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
manager.sync.generate("plain", "hello")
manager.sync.close()
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert len(servers.openai.requests) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": [1]}, "Message"),
        ({"prompt": 5}, "prompt must be"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 7}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"prompt": "half \ud800"}, "half a character"),
        ({"timeout": -1}, "timeout"),
        ({"privacy": "local"}, "local_only"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"tools": [{"name": "x"}]}, "Tool"),
        ({"tools": [Tool("x"), Tool("x")]}, "same name"),
        ({"output_type": list[int]}, "object"),
        ({"output_type": {"type": "object", "required": 5}}, "JSON Schema"),
        ({"output_type": print}, "JSON Schema"),
        ({"output_type": [1]}, "JSON Schema"),
        ({"output_type": Holder}, "JSON Schema"),
        ({"output_type": {"type": "object", "$ref": "#/$defs/no"}}, "does not hold"),
        ({"output_type": {"$ref": "http://example.com/s"}}, "does not hold"),
        ({"model": "unheard-of"}, "not known"),
    ],
)
async def test_wrong_arguments_are_named_before_anything_is_sent(
    servers: Servers, manager: ModelManager, options: dict[str, Any], words: str
) -> None:
    arguments = {"prompt": "hello", **options}

    with pytest.raises(errors.InvalidRequestError, match=words):
        await manager.generate("plain", **arguments)

    assert servers.openai.requests == []


async def test_a_stream_is_read_once_and_answers_at_its_end(
    manager: ModelManager,
) -> None:
    async with manager.stream("plain", "hello") as stream:
        with pytest.raises(errors.InvalidRequestError, match="no response yet"):
            _ = stream.response
        _ = [event async for event in stream]
        with pytest.raises(errors.InvalidRequestError, match="once"):
            aiter(stream)


async def test_cancelling_a_call_hangs_up(
    servers: Servers, manager: ModelManager
) -> None:
    servers.ollama.always(Answer(text="word " * 2000, pause=0.01))
    call = asyncio.create_task(manager.generate("homely", "hello"))
    chats = servers.ollama.requests
    while "/api/chat" not in {r.path for r in chats}:  # noqa: ASYNC110 - no event there
        await asyncio.sleep(0.01)

    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call

    await servers.ollama.wait_for_disconnects(1)
    assert servers.openai.requests == []


async def test_what_a_providers_headers_tell_holds_the_next_call_back() -> None:
    """Nothing is left until the reset, so the next call waits instead of failing."""
    told = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "300ms",
    }
    async with OpenAIServer() as server:
        server.script(Answer(text="first", headers=told), Answer(text="second"))
        config = {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "m"}},
            "model_providers": {
                "up": {"base_url": server.base_url, "models": {"m": {}}}
            },
        }
        async with ModelManager(config, environ={}) as manager:
            first = await manager.generate("a", "hi")
            second = await manager.generate("a", "hi")

    assert (first.text, second.text) == ("first", "second")
    assert (first.attempts[0].queued, first.attempts[0].waited) == (0.0, 0.0)
    assert 0.1 < second.attempts[0].queued < 5.0


async def test_a_hundred_first_calls_look_at_a_local_server_once() -> None:
    async with OllamaServer(models=["m"]) as server:
        config = {
            "version": "1.1.0",
            "agent_models": {"a": {"local": "m"}},
            "model_providers": {
                "ollama": {
                    "base_url": server.base_url,
                    "models": {"m": {}},
                    "limits": {"concurrency": 50, "max_queued": 100},
                }
            },
        }
        async with ModelManager(config, environ={}) as manager:
            await asyncio.gather(*(manager.generate("a", "hi") for _ in range(100)))
        looks = [r for r in server.requests if r.path == "/api/tags"]

    assert len(looks) == 1


async def test_an_endpoint_that_cannot_be_asked_fails_nobody_elses_calls() -> None:
    class Odd(ScriptedProvider):
        @override
        async def check(self) -> Any:
            message = "a bug with a secret in it"
            raise OSError(message)

    odd, fine = Odd(), ScriptedProvider("fine")
    config = {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": "m"}},
        "model_providers": {
            "odd": {
                "kind": "odd",
                "base_url": "http://127.0.0.1:9",
                "models": {"x": {}},
            },
            "none": {"kind": "nonsense", "base_url": "http://127.0.0.1:8"},
            "up": {"kind": "up", "base_url": "https://up.example", "models": {"m": {}}},
        },
    }

    def factory(*_: Any, **__: Any) -> Any:
        return odd

    manager = ModelManager(
        config, providers={"odd": factory, "up": fine.factory}, environ={}
    )

    assert (await manager.generate("a", "hi")).text == "fine"
    health = {e.endpoint: e for e in (await manager.health()).endpoints}
    assert health["odd"].status == health["none"].status == "error"
    assert "OSError" in health["odd"].detail
    assert "secret" not in str(health["odd"])
    assert "nonsense" in health["none"].detail
