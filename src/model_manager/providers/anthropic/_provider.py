"""The provider: one attempt in, chunks of a message out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from model_manager.errors import UnsupportedFeatureError
from model_manager.providers._failures import failure
from model_manager.providers._outgoing import is_sendable
from model_manager.providers._vendor import Dialect, Line, host_of
from model_manager.providers.anthropic._decode import MessageDecoder
from model_manager.providers.anthropic._encode import message_body
from model_manager.providers.anthropic._errors import classify
from model_manager.types import Attempt, Clock, EndpointHealth, Reply

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers import HttpPool

_OWN_HOST: Final = "api.anthropic.com"
_VERSION: Final = MappingProxyType({"anthropic-version": "2026-10-21"})
"""The version that the vendor's own SDK asks for, 2.11."""


class AnthropicProvider:
    """Anthropic, or any server that speaks its Messages protocol.

    Thinking text is sent back only where it carries Anthropic's own signature. There
    are no embeddings.
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
            dialect=Dialect(
                models_path="/v1/models",
                classify=classify,
                headers=_headers_for(endpoint, key),
            ),
            base_url=endpoint.base_url.rstrip("/").removesuffix("/v1"),
        )
        self._url = self._line.url("/v1/messages")

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Send the attempt; leaving the context closes its connection.

        Raises:
            ProviderError: The attempt failed, here or while chunks are read;
                `UnsupportedFeatureError` for embeddings.
        """
        if attempt.request.operation == "embed":
            raise failure(
                self._line.source(attempt.candidate.model),
                UnsupportedFeatureError,
                what="has no embeddings",
                remedy="Set 'embedding' of the agent to a model of another provider.",
            )
        body = message_body(attempt)
        return self._line.chat(attempt, self._url, body, decoder=MessageDecoder)

    async def check(self) -> EndpointHealth:
        """List the models, which is free; never raises."""
        return await self._line.check()

    async def aclose(self) -> None:
        """Do nothing: the connections are the pool's."""


def _headers_for(endpoint: Endpoint, key: SecretStr | None) -> Mapping[str, str]:
    """Return what this protocol wants besides the bearer token.

    Gateways get the key as `x-api-key` as well: many read only that, while Anthropic
    itself takes the token.
    """
    if key is None or not is_sendable(key) or host_of(endpoint.base_url) == _OWN_HOST:
        return _VERSION
    return {**_VERSION, "x-api-key": key.get_secret_value()}
