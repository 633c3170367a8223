"""The provider in front of a scripted server: what is sent when, and what is not."""

from __future__ import annotations

import asyncio
import json
import pickle
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from model_manager.config import Endpoint
from model_manager.errors import (
    AuthenticationError,
    ConnectionFailedError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RemoteModelError,
    ServerError,
    StreamInterruptedError,
)
from model_manager.providers import LocalInventory
from model_manager.providers.ollama import OllamaProvider
from model_manager.types import (
    Attempt,
    Candidate,
    Chunk,
    Finish,
    Message,
    Provider,
    Request,
    TextDelta,
    Vectors,
)

RECORDED = Path(__file__).parent / "recorded"
PROMPT = "the secret prompt"
Answered = bytes | tuple[int, bytes] | str
"""A body, a status and a body, or a way to fail."""


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


class SteppedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        """Start at some moment."""
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float, /) -> None:
        self.now += seconds

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


@dataclass(frozen=True)
class Sent:
    """As much of a request as an answer is chosen by."""

    target: str


@dataclass
class Bench:
    """A provider, and the server that it meets."""

    answers: dict[str, Answered]
    wire: Any
    clock: SteppedClock = field(default_factory=SteppedClock)

    def __post_init__(self) -> None:
        """Let the server answer from the table."""
        kind = type(self.wire.answer(None))

        def answer(sent: Any) -> Any:
            said = self.answers.get(sent.target, (404, b"404 page not found"))
            if isinstance(said, str):
                return kind(end=said)
            status, body = said if isinstance(said, tuple) else (200, said)
            return kind(*([body] if body else []), status=status)

        self.wire.answer = answer

    def provider(self, *, is_local: bool = True, key: str = "") -> OllamaProvider:
        return OllamaProvider(
            Endpoint(
                name="box",
                kind="ollama",
                base_url="http://127.0.0.1:11434",
                is_local=is_local,
            ),
            key=SecretStr(key) if key else None,
            http=self.wire.pool,
            clock=self.clock,
        )

    @property
    def paths(self) -> list[str]:
        return [request.target for request in self.wire.requests]


@pytest.fixture
def bench(wire: Any) -> Bench:
    return Bench(
        answers={
            "/api/tags": recorded("tags.json"),
            "/api/version": recorded("version.json"),
            "/api/chat": recorded("chat_stream.ndjson"),
            "/api/embed": recorded("embed.json"),
        },
        wire=wire,
    )


def attempt(model: str = "tiny-chat", **fields: Any) -> Attempt:
    fields = {"messages": (Message.user(PROMPT),)} | fields
    return Attempt(
        request=Request(agent="a", **fields),
        candidate=Candidate(
            endpoint="box",
            kind="ollama",
            model=model,
            role="primary",
            why="",
            is_local=True,
        ),
    )


async def collect(provider: Provider, asked: Attempt | None = None) -> list[Chunk]:
    async with provider.open(asked or attempt()) as reply:
        return [chunk async for chunk in reply.chunks]


async def failure_of(provider: Provider, asked: Attempt | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await collect(provider, asked)
    return caught.value


def tags(*rows: dict[str, object]) -> bytes:
    return json.dumps({"models": rows}).encode()


async def test_answers_from_a_recorded_stream(bench: Bench) -> None:
    chunks = await collect(bench.provider())

    assert isinstance(chunks[0], TextDelta)
    assert isinstance(chunks[-1], Finish)
    assert bench.paths == ["/api/tags", "/api/chat"]
    assert json.loads(bench.wire.requests[-1].content)["stream"] is True


async def test_embeds_the_inputs(bench: Bench) -> None:
    rows = json.loads(recorded("embed.json"))["embeddings"]
    asked = attempt(
        "tiny-embed", operation="embed", messages=(), inputs=("x",) * len(rows)
    )

    vectors, finish = await collect(bench.provider(), asked)

    assert vectors == Vectors(tuple(map(tuple, rows)))
    assert isinstance(finish, Finish)


async def test_remembers_what_is_installed_without_asking_again(bench: Bench) -> None:
    provider = bench.provider()
    assert isinstance(provider, LocalInventory)

    before = provider.installed
    await collect(provider)
    await collect(provider)

    assert before is None
    assert "tiny-chat" in (provider.installed or {})
    assert bench.paths == ["/api/tags", "/api/chat", "/api/chat"]


async def test_a_model_that_is_not_installed_is_not_asked(bench: Bench) -> None:
    failure = await failure_of(bench.provider(), attempt("qwen2.5:32b"))

    assert isinstance(failure, ModelNotFoundError)
    assert "`ollama pull qwen2.5:32b`" in failure.remedy
    assert "tiny-chat" in failure.remedy
    assert bench.paths == ["/api/tags"]


async def test_a_model_removed_meanwhile_makes_the_inventory_stale(
    bench: Bench,
) -> None:
    provider = bench.provider()
    bench.answers["/api/chat"] = (404, recorded("err_model_not_found.json"))
    await failure_of(provider)
    bench.answers["/api/tags"] = tags()

    failure = await failure_of(provider)

    assert isinstance(failure, ModelNotFoundError)
    assert bench.paths == ["/api/tags", "/api/chat", "/api/tags"]


@pytest.mark.parametrize(
    "model", ["gpt-oss:cloud", "gpt-oss:120b-cloud", "GPT-OSS:Cloud ", "x-cloud"]
)
async def test_cloud_names_are_refused_without_any_request(
    bench: Bench, model: str
) -> None:
    failure = await failure_of(bench.provider(), attempt(model))

    assert isinstance(failure, RemoteModelError)
    assert bench.wire.requests == []


@pytest.mark.parametrize(
    "mark",
    [
        {"remote_host": "https://ollama.com:443"},
        {"remote_model": "gpt-oss:120b"},
        {"remote_host": 1},
    ],
)
async def test_a_forwarding_model_never_sees_the_prompt(
    bench: Bench, mark: dict[str, object]
) -> None:
    bench.answers["/api/tags"] = tags({"name": "tiny-chat:latest"} | mark)

    failure = await failure_of(bench.provider())

    assert isinstance(failure, RemoteModelError)
    assert bench.paths == ["/api/tags"]


async def test_an_answer_that_admits_to_be_forwarded_is_stopped(bench: Bench) -> None:
    line = {"message": {"content": "hi"}, "remote_host": "https://ollama.com"}
    bench.answers["/api/chat"] = json.dumps(line).encode() + b"\n"

    assert isinstance(await failure_of(bench.provider()), RemoteModelError)


async def test_an_endpoint_outside_the_local_zone_may_use_cloud_models(
    bench: Bench,
) -> None:
    provider = bench.provider(is_local=False, key="sk-not-real")

    assert await collect(provider, attempt("gpt-oss:cloud"))
    assert bench.paths == ["/api/chat"]
    assert bench.wire.requests[0].headers["authorization"] == "Bearer sk-not-real"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("nothing", ConnectionFailedError),
        ((500, b'{"error":"boom"}'), ServerError),
        ((403, b""), AuthenticationError),
        (b"<html>", MalformedResponseError),
        (b'{"models": {}}', MalformedResponseError),
        ((404, b"404 page not found"), ModelNotFoundError),
    ],
)
async def test_nothing_is_sent_while_the_inventory_cannot_be_read(
    bench: Bench, answer: Answered, kind: type[ProviderError]
) -> None:
    bench.answers["/api/tags"] = answer

    failure = await failure_of(bench.provider())

    assert type(failure) is kind
    assert set(bench.paths) == {"/api/tags"}


async def test_an_error_status_is_told_by_its_kind(bench: Bench) -> None:
    bench.answers["/api/chat"] = (503, recorded("err_queue_full.json"))

    failure = await failure_of(bench.provider())

    assert type(failure) is OverloadedError
    assert (failure.provider, failure.model) == ("box", "tiny-chat")
    assert failure.status == 503


async def test_a_body_that_breaks_is_an_interrupted_stream(bench: Bench) -> None:
    kind = type(bench.wire.answer(Sent("/api/tags")))
    usual = bench.wire.answer
    bench.wire.answer = lambda sent: (
        kind(recorded("server_killed.ndjson"), end="close")
        if sent.target == "/api/chat"
        else usual(sent)
    )
    provider = bench.provider()
    got: list[Chunk] = []

    async def read() -> None:
        async with provider.open(attempt()) as reply:
            async for chunk in reply.chunks:
                got.append(chunk)  # noqa: PERF401 - kept although the rest breaks

    with pytest.raises(StreamInterruptedError):
        await read()
    assert len(got) == 4


FAILING: list[Answered] = [
    "nothing",
    (500, f'{{"error":"{PROMPT}"}}'.encode()),
    json.dumps({"error": PROMPT}).encode() + b"\n",
    b"",
]


@pytest.mark.parametrize("answer", FAILING)
async def test_no_failure_leads_to_the_request_the_key_or_the_prompt(
    bench: Bench, answer: Answered
) -> None:
    bench.answers["/api/chat"] = answer
    provider = bench.provider(key="sk-not-real")

    failure = await failure_of(provider)

    assert failure.__cause__ is None
    assert failure.__context__ is None
    shown = repr(failure) + str(failure) + repr(vars(failure))
    assert PROMPT not in shown
    assert "sk-not-real" not in shown
    assert PROMPT.encode() not in pickle.dumps(failure)


async def test_a_healthy_server_tells_its_version_and_models(bench: Bench) -> None:
    health = await bench.provider().check()

    assert (health.endpoint, health.kind, health.status) == ("box", "ollama", "ok")
    assert health.version == "0.32.15"
    assert health.installed is not None
    assert "tiny-chat" in health.installed


@pytest.mark.parametrize(
    ("path", "answer", "status"),
    [
        ("/api/version", "nothing", "unreachable"),
        ("/api/tags", "reset", "unreachable"),
        ("/api/tags", (500, b""), "error"),
        ("/api/tags", b"no json", "error"),
        ("/api/version", (404, b"nginx"), "error"),
    ],
)
async def test_an_unwell_server_is_described_and_nothing_raised(
    bench: Bench, path: str, answer: Answered, status: str
) -> None:
    bench.answers[path] = answer

    health = await bench.provider().check()

    assert health.status == status
    assert health.detail
    assert health.installed is None


async def test_a_server_that_never_answers_is_unreachable(bench: Bench) -> None:
    def at_once(_: float | None, /) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(0)

    bench.answers["/api/version"] = "hang"
    bench.clock.timeout = at_once  # type: ignore[method-assign] # time is short here

    assert (await bench.provider().check()).status == "unreachable"


async def test_one_provider_serves_loops_in_several_threads(bench: Bench) -> None:
    provider = bench.provider()

    def work() -> int:
        return len(asyncio.run(collect(provider)))

    lengths = await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))

    assert len(set(lengths)) == 1
    await provider.aclose()
