"""The clients that every adapter sends with: one an event loop, one way out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from model_manager.providers._loops import LoopLocal

if TYPE_CHECKING:
    import ssl

    import httpx2


class HttpPool:
    """HTTP clients for any number of threads and event loops, without globals.

    What all its clients have in common:

    * No environment variable redirects a call: proxies, netrc and the SDKs' own
      variables are not read. For cloud endpoints `SSL_CERT_FILE` and `SSL_CERT_DIR`
      may name the certificates to trust; for local ones nothing is read at all.
    * Redirects are not followed and cookies are not kept.
    * No read timeout: the pipeline watches the first piece, stalls and the deadline.
    * No limit on connections: a wait for a free one would look like a dead server.
      How many calls run at once is decided above.

    Args:
        transport: Makes the transport of each client; replaces the wire in tests.
    """

    def __init__(
        self, *, transport: Callable[[], httpx2.AsyncBaseTransport] | None = None
    ) -> None:
        """Prepare the pool; the HTTP library is loaded with the first client."""
        builder = _Builder(transport)
        self._local = LoopLocal(partial(builder.build, local=True), _close)
        self._cloud = LoopLocal(partial(builder.build, local=False), _close)

    def client(self, *, local: bool) -> httpx2.AsyncClient:
        """Return the running loop's client.

        It is shared: close it with `HttpPool.aclose`, never by itself.

        Args:
            local: Whether the endpoint lies in the `local` data zone; local and cloud
                endpoints never share a client.
        """
        return (self._local if local else self._cloud).get()

    async def aclose(self) -> None:
        """Close the running loop's clients; other live loops close theirs themselves.

        A later call opens new ones.
        """
        try:
            await self._local.aclose()
        finally:
            await self._cloud.aclose()


class _Builder:
    """Makes clients, and the TLS contexts they share: one costs 18 ms to build."""

    def __init__(
        self, transport: Callable[[], httpx2.AsyncBaseTransport] | None
    ) -> None:
        self._transport = transport
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def build(self, *, local: bool) -> httpx2.AsyncClient:
        # Late, because loading aiohttp and httpx2 takes 0.2 s.
        from model_manager.providers import _http  # noqa: PLC0415 - see above

        if self._transport is not None:
            return _http.build_client(self._transport())
        with self._lock:
            context = self._contexts.get(local)
            if context is None:
                context = _http.tls_context(local=local)
                self._contexts[local] = context
        return _http.build_client(_http.open_transport(context))


async def _close(client: httpx2.AsyncClient) -> None:
    await client.aclose()
