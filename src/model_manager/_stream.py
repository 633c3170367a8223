"""A streamed call as its caller sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from model_manager._outcome import response_of
from model_manager.errors import InvalidRequestError
from model_manager.types import (
    Completed,
    OnBreak,
    Request,
    Response,
    StreamEvent,
    TextDelta,
)

if TYPE_CHECKING:
    # It stands on pydantic, which an import of the facade does not load.
    from model_manager._current import Current


class Stream:
    """An answer in pieces: `async with` it, then iterate it or its `text`, once.

    Events: `TextDelta`, `ThinkingDelta`, `ToolCallDelta`, `StreamReset` (throw away
    what came so far, another model starts anew) and, last, `Completed`. Tool calls
    are whole only in the response. `text` yields plain strings; what was said cannot
    be unsaid there, so a break raises `StreamBrokenError` with the partial text.
    """

    def __init__(
        self, request: Request, current: Current, *, on_break: OnBreak | None
    ) -> None:
        """Prepare the call; nothing is sent before the first piece is asked for."""
        self._request = request
        self._current = current
        self._on_break = on_break
        self._events: AsyncGenerator[StreamEvent] | None = None
        self._response: Response[Any] | None = None

    async def __aenter__(self) -> Self:
        """Enter; the connection opens with the first piece."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection, also when the answer was left half read."""
        if self._events is not None:
            await self._events.aclose()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """Iterate the events; by default a broken answer begins anew."""
        return self._begin("restart")

    @property
    def text(self) -> AsyncIterator[str]:
        """The answer's text alone, piece by piece."""
        return self._texts()

    @property
    def response(self) -> Response[Any]:
        """The whole response, once the stream has ended.

        Raises:
            InvalidRequestError: The stream was not read to its end.
        """
        if self._response is None:
            message = "the stream has no response yet."
            raise InvalidRequestError(message, remedy="Read it to its end first.")
        return self._response

    async def _texts(self) -> AsyncIterator[str]:
        async with aclosing(self._begin("raise", text_only=True)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    yield event.text

    def _begin(
        self, on_break: OnBreak, *, text_only: bool = False
    ) -> AsyncGenerator[StreamEvent]:
        if self._events is not None:
            message = "a stream can be read once only."
            raise InvalidRequestError(message, remedy="Call stream() again.")
        chosen = self._on_break or on_break
        request = replace(self._request, on_break=chosen, text_only=text_only)
        self._events = self._run(request)
        return self._events

    async def _run(self, request: Request) -> AsyncGenerator[StreamEvent]:
        async with self._current.using() as runtime:
            walk = await runtime.walk(request)
            async with aclosing(walk.events()) as events:
                async for event in events:
                    yield event
            if walk.answer is not None:
                now = runtime.clock.monotonic()
                self._response = response_of(walk, walk.answer, now=now)
                yield Completed(self._response)
