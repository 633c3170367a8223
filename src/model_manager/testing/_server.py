"""A loopback server: real sockets, scripted answers, scripted faults."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

from model_manager.testing._faults import Answer, HttpFault, Outcome
from model_manager.testing._minimal import minimal_value
from model_manager.testing._wire import Ask, Wire
from model_manager.types import ToolCall

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["AnswerText", "LoopbackServer", "RecordedRequest"]

AnswerText = str | Answer | Callable[[Mapping[str, Any]], str]
"""The default answer, its text, or what makes the text from the request's body."""
_HOST = "127.0.0.1"
_PATIENCE = 5.0
_POLL = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """A request as it arrived; its repr shows neither key nor prompt."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case; the key is in here."""
    body: Mapping[str, Any] = field(repr=False)
    """The JSON object that was sent; empty when there was none."""
    model: str | None = None
    streaming: bool = False
    at: float = 0.0
    """When it had arrived, in seconds of `time.monotonic`."""


class LoopbackServer:
    """Speaks one protocol on 127.0.0.1, at a port that was free.

    In the running loop: `async with OllamaServer() as server`. For synchronous code,
    several loops, or a program: `with OllamaServer() as server`, or `start()` and
    `stop()`; the server then has a thread of its own. After `stop`, connections to
    `base_url` are refused; started again, it has the same port.

    Answers are simulated and always the same: `Simulated answer from <model>.`, a call
    of the first tool where tools are offered, the smallest JSON that fits where a
    structure is asked for. `script` and `always` say otherwise.
    """

    _suffix = ""

    def __init__(
        self, wire: Wire, *, answer: AnswerText | None = None, key: str | None = None
    ) -> None:
        """Take the protocol, the default answer, and a key to insist on."""
        self.requests: list[RecordedRequest] = []
        """Every request, in the order of arrival."""
        self.disconnects = 0
        """How often a client went away before its answer was complete."""
        self._wire = wire
        self._answer = answer
        self._key = key
        self._queues: dict[str | None, deque[Outcome]] = {}
        self._always: dict[str | None, Outcome] = {}
        self._serial = 0
        self._port = 0
        self._stopping = False
        self._runner: web.ServerRunner | None = None
        self._web: web.Server | None = None
        self._thread: threading.Thread | None = None
        self._told: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @override
    def __repr__(self) -> str:
        """Show where it listens and what it saw."""
        where = self.base_url if self._port else "not started"
        return f"{type(self).__name__}({where}, requests={len(self.requests)})"

    @property
    def base_url(self) -> str:
        """What to configure as the endpoint's `base_url`."""
        if not self._port:
            message = f"{type(self).__name__} has no address yet; start it first."
            raise RuntimeError(message)
        return f"http://{_HOST}:{self._port}{self._suffix}"

    @property
    def open_connections(self) -> int:
        """How many connections clients hold at this moment, idle ones included."""
        return 0 if self._web is None else len(self._web.connections)

    def script(
        self, *outcomes: Outcome, model: str | None = None, path: str | None = None
    ) -> None:
        """Queue what the next requests get, one outcome a request.

        Without `model` or `path`, it is for the next chat or embedding requests; with
        `model`, for those that name it; with `path` (`/api/tags`), for any request
        there. A path goes before a model, and a model before all others.
        """
        self._queues.setdefault(path or model, deque()).extend(outcomes)

    def always(
        self, outcome: Outcome, *, model: str | None = None, path: str | None = None
    ) -> None:
        """Give this to every request whose queue is empty, until `reset_script`."""
        self._always[path or model] = outcome

    def reset_script(self) -> None:
        """Forget everything scripted: from now on, default answers."""
        self._queues.clear()
        self._always.clear()

    async def wait_for_disconnects(self, count: int = 1) -> None:
        """Wait until clients went away early `count` times; `TimeoutError` after 5 s.

        A server learns of it a moment later than the client that left.
        """
        async with asyncio.timeout(_PATIENCE):
            while self.disconnects < count:  # noqa: ASYNC110 - may live in a thread
                await asyncio.sleep(_POLL)

    async def wait_until_idle(self) -> None:
        """Wait until no connection is open; `TimeoutError` after 5 s."""
        async with asyncio.timeout(_PATIENCE):
            while self.open_connections:  # noqa: ASYNC110 - may live in a thread
                await asyncio.sleep(_POLL)

    # -- life -------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start in the running loop."""
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop at once, whatever is still being answered."""
        await self.aclose()

    def __enter__(self) -> Self:
        """Start on a thread of its own."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and wait for the thread to end."""
        self.stop()

    def start(self) -> None:
        """Start on a thread of its own; returns once it listens."""
        if self._thread is not None:
            return
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)),
            name=type(self).__name__,
            daemon=True,
        )
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Drop every connection and end the thread; a second call does nothing."""
        thread, self._thread = self._thread, None
        if thread is None or self._told is None:
            return
        loop, told = self._told
        loop.call_soon_threadsafe(told.set)
        thread.join()

    async def aclose(self) -> None:
        """Stop, however it was started; a second call does nothing."""
        if self._thread is not None:
            await asyncio.to_thread(self.stop)
        else:
            await self._close()

    async def _serve(self, ready: concurrent.futures.Future[None]) -> None:
        told = asyncio.Event()
        self._told = (asyncio.get_running_loop(), told)
        try:
            await self._open()
        except OSError as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        await told.wait()
        await self._close()

    async def _open(self) -> None:
        from aiohttp import web  # noqa: PLC0415 - a server starts: now it is needed

        self._stopping = False
        self._web = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._web)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, self._port)
        await site.start()
        self._port = int(site.port)

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None or self._web is None:
            return
        self._stopping = True
        for site in list(runner.sites):
            await site.stop()
        # Whoever is stalled on purpose would be waited for: cut first.
        for connection in list(self._web.connections):
            connection.force_close()
        await runner.cleanup()
        self._web = None

    # -- answering ----------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        from model_manager.testing._exchange import (  # noqa: PLC0415 - needs aiohttp
            Exchange,
        )

        body = _decoded(await request.read())
        ask = self._wire.ask(request.method, request.path, body)
        self._record(request, body, ask)
        self._serial += 1
        exchange = Exchange(self._wire, request, ask=ask, serial=self._serial)
        outcome = self._outcome(request, ask)
        try:
            if ask is None:
                return await exchange.page(outcome, body)
            return await exchange.answer(outcome, self._default(ask))
        except (asyncio.CancelledError, ConnectionError) as error:
            if not (self._stopping or exchange.dropped):
                self.disconnects += 1
            if isinstance(error, asyncio.CancelledError):
                raise
        # The client is gone. Any other exception would be logged as a failure of this
        # server, with a traceback.
        raise asyncio.CancelledError

    def _record(self, request: web.BaseRequest, body: Any, ask: Ask | None) -> None:
        named = body if isinstance(body, dict) else {}
        self.requests.append(
            RecordedRequest(
                method=request.method,
                path=request.path,
                headers={k.lower(): v for k, v in request.headers.items()},
                body=named,
                model=named.get("model"),
                streaming=ask is not None and ask.streaming,
                at=time.monotonic(),
            )
        )

    def _outcome(self, request: web.BaseRequest, ask: Ask | None) -> Outcome | None:
        headers = {k.lower(): v for k, v in request.headers.items()}
        if self._key is not None and self._wire.key(headers) != self._key:
            return HttpFault(401)
        names: list[str | None] = [request.path]
        if ask is not None:
            names += [ask.model, None]
        for name in names:
            queue = self._queues.get(name)
            if queue:
                return queue.popleft()
            if name in self._always:
                return self._always[name]
        return None if ask is None else self._wire.refusal(ask)

    def _default(self, ask: Ask) -> Answer:
        if ask.operation == "embed":
            return Answer()
        if ask.tools and not ask.answers_tools:
            name, schema = ask.tools[0]
            arguments = minimal_value({"type": "object"} | dict(schema))
            call = ToolCall(
                id=f"call_simulated_{self._serial}",
                name=name,
                arguments=arguments if isinstance(arguments, dict) else {},
            )
            return Answer(tool_calls=(call,))
        if ask.schema is not None:
            return Answer(text=json.dumps(minimal_value(ask.schema)))
        return self._usual(ask)

    def _usual(self, ask: Ask) -> Answer:
        match self._answer:
            case None:
                return Answer(text=f"Simulated answer from {ask.model}.")
            case Answer():
                return self._answer
            case str():
                return Answer(text=self._answer)
            case _:
                return Answer(text=self._answer(ask.body))


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw
