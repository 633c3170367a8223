"""The provider: one attempt in, chunks of a chat completion out."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final

from model_manager.providers._vendor import Dialect, Line, host_of
from model_manager.providers.openai._decode import ChatDecoder, decode_vectors
from model_manager.providers.openai._encode import chat_body, embeddings_body
from model_manager.providers.openai._errors import classify
from model_manager.types import Attempt, Clock, EndpointHealth, Reply

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers import HttpPool

_DIALECT: Final = Dialect(models_path="/models", classify=classify)
_OWN_HOST: Final = "api.openai.com"


class OpenAIProvider:
    """OpenAI, or any server that speaks its chat completions.

    A server other than OpenAI's own is sent `max_tokens` instead of
    `max_completion_tokens`, and `temperature` for every model.
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
            endpoint: Where to send to.
            key: The API key; `None` where the endpoint needs none.
            http: Clients to send with.
            clock: The time to measure by.
        """
        host = host_of(endpoint.base_url)
        self._genuine = host == _OWN_HOST or host.endswith(f".{_OWN_HOST}")
        self._line = Line(
            endpoint,
            key=key,
            http=http,
            clock=clock,
            dialect=_DIALECT,
            base_url=endpoint.base_url,
        )
        self._chat_url = self._line.url("/chat/completions")
        self._embed_url = self._line.url("/embeddings")

    def open(self, attempt: Attempt, /) -> AbstractAsyncContextManager[Reply]:
        """Send the attempt; leaving the context closes its connection.

        Raises:
            ProviderError: The attempt failed, here or while chunks are read.
        """
        if attempt.request.operation == "embed":
            body = embeddings_body(attempt)
            read = partial(decode_vectors, count=len(attempt.request.inputs))
            return self._line.whole(attempt, self._embed_url, body, read=read)
        body = chat_body(attempt, genuine=self._genuine)
        return self._line.chat(attempt, self._chat_url, body, decoder=ChatDecoder)

    async def check(self) -> EndpointHealth:
        """List the models, which is free; never raises."""
        return await self._line.check()

    async def aclose(self) -> None:
        """Do nothing: the connections are the pool's."""
