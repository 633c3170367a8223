"""What may be asked of a manager: an answer whole, in pieces, vectors, or the route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeVar

from model_manager._outcome import embeddings_of, response_of
from model_manager._request import chat_request, embed_request
from model_manager._stream import Stream
from model_manager.types import (
    Embeddings,
    Message,
    OnBreak,
    Priority,
    Privacy,
    Response,
    Route,
    Tool,
)

if TYPE_CHECKING:
    # It stands on pydantic, which an import of the facade does not load.
    from model_manager._current import Current

T = TypeVar("T", default=Any)


class Calls:
    """The calls of `ModelManager`, each built into a request and handed over."""

    def __init__(self, current: Current) -> None:
        """Take the holder of the runtime in force."""
        self._current = current

    async def generate(
        self,
        agent: str,
        prompt: str | Sequence[Message],
        *,
        task: str | None = None,
        system: str | None = None,
        tools: Sequence[Tool] = (),
        output_type: type[T] | Mapping[str, object] | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the deadline of the call
        privacy: Privacy | None = None,
        priority: Priority = "interactive",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Response[T]:
        """Get one whole answer.

        Args:
            agent: The agent's id in the configuration.
            prompt: A user's words, or a conversation.
            task: What kind of work it is; decides about strategy and privacy.
            system: An instruction above the conversation.
            tools: What the model may ask to have called.
            output_type: A pydantic model (or dataclass), or a JSON Schema; the value
                is in `response.parsed`.
            max_output_tokens: The longest answer allowed.
            temperature: 0 to 2; left out for models that take none.
            stop: Texts at which the model stops.
            seed: For repeatable answers, where the provider has it.
            timeout: Seconds for the whole call, fallbacks included.
            privacy: `local_only` keeps the call on this machine, whatever fails.
            priority: `batch` lets interactive calls go first where calls queue, and
                waits longer there.
            model: A model to try before the agent's own.
            metadata: Labels of your own, kept with the call and sent nowhere.

        Raises:
            UnknownAgentError: No such agent.
            InvalidRequestError: An argument is wrong; nothing was sent.
            NoCandidateError: Nobody may answer; says why.
            AllCandidatesFailedError: Everybody who may answer failed.
            CallTimeoutError: The deadline passed.
            ProviderError: A failure after which nobody else is asked, e.g. a malformed
                request or a refusal for content.
        """
        request = chat_request(
            agent,
            prompt,
            task=task,
            system=system,
            tools=tools,
            output_type=output_type,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            stop=stop,
            seed=seed,
            timeout=timeout,
            privacy=privacy,
            priority=priority,
            model=model,
            metadata=metadata,
        )
        async with self._current.using() as runtime:
            walk = await runtime.walk(request)
            answer = await walk.finish()
            return response_of(walk, answer, now=runtime.clock.monotonic())

    def stream(
        self,
        agent: str,
        prompt: str | Sequence[Message],
        *,
        task: str | None = None,
        system: str | None = None,
        tools: Sequence[Tool] = (),
        output_type: object = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        timeout: float | None = None,
        privacy: Privacy | None = None,
        priority: Priority = "interactive",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_break: OnBreak | None = None,
    ) -> Stream:
        """Get an answer in pieces; see `generate` for the arguments, `Stream` for use.

        `on_break` says what to do when an answer breaks after its first piece:
        `restart` with the next candidate (the default for events), or `raise`.
        """
        request = chat_request(
            agent,
            prompt,
            task=task,
            system=system,
            tools=tools,
            output_type=output_type,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            stop=stop,
            seed=seed,
            timeout=timeout,
            privacy=privacy,
            priority=priority,
            model=model,
            metadata=metadata,
            streaming=True,
        )
        return Stream(request, self._current, on_break=on_break)

    async def embed(
        self,
        agent: str,
        inputs: str | Sequence[str],
        *,
        task: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the deadline of the call
        privacy: Privacy | None = None,
        priority: Priority = "interactive",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Embeddings:
        """Turn texts into vectors, with one model: others' vectors do not compare.

        `inputs` is one text or several, and the vectors keep their order; `model` is
        an embedding model instead of the agent's. The rest is as in `generate`.
        """
        request = embed_request(
            agent,
            inputs,
            task=task,
            timeout=timeout,
            privacy=privacy,
            priority=priority,
            model=model,
            metadata=metadata,
        )
        async with self._current.using() as runtime:
            walk = await runtime.walk(request)
            answer = await walk.finish()
            return embeddings_of(walk, answer, now=runtime.clock.monotonic())

    def explain(
        self,
        agent: str,
        prompt: str | Sequence[Message] = "…",
        *,
        task: str | None = None,
        system: str | None = None,
        tools: Sequence[Tool] = (),
        output_type: object = None,
        max_output_tokens: int | None = None,
        privacy: Privacy | None = None,
        model: str | None = None,
    ) -> Route:
        """Say who may answer a call, in which order, and why; sends nothing.

        The arguments are those of `generate` that decide who may answer. What is not
        known yet, such as the models installed on a server that was never asked, is
        named in `route.notes`.
        """
        request = chat_request(
            agent,
            prompt,
            task=task,
            system=system,
            tools=tools,
            output_type=output_type,
            max_output_tokens=max_output_tokens,
            privacy=privacy,
            model=model,
        )
        return self._current.runtime.route(request)
