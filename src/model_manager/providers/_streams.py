"""From a streamed response to chunks: one loop for every protocol over SSE."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from model_manager.errors import (
    MalformedResponseError,
    ProviderError,
    StreamInterruptedError,
)
from model_manager.providers._bodies import UNREADABLE
from model_manager.providers._failures import Source, failure
from model_manager.providers._sse import SseOverflowError, SseParser
from model_manager.providers._wire import WireError
from model_manager.types import Chunk, Clock

if TYPE_CHECKING:
    from model_manager.providers._http import HttpAnswer

_logger = logging.getLogger("model_manager.providers")

_UNREADABLE_ALLOWED: Final = 3
# After the end mark only the transport's own end is to come; it is waited for so that
# the connection can be used again, and not waited for when it does not come at once.
_DRAIN_SECONDS: Final = 0.1


class Decoder(Protocol):
    """What a protocol knows: the meaning of each event, and when an answer is whole."""

    closed: bool
    """Whether the protocol's last event has come; nothing after it is read."""

    @property
    def complete(self) -> bool:
        """Whether the answer may end here."""
        ...

    def take(self, payload: bytes, /) -> Sequence[Chunk]:
        """Decode one event's data.

        Raises:
            ProviderError: The event says that the answer failed.
            ValueError: The event cannot be read; any of `UNREADABLE` says the same.
        """
        ...

    def take_answer(self, body: bytes, /) -> Sequence[Chunk]:
        """Decode a whole answer that was not streamed, `Finish` included."""
        ...

    def finish(self) -> Sequence[Chunk]:
        """Return the last chunks, ending in `Finish`; raises for a void answer."""
        ...


async def read_stream(
    answer: HttpAnswer, decoder: Decoder, *, source: Source, clock: Clock
) -> AsyncGenerator[Chunk]:
    """Yield the chunks of a streamed answer, `Finish` last.

    Up to three events that cannot be read are skipped if the stream goes on and ends
    well. The caller closes the answer.

    Raises:
        StreamInterruptedError: The stream ended before the protocol's end mark.
        MalformedResponseError: Too much of it could not be read.
        ProviderError: An event of the stream says what went wrong.
    """
    reader = _Reader(decoder, source)
    fault: ProviderError | None = None
    try:
        while not decoder.closed:
            piece = await answer.piece()
            if not piece:
                break
            for payload in reader.split(piece):
                for chunk in reader.take(payload):
                    yield chunk
    except WireError as error:
        fault = broken_stream(source, error)
    if fault is None:
        if decoder.closed:
            await drain(answer, clock)
        else:
            for chunk in reader.take_rest():
                yield chunk
    for chunk in reader.finish(fault):
        yield chunk


async def replay(chunks: Sequence[Chunk]) -> AsyncGenerator[Chunk]:
    """Hand out a whole answer the way a stream comes."""
    for chunk in chunks:
        yield chunk


class _Reader:
    """Counts what cannot be read, and judges the end."""

    __slots__ = ("_decoder", "_parser", "_source", "_unreadable")

    def __init__(self, decoder: Decoder, source: Source) -> None:
        self._decoder = decoder
        self._parser = SseParser()
        self._source = source
        self._unreadable = 0

    def split(self, piece: bytes) -> list[bytes]:
        try:
            return self._parser.feed(piece)
        except SseOverflowError:
            fault = failure(self._source, MalformedResponseError)
        raise fault

    def take(self, payload: bytes) -> Sequence[Chunk]:
        decoder = self._decoder
        if decoder.closed:
            return ()
        try:
            return decoder.take(payload)
        except UNREADABLE:
            self._unreadable += 1
        if self._unreadable > _UNREADABLE_ALLOWED:
            raise failure(self._source, MalformedResponseError)
        return ()

    def take_rest(self) -> Sequence[Chunk]:
        """Decode an event whose blank line is missing; half an event is no event."""
        payload = self._parser.finish()
        if payload is None:
            return ()
        try:
            return self._decoder.take(payload)
        except UNREADABLE:
            return ()

    def finish(self, fault: ProviderError | None) -> Sequence[Chunk]:
        if not self._decoder.complete:
            if fault is None:
                bad = self._unreadable
                kind = MalformedResponseError if bad else StreamInterruptedError
                fault = failure(self._source, kind)
            raise fault
        if self._unreadable:
            _logger.warning(
                "%s: skipped %d unreadable events of a stream that ended well",
                self._source.label,
                self._unreadable,
            )
        try:
            return self._decoder.finish()
        except UNREADABLE:
            odd = failure(self._source, MalformedResponseError)
        raise odd


async def drain(answer: HttpAnswer, clock: Clock) -> None:
    """Read to the transport's end, so that the connection can be used again."""
    if answer.at_end:
        return
    try:
        async with clock.timeout(_DRAIN_SECONDS):
            while await answer.piece():
                pass
    except (TimeoutError, WireError):
        return


def broken_stream(source: Source, error: WireError) -> ProviderError:
    """Return what a stream whose bytes end too early means."""
    bad = error.fault == "unreadable"
    return failure(source, MalformedResponseError if bad else StreamInterruptedError)
