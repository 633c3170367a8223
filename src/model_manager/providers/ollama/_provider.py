"""One Ollama server as a provider."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from model_manager.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ModelNotFoundError,
    ProviderError,
    ProviderTimeoutError,
)
from model_manager.providers._headers import pick, retry_after
from model_manager.providers._outgoing import headers_of, is_sendable
from model_manager.providers._streams import drain, replay
from model_manager.providers._wire import WireError
from model_manager.providers.ollama import _decode, _encode
from model_manager.providers.ollama._errors import Failures
from model_manager.providers.ollama._inventory import Inventory, parse_loaded
from model_manager.types import (
    Attempt,
    Chunk,
    Clock,
    EndpointHealth,
    InstalledModel,
    LoadedModel,
    Reply,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers._http import HttpAnswer
    from model_manager.providers._pool import HttpPool

_OK: Final = 200
_CHECK_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 5.0


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
        self._key_is_bad = key is not None and not is_sendable(key)
        usable = None if self._key_is_bad else key
        self._headers = headers_of(endpoint, usable, {})
        self._http = http
        self._clock = clock
        self._inventory = Inventory(clock)

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
                version = _version(await self._get("/api/version"))
                await self._inventory.refresh(
                    self._failures(), read=partial(self._get, "/api/tags")
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
            refused=getattr(failure, "address", ""),
        )

    async def describe(self, model: str) -> Mapping[str, object] | None:
        """Return what `/api/show` says of a model; `None` where it says nothing."""
        body = json.dumps({"model": model}).encode()
        answer = await self._asked("/api/show", content=body)
        return None if answer is None else _decode.json_object(answer)

    async def loaded(self) -> tuple[LoadedModel, ...] | None:
        """Return what `/api/ps` lists; `None` where it says nothing."""
        answer = await self._asked("/api/ps")
        return None if answer is None else parse_loaded(answer)

    async def aclose(self) -> None:
        """Forget what is installed; the connections are the pool's."""
        self._inventory.forget()

    @asynccontextmanager
    async def _open_chat(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        failures = self._failures(attempt)
        content = _encode.chat_body(attempt, failures)
        answer = await self._answer("/api/chat", content, attempt)
        try:
            decoder = _decode.ChatDecoder(failures, local=self._stays(attempt))
            chunks = _chat_chunks(answer, decoder, self._clock)
            try:
                yield Reply(chunks=chunks)
            finally:
                await chunks.aclose()
        finally:
            answer.close()

    @asynccontextmanager
    async def _open_embed(self, attempt: Attempt) -> AsyncGenerator[Reply]:
        failures = self._failures(attempt)
        content = _encode.embed_body(attempt, failures)
        answer = await self._answer("/api/embed", content, attempt)
        try:
            found = _decode.embeddings(
                await _whole(answer, failures),
                failures,
                inputs=len(attempt.request.inputs),
                local=self._stays(attempt),
            )
        finally:
            answer.close()
        chunks = replay(found)
        yield Reply(chunks=chunks)
        await chunks.aclose()

    async def _answer(self, path: str, content: bytes, attempt: Attempt) -> HttpAnswer:
        """Send once the model is admitted; return an answer whose status is 200."""
        failures = self._failures(attempt)
        connect = attempt.timeouts.connect
        stays = self._stays(attempt)
        if stays:
            read = partial(self._get, "/api/tags", connect=connect, stays=True)
            await self._inventory.admit(failures, read=read)
        answer = await self._send(
            path, connect=connect, failures=failures, content=content, stays=stays
        )
        if answer.status == _OK:
            return answer
        try:
            failure = failures.of_response(answer.status, await answer.beginning())
        finally:
            answer.close()
        # Ollama names no wait itself; a proxy in front of it may.
        failure.retry_after = retry_after(pick(answer.raw_headers))
        if isinstance(failure, ModelNotFoundError):
            self._inventory.forget()
        raise failure

    async def _asked(self, path: str, *, content: bytes | None = None) -> bytes | None:
        """Return an answer that the server can also go without giving."""
        with contextlib.suppress(ProviderError, TimeoutError):
            async with self._clock.timeout(_CHECK_SECONDS):
                return await self._get(path, content=content)
        return None

    async def _get(
        self,
        path: str,
        *,
        content: bytes | None = None,
        connect: float = _CONNECT_SECONDS,
        stays: bool = False,
    ) -> bytes:
        failures = self._failures()
        answer = await self._send(
            path, connect=connect, failures=failures, content=content, stays=stays
        )
        try:
            body = await _whole(answer, failures)
        finally:
            answer.close()
        if answer.status != _OK:
            raise failures.of_response(answer.status, body)
        return body

    async def _send(
        self,
        path: str,
        *,
        connect: float,
        failures: Failures,
        content: bytes | None = None,
        stays: bool = False,
    ) -> HttpAnswer:
        """Post the content, or get the path where there is none."""
        endpoint = self._endpoint
        if self._key_is_bad:
            raise failures.new(
                AuthenticationError,
                what="has a key that cannot be sent in a header",
                remedy=f"Set {endpoint.api_key_env} to the endpoint's key.",
            )
        headers = self._headers
        if content is None:
            headers = headers.without_body()
        if not self._http.is_warm:
            await asyncio.to_thread(self._http.warm)
        client = self._http.client(
            local=endpoint.is_local or stays, networks=endpoint.local_networks
        )
        try:
            return await client.send(
                "GET" if content is None else "POST",
                self._url + path,
                headers=headers,
                body=content,
                connect=connect,
            )
        except WireError as error:
            failure = failures.of_wire(error)
        # Raised here, so that nothing leads from the error back to the request.
        raise failure

    def _stays(self, attempt: Attempt) -> bool:
        """Return whether nothing of this attempt may leave the machine."""
        return self._endpoint.is_local or attempt.local_only

    def _failures(self, attempt: Attempt | None = None) -> Failures:
        model = "" if attempt is None else attempt.candidate.model
        return Failures(self._endpoint.name, model)


async def _chat_chunks(
    answer: HttpAnswer, decoder: _decode.ChatDecoder, clock: Clock
) -> AsyncGenerator[Chunk]:
    failure: ProviderError | None = None
    try:
        while not decoder.finished:
            piece = await answer.piece()
            if not piece:
                break
            for chunk in decoder.feed(piece):
                yield chunk
    except WireError as error:
        failure = decoder.failures.of_wire(error)
    if failure is not None:
        raise failure
    if decoder.finished:
        await drain(answer, clock)
        return
    for chunk in decoder.end():
        yield chunk


async def _whole(answer: HttpAnswer, failures: Failures) -> bytes:
    try:
        return await answer.whole()
    except WireError as error:
        failure = failures.of_wire(error)
    raise failure


def _version(body: bytes) -> str | None:
    entry = _decode.json_object(body)
    version = None if entry is None else entry.get("version")
    return version if isinstance(version, str) else None
