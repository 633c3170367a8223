"""Two servers, a proxy, a manager: the room in which one fault after the other is met.

Nothing of the library is replaced: calls go through a real manager and real sockets of
this machine. Only a look-up of host names is answered here.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fault_cases import LIMIT, LONG, SPOILS, Case, Down, Speaks

from model_manager import ModelManager, Response, errors
from model_manager.testing import (
    AnthropicServer,
    FaultyProxy,
    LoopbackServer,
    OllamaServer,
    OpenAIServer,
)
from model_manager.types import Completed, StreamReset, TextDelta

KEY = "sk-PLANTED-KEY-0123456789"
PROMPT = "PLANTED PROMPT about a secret garden"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
QUICK: Mapping[str, Any] = {
    "timeouts": {
        "connect": LIMIT,
        "first_token": LIMIT,
        "first_token_reasoning": LIMIT,
        "load": 0.001,
        "stall": LIMIT,
        "stall_local": LIMIT,
        "answer": LIMIT,
    },
    "retry": {"base_delay": 0.01, "max_wait": 0.6, "max_wait_last": 0.6},
}
"""Settings of the tests; `{}` are the ones that a user has who sets none."""
SERVERS: Mapping[Speaks, Callable[[], LoopbackServer]] = {
    "openai": OpenAIServer,
    "anthropic": AnthropicServer,
    "ollama": lambda: OllamaServer(models=["small"]),
}
CHATS = ("/v1/chat/completions", "/v1/messages", "/api/chat")
_NAME = "first.example"


class LaterClock:
    """The real clock; `later` skips the time that a model is left alone for."""

    def __init__(self) -> None:
        """Begin with the present."""
        self.later = 0.0

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic() + self.later

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self.later

    async def sleep(self, seconds: float, /) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None, /) -> AbstractAsyncContextManager[object]:
        """Raise `TimeoutError` when the block takes longer, in real time."""
        return asyncio.timeout(seconds)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What whoever asked has of it."""

    seconds: float
    sends: int
    """To the failing model, as seen from outside the library."""
    resets: int = 0
    said: str = ""
    """The text of a stream's pieces after its last reset."""
    response: Response[Any] | None = None
    error: errors.ModelManagerError | None = None

    @property
    def answered_by(self) -> str | None:
        """The endpoint that answered."""
        return self.response.provider if self.response is not None else None

    @property
    def attempts(self) -> tuple[Any, ...]:
        """Every attempt of the call, told by its response or its error."""
        told: Any = self.response or self.error
        return tuple(told.attempts)


class Room:
    """`first` fails as told, `second` is well; `ask` for an answer."""

    def __init__(
        self, first: LoopbackServer, second: LoopbackServer, proxy: FaultyProxy
    ) -> None:
        """Take the servers, started, and the proxy in front of the first."""
        self.first = first
        self.second = second
        self.proxy = proxy
        self.unknown_names: set[str] = set()
        self.clock = LaterClock()
        self.manager: ModelManager

    def settings(self, case: Case, speaks: Speaks) -> dict[str, Any]:
        """Return the configuration without its times and tries."""
        there = urlsplit(self.first.base_url)
        address, zone = self.first.base_url, "local" if speaks == "ollama" else "cloud"
        key = {"api_key_env": "FIRST_KEY"}
        if case.spoils:
            address = self.proxy.base_url
        if isinstance(case.does, Down) and case.does.how == "no such name":
            # A key is not sent unencrypted to another machine, so there is none.
            address, zone, key = f"http://{_NAME}:{there.port}{there.path}", "cloud", {}
        return {
            "version": "1.1.0",
            "agent_models": {
                "backed": {"primary": "first/small", "fallback": "second/large"},
                "alone": {"primary": "first/small"},
            },
            "model_providers": {
                "first": {
                    "kind": speaks,
                    "base_url": address,
                    "data_zone": zone,
                    "models": {"small": {}},
                    **key,
                },
                "second": {
                    "kind": "openai",
                    "base_url": self.second.base_url,
                    "data_zone": "cloud",
                    "models": {"large": {}},
                },
            },
        }

    async def spoil(self, case: Case, speaks: Speaks) -> None:
        """Let the fault begin."""
        outcome = case.outcome(speaks)
        if isinstance(outcome, Down):
            if outcome.how == "refused":
                await self.first.aclose()
            else:
                self.unknown_names.add(_NAME)
        elif isinstance(outcome, SPOILS):
            # What is open already would go on undisturbed; the client has to see that
            # it is closed before it sends again.
            await self.proxy.drop()
            await asyncio.sleep(0.01)
            self.proxy.always(outcome)
        elif case.once:
            self.first.script(outcome)
        else:
            self.first.always(outcome)

    async def mend(self, case: Case) -> None:
        """End the fault."""
        self.unknown_names.clear()
        if case.spoils:
            self.proxy.reset_script()
            await self.proxy.drop()
            await asyncio.sleep(0.01)
        self.first.reset_script()
        if isinstance(case.does, Down) and case.does.how == "refused":
            await self.first.__aenter__()

    async def ask(self, case: Case, agent: str, *, streamed: bool) -> Heard:
        """Make one call and keep all of it."""
        requests, connections = chats(self.first), self.proxy.connections
        output = SCHEMA if case.structured else None
        began = time.monotonic()
        told: dict[str, Any] = {}
        try:
            if streamed:
                told = await self._streamed(agent, output)
            else:
                told["response"] = await self.manager.generate(
                    agent, PROMPT, output_type=output
                )
        except errors.ModelManagerError as error:
            told["error"] = error
        seconds = time.monotonic() - began
        sends = max(
            chats(self.first) - requests,
            (self.proxy.connections - connections) if case.spoils else 0,
        )
        return Heard(seconds=seconds, sends=sends, **told)

    async def _streamed(self, agent: str, output: Any) -> dict[str, Any]:
        told: dict[str, Any] = {"resets": 0, "said": ""}
        try:
            async with self.manager.stream(agent, PROMPT, output_type=output) as stream:
                async for event in stream:
                    match event:
                        case StreamReset():
                            told["resets"] += 1
                            told["said"] = ""
                        case TextDelta(text):
                            told["said"] += text
                        case Completed(response):
                            told["response"] = response
        except errors.ModelManagerError as error:
            told["error"] = error
        return told


def chats(server: LoopbackServer) -> int:
    """Return how many answers a server was asked for."""
    return sum(request.path in CHATS for request in server.requests)


@asynccontextmanager
async def open_room(
    case: Case, speaks: Speaks, *, times: Mapping[str, Any] = QUICK
) -> AsyncIterator[Room]:
    """Build the room for one fault; the fault has not begun yet."""
    first, second = SERVERS[speaks](), OpenAIServer()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(first)
        await stack.enter_async_context(second)
        proxy = await stack.enter_async_context(FaultyProxy(first.base_url))
        room = Room(first, second, proxy)
        if isinstance(case.does, Down):
            stack.enter_context(_names(room))
        settings = {**room.settings(case, speaks), **times}
        room.manager = ModelManager(
            settings, environ={"FIRST_KEY": KEY}, clock=room.clock
        )
        await stack.enter_async_context(room.manager)
        if speaks == "ollama" and not isinstance(case.does, Down):
            # A local server is asked once what it has, before the first call. That is
            # not what the faults are for.
            await room.manager.health()
        if case.long:
            first.always(LONG)
        yield room


@contextmanager
def _names(room: Room) -> Iterator[None]:
    """Let a name lead to this machine, or nowhere while the room does not know it."""
    usual = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in room.unknown_names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return usual("127.0.0.1" if name == _NAME else host, *args, **options)

    socket.getaddrinfo = look_up
    try:
        yield
    finally:
        socket.getaddrinfo = usual
