"""One Ollama server as a provider."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx2

from model_manager.errors import (
    ConnectionFailedError,
    ModelNotFoundError,
    ProviderError,
    ProviderTimeoutError,
    StreamInterruptedError,
)
from model_manager.providers._headers import retry_after
from model_manager.providers.ollama import _decode, _encode
from model_manager.providers.ollama._errors import Failures
from model_manager.providers.ollama._inventory import Inventory
from model_manager.types import (
    Attempt,
    Chunk,
    Clock,
    EndpointHealth,
    InstalledModel,
    Reply,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers._pool import HttpPool

_OK: Final = 200
_CHECK_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 0.1
_ERROR_BYTES: Final = 65_536


class OllamaProvider:
    """Speaks Ollama's native API: `/api/chat` and `/api/embed`.

    On a local endpoint the server's inventory is read before a model's first use, and
    again when it is older than a minute: a model that is not installed, or that the
    server would forward to another machine, is refused before any of the prompt is
    sent. When the inventory cannot be read, the call fails. Nothing is ever pulled.

    Args:
        endpoint: Where the server is.
        key: Sent as a bearer token where one is given; a local server needs none.
        http: Clients to send with.
        clock: The time to measure by.
    """

    def __init__(
        self, endpoint: Endpoint, *, key: SecretStr | None, http: HttpPool, clock: Clock
    ) -> None:
        """Open nothing yet."""
        self._endpoint = endpoint
        self._url = endpoint.base_url.rstrip("/")
        self._key = key
        self._http = http
        self._clock = clock
        self._inventory = Inventory(self._read_tags, clock)

    @property
    def installed(self) -> Mapping[str, InstalledModel] | None:
        """What the server had installed when last asked; no I/O."""
        return self._inventory.installed

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Send the attempt; see `model_manager.types.Provider.open`."""
        if attempt.request.operation == "embed":
            return self._open_embed(attempt)
        return self._open_chat(attempt)

    async def check(self) -> EndpointHealth:
        """Ask for version and inventory; never raises."""
        started = self._clock.monotonic()
        failure: ProviderError | None = None
        version: str | None = None
        try:
            async with self._clock.timeout(_CHECK_SECONDS):
                version = _version(await self._get("/api/version", _CONNECT_SECONDS))
                await self._inventory.refresh(
                    self._failures(), connect=_CONNECT_SECONDS
                )
        except ProviderError as error:
            failure = error
        except TimeoutError:
            failure = self._failures().new(ProviderTimeoutError)
        lost = isinstance(failure, ConnectionFailedError | ProviderTimeoutError)
        return EndpointHealth(
            endpoint=self._endpoint.name,
            kind=self._endpoint.kind,
            status="ok" if failure is None else "unreachable" if lost else "error",
            detail="" if failure is None else str(failure),
            version=version,
            seconds=self._clock.monotonic() - started,
            installed=self.installed if failure is None else None,
        )

    async def aclose(self) -> None:
        """Forget what belongs to event loops; the connections are the pool's."""
        self._inventory.forget()
        await self._inventory.aclose()

    @asynccontextmanager
    async def _open_chat(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        failures = self._failures(attempt)
        content = _encode.chat_body(attempt, failures)
        async with self._answer("/api/chat", content, attempt) as response:
            stream = aiter(response.aiter_bytes())
            decoder = _decode.ChatDecoder(failures, local=self._endpoint.is_local)
            async with aclosing(_chat_chunks(stream, decoder)) as chunks:
                yield Reply(chunks=chunks)
            if decoder.finished:
                await self._drain(stream)

    @asynccontextmanager
    async def _open_embed(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        failures = self._failures(attempt)
        content = _encode.embed_body(attempt, failures)
        async with self._answer("/api/embed", content, attempt) as response:
            chunks = self._embed_chunks(response, attempt)
            async with aclosing(chunks):
                yield Reply(chunks=chunks)

    async def _embed_chunks(
        self, response: httpx2.Response, attempt: Attempt
    ) -> AsyncGenerator[Chunk]:
        failures = self._failures(attempt)
        body = await _whole(response, failures)
        for chunk in _decode.embeddings(
            body,
            failures,
            inputs=len(attempt.request.inputs),
            local=self._endpoint.is_local,
        ):
            yield chunk

    @asynccontextmanager
    async def _answer(
        self, path: str, content: bytes, attempt: Attempt
    ) -> AsyncGenerator[httpx2.Response]:
        """Send once the model is admitted; yield an answer whose status is 200."""
        failures = self._failures(attempt)
        if self._endpoint.is_local:
            await self._inventory.admit(failures, connect=attempt.timeouts.connect)
        response = await self._send(
            "POST",
            path,
            connect=attempt.timeouts.connect,
            content=content,
            failures=failures,
        )
        try:
            if response.status_code != _OK:
                failure = failures.of_response(
                    response.status_code, await _beginning(response)
                )
                # Ollama names no wait itself; a proxy in front of it may.
                failure.retry_after = retry_after(response.headers)
                if isinstance(failure, ModelNotFoundError):
                    self._inventory.forget()
                raise failure
            yield response
        finally:
            # A connection that is thrown away may fail to close; that is no news.
            with contextlib.suppress(httpx2.TransportError):
                await response.aclose()

    async def _drain(self, stream: AsyncIterator[bytes]) -> None:
        """Read the end of the body, so that the connection can be used again."""
        with contextlib.suppress(httpx2.TransportError, TimeoutError):
            async with self._clock.timeout(_DRAIN_SECONDS):
                async for _ in stream:
                    pass

    async def _read_tags(self, connect: float) -> bytes:
        return await self._get("/api/tags", connect)

    async def _get(self, path: str, connect: float) -> bytes:
        failures = self._failures()
        response = await self._send("GET", path, connect=connect, failures=failures)
        try:
            body = await _whole(response, failures)
        finally:
            with contextlib.suppress(httpx2.TransportError):
                await response.aclose()
        if response.status_code != _OK:
            raise failures.of_response(response.status_code, body)
        return body

    async def _send(
        self,
        method: str,
        path: str,
        *,
        connect: float,
        failures: Failures,
        content: bytes | None = None,
    ) -> httpx2.Response:
        headers = {} if content is None else {"content-type": "application/json"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key.get_secret_value()}"
        client = self._client()
        try:
            request = client.build_request(
                method,
                self._url + path,
                content=content,
                headers=headers,
                timeout=httpx2.Timeout(None, connect=connect),
            )
            return await client.send(request, stream=True)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = failures.of_transport(error)
        # Raised here, so that nothing leads from the error back to the request.
        raise failure

    def _client(self) -> httpx2.AsyncClient:
        return self._http.client(local=self._endpoint.is_local)

    def _failures(self, attempt: Attempt | None = None) -> Failures:
        model = "" if attempt is None else attempt.candidate.model
        return Failures(self._endpoint.name, model)


async def _chat_chunks(
    stream: AsyncIterator[bytes], decoder: _decode.ChatDecoder
) -> AsyncGenerator[Chunk]:
    failure: ProviderError | None = None
    try:
        async for data in stream:
            for chunk in decoder.feed(data):
                yield chunk
            if decoder.finished:
                return
    except httpx2.HTTPError:
        failure = decoder.failures.new(StreamInterruptedError)
    if failure is not None:
        raise failure
    for chunk in decoder.end():
        yield chunk


async def _whole(response: httpx2.Response, failures: Failures) -> bytes:
    try:
        return await response.aread()
    except httpx2.HTTPError:
        failure = failures.new(StreamInterruptedError)
    raise failure


async def _beginning(response: httpx2.Response) -> bytes:
    """Return enough of an error's body to judge it; what cannot be read is empty."""
    body = b""
    with contextlib.suppress(httpx2.HTTPError):
        async for data in response.aiter_bytes():
            body += data
            if len(body) >= _ERROR_BYTES:
                break
    return body


def _version(body: bytes) -> str | None:
    entry = _decode.json_object(body)
    version = None if entry is None else entry.get("version")
    return version if isinstance(version, str) else None
