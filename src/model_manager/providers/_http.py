"""The wire: aiohttp's sockets behind httpx2's interface, with errors told apart.

httpx2's own transport costs eight times aiohttp's CPU under load, and both vendor SDKs
take an httpx2 client. `httpx_aiohttp` joins the two; this module corrects what it says
about failures and closes what it leaves open.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import aiohttp
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport
from typing_extensions import override

_KEEP_ALIVE_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0
# By aiohttp's class, the first that fits; `httpx_aiohttp` calls most of these a connect
# timeout, and a reset that looks like a timeout is neither retried nor explained well.
_MEANING: Final[tuple[tuple[type[BaseException], type[httpx2.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientProxyConnectionError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx2.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx2.RemoteProtocolError),
    (aiohttp.ServerFingerprintMismatch, httpx2.ConnectError),
    (aiohttp.ClientOSError, httpx2.ReadError),
    (aiohttp.ClientConnectionResetError, httpx2.WriteError),
    (aiohttp.ClientConnectionError, httpx2.ConnectError),
    (aiohttp.ClientPayloadError, httpx2.ReadError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx2.UnsupportedProtocol),
)


def tls_context(*, local: bool) -> ssl.SSLContext:
    """Return a new TLS context with the system's certificates.

    Args:
        local: Read nothing from the environment; else `SSL_CERT_FILE` and
            `SSL_CERT_DIR` are honoured.
    """
    return httpx2.create_ssl_context(trust_env=not local)


def open_transport(context: ssl.SSLContext) -> httpx2.AsyncBaseTransport:
    """Return a transport for the running loop that shares the TLS context."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ssl=context
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
    return _Transport(verify=context, trust_env=False, client=session)


def build_client(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """Return a client that adds nothing to the transport: no environment, no state."""
    return httpx2.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
    )


class _Transport(AiohttpTransport):
    """aiohttp behind httpx2's interface, telling a reset from a timeout."""

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and hand the response out as soon as its headers are there."""
        _bound_whole_connect(request)
        try:
            response = await super().handle_async_request(request)
        except (httpx2.TransportError, aiohttp.ClientError) as error:
            failure = _translated(error, request)
        else:
            if isinstance(response.stream, httpx2.AsyncByteStream):
                response.stream = _Body(response.stream, request)
            return response
        raise failure


class _Body(httpx2.AsyncByteStream):
    """A response's bytes; closing it early closes the connection under it."""

    def __init__(
        self,
        stream: httpx2.AsyncByteStream,
        request: httpx2.Request,
    ) -> None:
        self._stream = stream
        self._request = request

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        failure: httpx2.TransportError | None = None
        try:
            async for chunk in self._stream:
                yield chunk
        except (httpx2.TransportError, aiohttp.ClientError) as error:
            failure = _translated(error, self._request)
        if failure is not None:
            raise failure

    @override
    async def aclose(self) -> None:
        """Give the connection back when the body was read, else close it."""
        await self._stream.aclose()


def _bound_whole_connect(request: httpx2.Request) -> None:
    """Make the connect timeout cover name look-up and TLS, not the TCP step alone."""
    timeout = request.extensions.get("timeout")
    if timeout and timeout.get("pool") is None:
        request.extensions["timeout"] = {**timeout, "pool": timeout.get("connect")}


def _translated(error: Exception, request: httpx2.Request) -> httpx2.TransportError:
    """Return what httpx2 calls this failure, judged by aiohttp's own class of it."""
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    for theirs, ours in _MEANING:
        if isinstance(cause, theirs):
            return ours(str(error), request=request)
    if isinstance(cause, asyncio.TimeoutError):
        return httpx2.ReadTimeout(str(error), request=request)
    return httpx2.NetworkError(str(error), request=request)
