"""One endpoint of a cloud vendor's protocol: requests out, errors made ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from model_manager.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ProviderError,
    ProviderTimeoutError,
)
from model_manager.providers import _headers
from model_manager.providers._bodies import read_json
from model_manager.providers._failures import Source, Verdict, failure, wire_failure
from model_manager.providers._outgoing import headers_of, is_sendable
from model_manager.providers._streams import Decoder, read_stream, replay
from model_manager.providers._wire import WireError
from model_manager.types import Attempt, Chunk, Clock, EndpointHealth, Reply

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers._http import HttpAnswer
    from model_manager.providers._pool import HttpPool

Classify = Callable[[int | None, object], Verdict]
"""Status (`None` inside a stream) and decoded body to what they mean."""
MakeDecoder = Callable[[Source, Callable[[object], ProviderError]], Decoder]
"""Where an answer comes from, and what an error event in it means, to its decoder."""
ReadWhole = Callable[[bytes, Source], Sequence[Chunk]]
"""The body of a whole answer and where it came from to its chunks, `Finish` last."""
_Begin = Callable[["HttpAnswer", Source], Awaitable[AsyncGenerator[Chunk]]]

_CHECK_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 5.0
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between the vendors."""

    models_path: str
    """Where a GET lists the models, free of charge."""
    classify: Classify
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What every request carries besides the usual."""


class Line:
    """The way to one endpoint. Used from any number of threads and loops."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        key: SecretStr | None,
        http: HttpPool,
        clock: Clock,
        dialect: Dialect,
        base_url: str,
    ) -> None:
        """Write the headers; opens nothing and loads no HTTP library."""
        self.endpoint = endpoint
        self.clock = clock
        self._http = http
        self._dialect = dialect
        self._base_url = base_url.rstrip("/")
        self._problem = _problem_with(endpoint, key)
        usable = None if self._problem is not None else key
        self._headers = headers_of(endpoint, usable, dialect.headers)

    def url(self, path: str) -> str:
        """Return the whole address of a path; asked for once, not once a call."""
        return self._base_url + path

    def chat(
        self, attempt: Attempt, url: str, content: bytes, *, decoder: MakeDecoder
    ) -> AbstractAsyncContextManager[Reply]:
        """Post a chat request; yield the reply, streamed or whole as was asked.

        Raises:
            ProviderError: No answer, or one that is an error.
        """
        if attempt.request.streaming:
            begin = partial(self._read, decoder)
            return _Exchange(self, attempt, url, content=content, begin=begin)

        def read(body: bytes, source: Source) -> Sequence[Chunk]:
            return decoder(source, self.fault_in(source)).take_answer(body)

        return self.whole(attempt, url, content, read=read)

    def whole(
        self, attempt: Attempt, url: str, content: bytes, *, read: ReadWhole
    ) -> AbstractAsyncContextManager[Reply]:
        """Post a request whose answer comes in one piece; yield the reply."""
        begin = partial(_read_whole, read)
        return _Exchange(self, attempt, url, content=content, begin=begin)

    async def send(
        self,
        url: str,
        content: bytes | None = None,
        *,
        attempt: Attempt | None = None,
    ) -> HttpAnswer:
        """Post the content, or get the address; return an answer that is no error.

        Raises:
            ProviderError: No answer, or one that is an error.
        """
        endpoint = self.endpoint
        if self._problem is not None:
            raise _authentication(endpoint, self._problem)
        local, connect = endpoint.is_local, _CONNECT_SECONDS
        if attempt is not None:
            local = local or attempt.local_only
            connect = attempt.timeouts.connect
        method, headers = "POST", self._headers
        if content is None:
            method, headers = "GET", headers.without_body()
        if not self._http.is_warm:
            await asyncio.to_thread(self._http.warm)
        client = self._http.client(local=local, networks=endpoint.local_networks)
        try:
            answer = await client.send(
                method, url, headers=headers, body=content, connect=connect
            )
        except WireError as error:
            fault = wire_failure(self.source(_model_of(attempt)), error)
        else:
            if answer.status in _OK:
                return answer
            fault = await self._fault_of(answer, _model_of(attempt))
        # Raised here, where no exception is being handled, so that ours has no context.
        raise fault

    def source(self, model: str, told: Mapping[str, str] | None = None) -> Source:
        """Return where the answer with these headers came from, for its errors."""
        if not told:
            return Source(endpoint=self.endpoint.name, model=model)
        return Source(
            endpoint=self.endpoint.name,
            model=model,
            request_id=_headers.request_id(told),
            retry_after=_headers.retry_after(told),
        )

    def fault_in(self, source: Source) -> Callable[[object], ProviderError]:
        """Return what turns an error event of a stream into an error of ours."""

        def fault(body: object) -> ProviderError:
            return failure(source, self._dialect.classify(None, body))

        return fault

    async def check(self) -> EndpointHealth:
        """List the models, which costs nothing, and say how that went."""
        health = EndpointHealth(
            endpoint=self.endpoint.name, kind=self.endpoint.kind, status="ok"
        )
        if self._problem is not None:
            remedy = f"Set {self.endpoint.api_key_env} to the endpoint's key."
            return replace(health, status="no_key", detail=remedy)
        started = self.clock.monotonic()
        try:
            async with self.clock.timeout(_CHECK_SECONDS):
                url = self.url(self._dialect.models_path)
                answer = await self.send(url)
                try:
                    # Read, so that the connection can be used again.
                    await answer.beginning()
                finally:
                    answer.close()
        except (ConnectionFailedError, ProviderTimeoutError) as error:
            health = replace(health, status="unreachable", detail=str(error))
        except ProviderError as error:
            refused = getattr(error, "address", "")
            health = replace(health, status="error", detail=str(error), refused=refused)
        except TimeoutError:
            late = failure(self.source(""), ProviderTimeoutError)
            health = replace(health, status="unreachable", detail=str(late))
        return replace(health, seconds=self.clock.monotonic() - started)

    async def _read(
        self, decoder: MakeDecoder, answer: HttpAnswer, source: Source
    ) -> AsyncGenerator[Chunk]:
        reader = decoder(source, self.fault_in(source))
        return read_stream(answer, reader, source=source, clock=self.clock)

    async def _fault_of(self, answer: HttpAnswer, model: str) -> ProviderError:
        try:
            body = read_json(await answer.beginning())
        finally:
            answer.close()
        told = _headers.pick(answer.raw_headers)
        verdict = self._dialect.classify(answer.status, body)
        remedy = None
        if verdict.kind is AuthenticationError and self.endpoint.api_key_env:
            remedy = f"Check {self.endpoint.api_key_env} and what that key may do."
        return failure(self.source(model, told), verdict, remedy=remedy)


class _Exchange:
    """One request and its answer, as a context that closes what it opened."""

    __slots__ = (
        "_answer",
        "_attempt",
        "_begin",
        "_chunks",
        "_content",
        "_line",
        "_url",
    )

    def __init__(
        self, line: Line, attempt: Attempt, url: str, *, content: bytes, begin: _Begin
    ) -> None:
        self._line = line
        self._attempt = attempt
        self._url = url
        self._content = content
        self._begin = begin

    async def __aenter__(self) -> Reply:
        line, attempt = self._line, self._attempt
        answer = await line.send(self._url, self._content, attempt=attempt)
        try:
            told = _headers.pick(answer.raw_headers)
            source = line.source(attempt.candidate.model, told)
            chunks = await self._begin(answer, source)
        except BaseException:
            answer.close()
            raise
        self._answer, self._chunks = answer, chunks
        return Reply(
            chunks=chunks,
            request_id=source.request_id,
            rate_limit=_headers.rate_limit(told),
            whole=not attempt.request.streaming,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._chunks.aclose()
        finally:
            self._answer.close()


async def _read_whole(
    read: ReadWhole, answer: HttpAnswer, source: Source
) -> AsyncGenerator[Chunk]:
    try:
        body = await answer.whole()
    except WireError as error:
        fault = wire_failure(source, error)
    else:
        return replay(read(body, source))
    raise fault


def host_of(base_url: str) -> str:
    """Return the host that a base_url names, in lower case."""
    return (urlsplit(base_url).hostname or "").lower()


def _problem_with(endpoint: Endpoint, key: SecretStr | None) -> str | None:
    if key is not None:
        return None if is_sendable(key) else "has a key that cannot be sent in a header"
    return None if endpoint.api_key_env is None else "has no key"


def _authentication(endpoint: Endpoint, what: str) -> ProviderError:
    remedy = f"Set {endpoint.api_key_env} to the endpoint's key."
    source = Source(endpoint=endpoint.name)
    return failure(source, AuthenticationError, what=what, remedy=remedy)


def _model_of(attempt: Attempt | None) -> str:
    return "" if attempt is None else attempt.candidate.model
