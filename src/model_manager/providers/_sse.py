"""Server-sent events from bytes, however the network cuts them."""

from __future__ import annotations

_LIMIT = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SseOverflowError(ValueError):
    """Raised when one event grows past 32 MiB, so that memory stays bounded."""


class SseParser:
    r"""An incremental parser of a `text/event-stream` that keeps data only.

    Lines may end in `\n`, `\r\n` or `\r`; several `data:` lines of one event are
    joined with `\n`; comments, `id:`, `retry:` and `event:` lines are dropped: both
    protocols spoken here repeat the event's name inside its data. One parser serves
    one stream.
    """

    __slots__ = ("_cr", "_data", "_held", "_parts", "_started")

    def __init__(self) -> None:
        """Start before the first byte of a stream."""
        self._parts: list[bytes] = []
        self._held = 0
        self._data: bytes | None = None
        self._cr = False
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes and return the data of every event they complete.

        Raises:
            SseOverflowError: One event is longer than 32 MiB.
        """
        if self._cr and piece:
            # The last piece ended between \r and \n, or after a lone \r.
            piece = piece.removeprefix(b"\n")
            self._cr = False
        if b"\n" not in piece and b"\r" not in piece:
            self._hold(piece)
            return []
        if self._parts:
            piece = b"".join((*self._parts, piece))
            self._parts.clear()
            self._held = 0
        if not self._started:
            self._started = True
            piece = piece.removeprefix(_BOM)
        lines = piece.splitlines()
        if piece.endswith(b"\n"):
            pass
        elif piece.endswith(b"\r"):
            self._cr = True
        else:
            self._hold(lines.pop())
        return self._events(lines)

    def finish(self) -> bytes | None:
        """Return the event that lacks its blank line at the stream's end, if any."""
        lines = [b"".join(self._parts), b""]
        self._parts.clear()
        self._held = 0
        events = self._events(lines)
        return events[0] if events else None

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._parts.append(piece)
            self._held += len(piece)
            self._check(self._held)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                if data is None:
                    data = value
                else:
                    data = b"%b\n%b" % (data, value)
                    self._check(len(data))
            elif not line and data is not None:
                events.append(data)
                data = None
        self._data = data
        return events

    @staticmethod
    def _check(length: int) -> None:
        if length > _LIMIT:
            message = "a server-sent event is longer than 32 MiB"
            raise SseOverflowError(message)
