"""The clients that every adapter sends with: one an event loop, one way out."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from model_manager.providers._guard import Guard
from model_manager.providers._loops import LoopLocal

if TYPE_CHECKING:
    from model_manager.providers._http import HttpClient


class HttpPool:
    """HTTP clients for any number of threads and event loops, without globals.

    An adapter asks for the running loop's client at each use and sends with it:

    ```python
    client = http.client(local=endpoint.is_local, networks=endpoint.local_networks)
    answer = await client.send(
        "POST", url, headers={"content-type": "application/json"}, body=b"{}", connect=5
    )
    try:
        if answer.status == 200:
            body = await answer.whole()  # or `answer.piece()` until it is empty
    finally:
        answer.close()
    ```

    `send`, `piece` and `whole` raise `WireError`, whose `fault` says what happened.
    What all clients have in common:

    * No environment variable redirects a call: proxies and netrc are not read.
      `SSL_CERT_FILE` and `SSL_CERT_DIR` may name the certificates to trust.
    * Redirects are not followed and cookies are not kept.
    * Compressed answers are unpacked.
    * No read timeout: the pipeline watches the first piece, stalls and the deadline.
    * No limit on connections: a wait for a free one would look like a dead server.
      How many calls run at once is decided above.
    """

    def __init__(self) -> None:
        """Prepare the pool; the HTTP library is loaded with the first client."""
        self.is_warm = False
        """Whether the HTTP library is loaded."""
        self._open: LoopLocal[HttpClient] = _clients(None)
        self._guarded: dict[tuple[str, ...], LoopLocal[HttpClient]] = {}

    def client(self, *, local: bool, networks: tuple[str, ...] = ()) -> HttpClient:
        """Return the running loop's client.

        It is shared: close it with `HttpPool.aclose`, never by itself.

        Args:
            local: Whether nothing may leave the machine: every address is then judged
                before it is connected to, and `WireError("refused")` raised for one
                that is neither loopback nor in `networks`. Such a client shares no
                connection with any other.
            networks: CIDR texts of what `local` work may reach besides loopback.
        """
        if not local:
            return self._open.get()
        clients = self._guarded.get(networks)
        if clients is None:
            clients = self._guarded.setdefault(networks, _clients(networks))
        return clients.get()

    def warm(self) -> None:
        """Load the HTTP library now, instead of with the first client.

        It takes 0.1 s; adapters let a thread do it, so that no loop stands still.
        """
        from model_manager.providers import _http  # noqa: F401, PLC0415 - see `_build`

        self.is_warm = True

    async def aclose(self) -> None:
        """Close the running loop's clients; other live loops close theirs themselves.

        A later call opens new ones.
        """
        async with AsyncExitStack() as stack:
            for clients in [self._open, *self._guarded.values()]:
                stack.push_async_callback(clients.aclose)


def _clients(networks: tuple[str, ...] | None) -> LoopLocal[HttpClient]:
    return LoopLocal(partial(_build, networks), _close, abandon=_abandon)


def _build(networks: tuple[str, ...] | None) -> HttpClient:
    # Late, because loading aiohttp takes 0.1 s.
    from model_manager.providers import _http  # noqa: PLC0415 - see above

    return _http.HttpClient(None if networks is None else Guard(networks))


async def _close(client: HttpClient) -> None:
    await client.aclose()


def _abandon(client: HttpClient) -> None:
    client.abandon()
