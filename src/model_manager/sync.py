"""The manager's methods for synchronous callers: scripts, notebooks, other threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from model_manager._binding import adopt
from model_manager._manager import ModelManager
from model_manager.errors import ModelManagerError
from model_manager.types import Response, StreamEvent

if TYPE_CHECKING:
    from model_manager._agent import SyncAgentHandle
    from model_manager._portal import Line, Portal
    from model_manager._stream import Stream

__all__ = ["SyncManager", "SyncStream"]

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[ModelManager, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncManager, P], R]:
    def call(self: SyncManager, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.portal.call(method, self.manager, *args, **kwargs)

    return adopt(call, method)


def _blocking_stream(
    method: Callable[Concatenate[ModelManager, P], Stream],
) -> Callable[Concatenate[SyncManager, P], SyncStream]:
    def call(self: SyncManager, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream:
        return SyncStream(method(self.manager, *args, **kwargs), self.portal)

    return adopt(call, method)


def _passing(
    method: Callable[Concatenate[ModelManager, P], R],
) -> Callable[Concatenate[SyncManager, P], R]:
    def call(self: SyncManager, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.manager, *args, **kwargs)

    return adopt(call, method)


class SyncManager:
    """`ModelManager` for callers that do not `await`; get it from `manager.sync`.

    The work is done on one background event loop, so it may be called from any number
    of threads, and inside a running loop (a notebook cell), which it then blocks.
    """

    def __init__(self, manager: ModelManager) -> None:
        """Stand beside a manager; the background loop starts with the first call."""
        # Late: it brings asyncio, which an import need not cost.
        from model_manager._portal import Portal  # noqa: PLC0415 - see above

        self.manager = manager
        self.portal = Portal()

    generate = _blocking(ModelManager.generate)
    embed = _blocking(ModelManager.embed)
    health = _blocking(ModelManager.health)
    reload = _blocking(ModelManager.reload)
    warm = _blocking(ModelManager.warm)
    usage = _blocking(ModelManager.usage)
    entries = _blocking(ModelManager.entries)
    budgets = _blocking(ModelManager.budgets)
    stream = _blocking_stream(ModelManager.stream)
    explain = _passing(ModelManager.explain)

    def for_agent(self, agent: str) -> SyncAgentHandle:
        """Return the same methods with the agent bound."""
        return self.manager.for_agent(agent).sync

    def close(self) -> None:
        """Stop the background loop, which closes what it opened; a call starts anew.

        What calls used is in the ledger when this returns.
        """
        self.portal.close()
        books = self.manager._current.runtime.books  # noqa: SLF001 - two faces of one
        if books.ledger is not None:
            books.ledger.rest()

    def __enter__(self) -> Self:
        """Enter; everything opens when it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""
        self.close()


class SyncStream:
    """An answer in pieces for synchronous callers; see `Stream`."""

    def __init__(self, stream: Stream, portal: Portal) -> None:
        """Wrap a stream that is read on the background loop."""
        self._stream = stream
        self._portal = portal
        self._line: Line | None = None
        """Where its reading began, and has to go on."""

    def __enter__(self) -> Self:
        """Enter; the connection opens with the first piece."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection, also when the answer was left half read."""
        line = self._line or self._portal.line()
        if not line.is_open:
            return  # its end closed the connection
        try:
            line.call(self._stream.__aexit__, kind, error, trace)
        except (RuntimeError, ModelManagerError):
            # A reading that was interrupted twice may still be ending, and closes the
            # connection itself. What the caller has to see is the interrupt.
            if error is None:
                raise

    def __iter__(self) -> Iterator[StreamEvent]:
        """Iterate the events."""
        return self._pull(aiter(self._stream))

    @property
    def text(self) -> Iterator[str]:
        """The answer's text alone, piece by piece."""
        return self._pull(self._stream.text)

    def _pull(self, pieces: AsyncIterator[R]) -> Iterator[R]:
        async def following() -> tuple[R] | None:
            try:
                return (await anext(pieces),)
            except StopAsyncIteration:
                return None

        # Not the portal, which would begin anew after a close: the reading would find
        # the end there, and a cut answer would look whole.
        line = self._line = self._line or self._portal.line()
        while (piece := line.call(following)) is not None:
            yield piece[0]

    @property
    def response(self) -> Response[Any]:
        """The whole response, once the stream has ended."""
        return self._stream.response
