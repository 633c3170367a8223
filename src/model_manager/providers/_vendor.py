"""One endpoint behind a vendor's SDK: its client per loop, its errors made ours.

The SDKs build headers, authentication and requests, and are asked for the raw response:
their typed objects cost more than everything else they do.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from model_manager.errors import (
    AuthenticationError,
    ConnectionFailedError,
    MalformedResponseError,
    ProviderError,
    ProviderTimeoutError,
)
from model_manager.providers import _headers
from model_manager.providers._failures import Source, Verdict, failure
from model_manager.providers._loops import LoopLocal
from model_manager.providers._streams import Decoder, read_stream, replay
from model_manager.types import Attempt, Chunk, Clock, EndpointHealth, Reply

if TYPE_CHECKING:
    import httpx2
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers._pool import HttpPool

Classify = Callable[[int | None, object], Verdict]
"""Status (`None` inside a stream) and decoded body to what they mean."""
MakeDecoder = Callable[[Source, Callable[[object], ProviderError]], Decoder]
"""Where an answer comes from, and what an error event in it means, to its decoder."""

_CHECK_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 5.0


class SdkClient(Protocol):
    """What both vendors' clients have in common, as far as it is used here."""

    def is_closed(self) -> bool:
        """Whether the HTTP client below was closed."""
        ...

    async def post(self, path: str, /, **options: Any) -> Any:
        """Send a POST and return the raw response."""
        ...

    async def get(self, path: str, /, **options: Any) -> Any:
        """Send a GET and return the raw response."""
        ...


class SdkModule(Protocol):
    """The module of an adapter that imports the SDK; loaded at the first call."""

    Omit: type[object]
    StatusError: type[Exception]
    TimedOutError: type[Exception]
    UnreachableError: type[Exception]

    def build_client(
        self, *, base_url: str, key: str | None, http: httpx2.AsyncClient
    ) -> SdkClient:
        """Build a client that takes nothing from the environment."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between the vendors."""

    module: str
    """The adapter's module that imports the SDK."""
    models_path: str
    """Where a GET lists the models, free of charge."""
    classify: Classify


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
        """Remember where to send to; opens nothing and imports no SDK."""
        self.endpoint = endpoint
        self.clock = clock
        self._key = key
        self._http = http
        self._dialect = dialect
        self._base_url = base_url
        self._sdk: SdkModule | None = None
        self._clients: LoopLocal[SdkClient] = LoopLocal(self._build, _leave_open)

    @asynccontextmanager
    async def send(
        self, path: str, content: bytes, *, model: str, connect: float, stream: bool
    ) -> AsyncIterator[tuple[httpx2.Response, dict[str, str]]]:
        """Post a JSON body; yield the response and its headers of interest.

        With `stream` the body is still to be read, and leaving closes its connection.

        Raises:
            ProviderError: No answer, or one that is an error.
        """
        response = await self._call(
            "post", path, model=model, connect=connect, content=content, stream=stream
        )
        try:
            yield response, _headers.pick(response.headers.raw)
        finally:
            await response.aclose()

    @asynccontextmanager
    async def answer(
        self, attempt: Attempt, path: str, content: bytes, *, decoder: MakeDecoder
    ) -> AsyncIterator[Reply]:
        """Post a chat request; yield the reply, streamed or whole as was asked."""
        model, stream = attempt.candidate.model, attempt.request.streaming
        connect = attempt.timeouts.connect
        async with self.send(
            path, content, model=model, connect=connect, stream=stream
        ) as (response, headers):
            source = self.source(model, headers)
            reader = decoder(source, self.fault_in(source))
            if stream:
                chunks = read_stream(response, reader, source=source, clock=self.clock)
            else:
                chunks = replay(reader.take_answer(response.content))
            async with aclosing(chunks):
                yield reply_of(chunks, headers, whole=not stream)

    def source(self, model: str, headers: Mapping[str, str] | None = None) -> Source:
        """Return where the answer with these headers came from, for its errors."""
        return Source(
            endpoint=self.endpoint.name,
            model=model,
            request_id=_headers.request_id(headers or {}),
            retry_after=_headers.retry_after(headers or {}),
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
        if self._key_problem() is not None:
            remedy = f"Set {self.endpoint.api_key_env} to the endpoint's key."
            return replace(health, status="no_key", detail=remedy)
        started = self.clock.monotonic()
        try:
            async with self.clock.timeout(_CHECK_SECONDS):
                response = await self._call(
                    "get", self._dialect.models_path, model="", connect=_CONNECT_SECONDS
                )
                await response.aclose()
        except (ConnectionFailedError, ProviderTimeoutError) as error:
            health = replace(health, status="unreachable", detail=str(error))
        except ProviderError as error:
            health = replace(health, status="error", detail=str(error))
        except TimeoutError:
            late = failure(self.source(""), ProviderTimeoutError)
            health = replace(health, status="unreachable", detail=str(late))
        return replace(health, seconds=self.clock.monotonic() - started)

    async def aclose(self) -> None:
        """Forget the clients; the connections belong to the pool."""
        await self._clients.aclose()

    async def _call(
        self, verb: str, path: str, *, model: str, connect: float, **body: Any
    ) -> httpx2.Response:
        problem = self._key_problem()
        if problem is not None:
            raise problem
        client, sdk = await self._client()
        import httpx2  # noqa: PLC0415 - loaded with the client, and not earlier

        options: dict[str, Any] = {"timeout": httpx2.Timeout(None, connect=connect)}
        if self._key is None:
            options["headers"] = {"Authorization": sdk.Omit()}
        try:
            response: httpx2.Response = await getattr(client, verb)(
                path, cast_to=httpx2.Response, options=options, **body
            )
        except sdk.StatusError as error:
            fault = self._status_fault(error, model)
        except sdk.TimedOutError as error:
            fault = failure(self.source(model), _kind_of_timeout(error))
        except (sdk.UnreachableError, httpx2.RequestError) as error:
            fault = failure(self.source(model), _kind_of_break(error))
        else:
            return response
        # Raised here, where no exception is being handled: what the SDK raised holds
        # the request with its headers, and must not hang on ours as its context.
        raise fault

    def _status_fault(self, error: Any, model: str) -> ProviderError:
        headers = _headers.pick(error.response.headers.raw)
        verdict = self._dialect.classify(error.response.status_code, error.body)
        remedy = None
        if verdict.kind is AuthenticationError and self.endpoint.api_key_env:
            remedy = f"Check {self.endpoint.api_key_env} and what that key may do."
        return failure(self.source(model, headers), verdict, remedy=remedy)

    def _key_problem(self) -> ProviderError | None:
        if self._key is not None:
            value = self._key.get_secret_value()
            if value.isascii() and value.isprintable() and " " not in value and value:
                return None
            what = "has a key that cannot be sent in a header"
        elif self.endpoint.api_key_env is None:
            return None
        else:
            what = "has no key"
        remedy = f"Set {self.endpoint.api_key_env} to the endpoint's key."
        source = Source(endpoint=self.endpoint.name)
        return failure(source, AuthenticationError, what=what, remedy=remedy)

    async def _client(self) -> tuple[SdkClient, SdkModule]:
        sdk = self._sdk
        if sdk is None:
            # Half a second and more of imports, kept off the event loop.
            sdk = await asyncio.to_thread(_load, self._dialect.module)
            self._sdk = sdk
        client = self._clients.get()
        if client.is_closed():
            await self._clients.aclose()
            client = self._clients.get()
        return client, sdk

    def _build(self) -> SdkClient:
        sdk = self._sdk or _load(self._dialect.module)
        key = None if self._key is None else self._key.get_secret_value()
        http = self._http.client(local=self.endpoint.is_local)
        return sdk.build_client(base_url=self._base_url, key=key, http=http)


def reply_of(
    chunks: AsyncIterator[Chunk], headers: Mapping[str, str], *, whole: bool
) -> Reply:
    """Return the open answer with what its headers told."""
    return Reply(
        chunks=chunks,
        request_id=_headers.request_id(headers),
        rate_limit=_headers.rate_limit(headers),
        whole=whole,
    )


def host_of(base_url: str) -> str:
    """Return the host that a base_url names, in lower case."""
    return (urlsplit(base_url).hostname or "").lower()


def _load(module: str) -> SdkModule:
    loaded: Any = importlib.import_module(module)
    sdk: SdkModule = loaded
    return sdk


def _kind_of_timeout(error: Exception) -> type[ProviderError]:
    import httpx2  # noqa: PLC0415 - loaded with the client, and not earlier

    early = isinstance(error.__cause__, httpx2.ConnectTimeout | httpx2.PoolTimeout)
    return ConnectionFailedError if early else ProviderTimeoutError


def _kind_of_break(error: Exception) -> type[ProviderError]:
    import httpx2  # noqa: PLC0415 - loaded with the client, and not earlier

    unreadable = isinstance(error.__cause__ or error, httpx2.DecodingError)
    return MalformedResponseError if unreadable else ConnectionFailedError


async def _leave_open(client: SdkClient) -> None:
    """Close nothing: the HTTP client below is shared, and the pool closes it."""
    del client
