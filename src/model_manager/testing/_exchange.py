"""One request and its answer on the wire; the only file that writes to sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, NoReturn

from aiohttp import web

from model_manager.testing._faults import (
    Answer,
    BadChunk,
    CutStream,
    EmptyAnswer,
    EndEarly,
    HttpFault,
    InStreamError,
    InvalidJson,
    NoEndMark,
    Outcome,
    Redirect,
    Reset,
    Silence,
    SlowFirstToken,
    StallStream,
)
from model_manager.testing._wire import Ask, Page, Wire

__all__ = ["Exchange"]

_UNREADABLE_FRAMES = 5
_LINGER_NONE = struct.pack("ii", 1, 0)


class Exchange:
    """Writes an answer, or breaks it in the way that was scripted."""

    def __init__(
        self, wire: Wire, request: web.BaseRequest, *, ask: Ask | None, serial: int
    ) -> None:
        """Take the request and what it asks for."""
        self.dropped = False
        """Whether this side broke the connection."""
        self._wire = wire
        self._request = request
        self._ask = ask
        self._serial = serial
        self._headers = dict(wire.headers(serial))

    async def page(self, outcome: Outcome | None, body: Any) -> web.StreamResponse:
        """Answer a request that is neither chat nor embedding."""
        early = await self._before_any_byte(outcome)
        if early is not None:
            return early
        request = self._request
        return await self._whole(
            self._wire.page(request.method, request.path, body), outcome
        )

    async def answer(
        self, outcome: Outcome | None, default: Answer
    ) -> web.StreamResponse:
        """Answer a chat or embedding request."""
        early = await self._before_any_byte(outcome)
        if early is not None or self._ask is None:
            return early or web.Response(status=404)
        answer = outcome if isinstance(outcome, Answer) else default
        if isinstance(outcome, EmptyAnswer):
            answer = Answer(vectors=())
        self._headers |= answer.headers
        if self._ask.streaming:
            return await self._stream(self._ask, answer, outcome)
        body = self._wire.whole(self._ask, answer, self._serial)
        page = Page(body, 200, self._wire.json_type)
        return await self._whole(page, outcome)

    async def _before_any_byte(self, outcome: Outcome | None) -> web.Response | None:
        match outcome:
            case HttpFault():
                return self._http_error(outcome)
            case Redirect(location):
                return web.Response(status=307, headers={"Location": location})
            case Silence(seconds):
                await asyncio.sleep(seconds)
                await self._drop()
            case Reset():
                await self._drop(reset=True)
            case SlowFirstToken(seconds) if self._waits_before_headers():
                await asyncio.sleep(seconds)
        return None

    def _waits_before_headers(self) -> bool:
        streaming = self._ask is not None and self._ask.streaming
        return self._wire.headers_wait or not streaming

    def _http_error(self, fault: HttpFault | InStreamError) -> web.Response:
        model = self._ask.model if self._ask is not None else ""
        page = self._wire.error(fault, model, self._serial)
        headers = {**self._headers, "Content-Type": page.content_type}
        body = page.body
        if isinstance(fault, HttpFault):
            if fault.retry_after is not None:
                headers["retry-after"] = f"{fault.retry_after:g}"
            if fault.body is not None:
                headers["Content-Type"] = "text/html; charset=utf-8"
                body = fault.body.encode()
            headers |= fault.headers
        return web.Response(body=body, status=page.status, headers=headers)

    async def _whole(self, page: Page, outcome: Outcome | None) -> web.StreamResponse:
        body = page.body
        headers = {"Content-Type": page.content_type, **self._headers, **page.headers}
        match outcome:
            case InStreamError():
                return self._http_error(outcome)
            case InvalidJson():
                body = body[: len(body) // 2]
            case CutStream() | EndEarly() | StallStream():
                return await self._half(body, headers, outcome)
        return web.Response(body=body, status=page.status, headers=headers)

    async def _half(
        self,
        body: bytes,
        headers: dict[str, str],
        outcome: CutStream | EndEarly | StallStream,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        middle = len(body) // 2
        if not isinstance(outcome, EndEarly):
            response.content_length = len(body)
        await response.prepare(self._request)
        await response.write(body[:middle])
        if isinstance(outcome, CutStream):
            await self._drop()
        if isinstance(outcome, StallStream):
            await asyncio.sleep(outcome.seconds)
            await response.write(body[middle:])
        await response.write_eof()
        return response

    async def _stream(
        self, ask: Ask, answer: Answer, outcome: Outcome | None
    ) -> web.StreamResponse:
        frames = self._wire.frames(ask, answer, self._serial)
        headers = {"Content-Type": self._wire.stream_type} | self._headers
        response = web.StreamResponse(headers=headers)
        await response.prepare(self._request)
        for frame in frames.opening:
            await response.write(frame)
        if isinstance(outcome, SlowFirstToken) and not self._waits_before_headers():
            await asyncio.sleep(outcome.seconds)
        if isinstance(outcome, InvalidJson):
            await response.write(self._wire.unreadable * _UNREADABLE_FRAMES)
            await response.write_eof()
            return response
        ends = await self._content(response, frames.content, (answer, outcome))
        if not ends:
            keep = -1 if isinstance(outcome, NoEndMark) else None
            for frame in frames.closing[:keep]:
                await response.write(frame)
        await response.write_eof()
        return response

    async def _content(
        self,
        response: web.StreamResponse,
        content: tuple[bytes, ...],
        told: tuple[Answer, Outcome | None],
    ) -> bool:
        """Write the content with its break; say whether the stream ends there."""
        answer, outcome = told
        after = min(getattr(outcome, "after", len(content)), len(content))
        for index in range(len(content) + 1):
            if index == after and await self._break(response, outcome):
                return True
            if index < len(content):
                await response.write(content[index])
                if answer.pause:
                    await asyncio.sleep(answer.pause)
        return False

    async def _break(
        self, response: web.StreamResponse, outcome: Outcome | None
    ) -> bool:
        match outcome:
            case CutStream():
                await self._drop()
            case EndEarly():
                return True
            case InStreamError():
                model = self._ask.model if self._ask is not None else ""
                frame = self._wire.error_frame(outcome, model, self._serial)
                await response.write(frame)
                return True
            case StallStream(seconds=seconds):
                await asyncio.sleep(seconds)
            case BadChunk(count=count):
                await response.write(self._wire.unreadable * count)
        return False

    async def _drop(self, *, reset: bool = False) -> NoReturn:
        """Break the connection and wait to be cancelled for it."""
        self.dropped = True
        transport = self._request.transport
        if transport is not None:
            sock = transport.get_extra_info("socket")
            if reset and sock is not None:
                # Closing without lingering sends RST in place of an orderly end.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            transport.abort()
        await asyncio.get_running_loop().create_future()
        message = "the connection was broken as scripted"
        raise ConnectionResetError(message)
