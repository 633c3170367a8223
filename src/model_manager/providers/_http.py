"""The wire: aiohttp's sessions behind a small client, with failures told in our words.

The only file that imports aiohttp, and the only one that opens connections.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

from model_manager.providers._guard import Guard, RefusedAddressError
from model_manager.providers._wire import WireError, WireFault

_KEEP_ALIVE_SECONDS: Final = 30.0
_MEGABYTE: Final = 1024 * 1024
# A list of embeddings is the longest answer that makes sense: 2,048 vectors of 4,096
# numbers take 100 MB as text.
_ANSWER_BYTES: Final = 256 * _MEGABYTE
_HEAD_BYTES: Final = 64 * 1024
# Most calls share a handful of connect timeouts; those near a deadline are all new.
_TIMEOUTS_KEPT: Final = 16
_NO_ADDRESS: Final = "the name has no address"
# Unpacking is done in the same breath as reading, so both are one list of failures.
_BROKEN: Final = (aiohttp.ClientError, OSError)
# The first class that fits tells; before the answer's head has come, and after.
_BEFORE: Final[tuple[tuple[type[BaseException], WireFault], ...]] = (
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ClientConnectorError, "unreachable"),
    (aiohttp.ServerFingerprintMismatch, "unreachable"),
    (aiohttp.InvalidURL, "unreachable"),
    (aiohttp.NonHttpUrlClientError, "unreachable"),
    (aiohttp.ClientResponseError, "unreadable"),
    (aiohttp.ClientPayloadError, "unreadable"),
)


class HttpClient:
    """Sends requests on one event loop and keeps its connections for the next ones.

    Get it from `HttpPool.client`, which shares and closes it.
    """

    __slots__ = ("_connector", "_session", "_sockets", "_timeouts")

    def __init__(self, guard: Guard | None) -> None:
        """Open nothing yet; must be made inside its running loop.

        Args:
            guard: Judges every address before it is connected to; `None` allows all.
        """
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._connector = _Connector(
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            resolver=_Resolver(guard),
            socket_factory=_SocketFactory(guard, self._sockets),
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
        )

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        connect: float,
    ) -> HttpAnswer:
        """Send a request and return the answer once its head is there.

        Args:
            method: The verb, in capitals.
            url: The whole address; `http` or `https`.
            headers: Sent as they are, and hardly anything else.
            body: The bytes to send, if any.
            connect: Seconds that a new connection may take: look-up, TCP and TLS.

        Raises:
            WireError: No answer began.
        """
        timeout = self._timeouts.get(connect)
        if timeout is None:
            timeout = self._timeout(connect)
        try:
            # Handed to the answer at once: no await may come between.
            return HttpAnswer(
                await self._session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                )
            )
        except _BROKEN as error:
            fault = _fault_before(error)
        # Raised here, where no exception is being handled: what aiohttp raised holds
        # the request with its headers, and must not hang on ours as its context.
        raise fault

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    def abandon(self) -> None:
        """Let go of everything in a forked child, without a word to the other end.

        The connections are still the parent's: nothing may be written to them, not
        even a polite end of TLS, and only this process's copies are closed.
        """
        self._session.detach()
        self._connector.abandon()
        for sock in list(self._sockets):
            sock.close()

    def _timeout(self, connect: float) -> aiohttp.ClientTimeout:
        made = aiohttp.ClientTimeout(total=None, connect=connect)
        if len(self._timeouts) < _TIMEOUTS_KEPT:
            self._timeouts[connect] = made
        return made


class HttpAnswer:
    """An answer whose head has come; close it whatever happens."""

    __slots__ = ("_content", "_response", "raw_headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Take over the response."""
        self._response = response
        self._content = response.content
        self.status: int = response.status
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = response.raw_headers

    @property
    def at_end(self) -> bool:
        """Whether the whole body has been read."""
        return self._content.at_eof()

    async def piece(self) -> bytes:
        """Return what has come of the body, waiting for it; empty at the end.

        Raises:
            WireError: The body ended before its end, or cannot be unpacked.
        """
        try:
            return await self._content.readany()
        except _BROKEN as error:
            fault = _fault_within(error)
        raise fault

    async def whole(self) -> bytes:
        """Return the rest of the body, up to 256 MiB.

        Raises:
            WireError: It broke, cannot be unpacked, or is longer.
        """
        piece = await self.piece()
        if self._content.at_eof():
            return piece
        body = bytearray(piece)
        while not self._content.at_eof():
            body += await self.piece()
            if len(body) > _ANSWER_BYTES:
                raise WireError("unreadable")  # noqa: EM101 - a word, no sentence
        return bytes(body)

    async def beginning(self) -> bytes:
        """Return the first 64 KiB of the body, or what came of them; never fails.

        Enough to judge an error by.
        """
        body = bytearray()
        try:
            while len(body) < _HEAD_BYTES and not self._content.at_eof():
                body += await self._content.readany()
        except _BROKEN:
            pass
        return bytes(body[:_HEAD_BYTES])

    def close(self) -> None:
        """Close the connection, unless the body was read: then it is back already."""
        if not self._content.at_eof():
            self._response.close()


class _Protocol(ResponseHandler):
    """A connection that tells its answer's reader when it ends, whatever ended it.

    aiohttp closes the connection where the framing of a body is broken, and leaves
    whoever waits for the rest of it waiting.
    """

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        body = self._payload
        super().connection_lost(exc)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError())


class _Connector(aiohttp.TCPConnector):
    """A connector that a forked child can let go of."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: Any = partial(_Protocol, loop=self._loop)
        self._factory = factory

    def abandon(self) -> None:
        """Forget every connection at once; TLS is told nothing.

        `close` does the same, and then waits for a loop that does not run here.
        """
        self._close(abort_ssl=True)


class _SocketFactory:
    """Makes the sockets, once their address is judged: the last step before `connect`.

    Runs for every attempt to connect, with the very address that is connected to; a
    host written as an address gets here without any look-up.
    """

    __slots__ = ("_guard", "_made")

    def __init__(
        self, guard: Guard | None, made: weakref.WeakSet[socket.socket]
    ) -> None:
        self._guard = guard
        self._made = made

    def __call__(self, target: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = target
        if self._guard is not None:
            self._guard.check_socket(family, address)
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        return made


class _Resolver(AbstractResolver):
    """The system's look-up, refused whole where one address of it may not be used."""

    def __init__(self, guard: Guard | None) -> None:
        self._guard = guard
        self._inner = aiohttp.ThreadedResolver()

    @override
    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not found:
            raise OSError(_NO_ADDRESS)
        if self._guard is not None:
            self._guard.check_all(one["host"] for one in found)
        return found

    @override
    async def close(self) -> None:
        await self._inner.close()


def _fault_before(error: Exception) -> WireError:
    """Return our word for a failure before the answer's head."""
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = error.os_error
        if isinstance(refused, RefusedAddressError):
            return WireError("refused", address=f"{refused.address}:{error.port}")
    for theirs, ours in _BEFORE:
        if isinstance(error, theirs):
            return WireError(ours)
    return WireError("lost")


def _fault_within(error: Exception) -> WireError:
    """Return our word for a failure inside the answer's body."""
    return WireError("unreadable" if _cannot_be_unpacked(error) else "cut")


def _cannot_be_unpacked(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, aiohttp.http_exceptions.ContentEncodingError):
            return True
        error = error.__cause__
    return False
