"""The provider: one attempt in, chunks of a message out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from model_manager.errors import UnsupportedFeatureError
from model_manager.providers._failures import failure
from model_manager.providers._vendor import Dialect, Line
from model_manager.providers.anthropic._decode import MessageDecoder
from model_manager.providers.anthropic._encode import message_body
from model_manager.providers.anthropic._errors import classify
from model_manager.types import Attempt, Clock, EndpointHealth, Reply

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers import HttpPool

_DIALECT: Final = Dialect(
    module="model_manager.providers.anthropic._client",
    models_path="/v1/models",
    classify=classify,
)


class AnthropicProvider:
    """Anthropic, or any server that speaks its Messages protocol.

    The SDK is imported at the first call, in a thread. Thinking text is sent back only
    where it carries Anthropic's own signature. There are no embeddings.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        key: SecretStr | None,
        http: HttpPool,
        clock: Clock,
    ) -> None:
        """Bind the endpoint; opens nothing.

        Args:
            endpoint: Where to send to; its base_url may end in `/v1` or not.
            key: The API key; `None` where the endpoint needs none.
            http: Clients to send with.
            clock: The time to measure by.
        """
        self._line = Line(
            endpoint,
            key=key,
            http=http,
            clock=clock,
            dialect=_DIALECT,
            base_url=endpoint.base_url.rstrip("/").removesuffix("/v1"),
        )

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Send the attempt; leaving the context closes its connection.

        Raises:
            ProviderError: The attempt failed, here or while chunks are read;
                `UnsupportedFeatureError` for embeddings.
        """
        return self._message(attempt)

    async def check(self) -> EndpointHealth:
        """List the models, which is free; never raises."""
        return await self._line.check()

    async def aclose(self) -> None:
        """Forget the clients of the running loop; other loops forget theirs."""
        await self._line.aclose()

    @asynccontextmanager
    async def _message(self, attempt: Attempt) -> AsyncIterator[Reply]:
        line, model = self._line, attempt.candidate.model
        if attempt.request.operation == "embed":
            raise failure(
                line.source(model),
                UnsupportedFeatureError,
                what="has no embeddings",
                remedy="Set 'embedding' of the agent to a model of another provider.",
            )
        body = message_body(attempt)
        async with line.answer(
            attempt, "/v1/messages", body, decoder=MessageDecoder
        ) as reply:
            yield reply
