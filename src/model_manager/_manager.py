"""`ModelManager`: the library's face; it hands over and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import TypeVar, override

from model_manager._outcome import embeddings_of, response_of
from model_manager._request import chat_request, embed_request
from model_manager._stream import Stream
from model_manager.types import (
    Clock,
    Embeddings,
    Health,
    Message,
    OnBreak,
    Privacy,
    Response,
    Route,
    Tool,
)

if TYPE_CHECKING:
    from model_manager._agent import AgentHandle
    from model_manager.config import Config
    from model_manager.providers import HttpPool, ProviderFactory
    from model_manager.sync import SyncManager

T = TypeVar("T", default=Any)


class ModelManager:
    """Answers for agents: picks the model, calls it, survives its failures, counts.

    One manager may be shared by any number of threads and event loops at once. Use it
    as an `async with` block, or call `aclose` when you are done; `sync` has the same
    methods for synchronous callers.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, object] | Config | None = None,
        *,
        providers: Mapping[str, ProviderFactory] | None = None,
        http: HttpPool | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Load the configuration and read the keys; opens no connection.

        Args:
            config: A path, a mapping, a `Config`, or `None` to look at
                `$MODEL_MANAGER_CONFIG`, `./models_config.json` and
                `./config/models_config.json`.
            providers: Factories by provider kind, instead of the installed ones.
            http: The connections to use, instead of a pool of its own.
            clock: The time to go by, instead of the machine's.
            environ: Where keys are read, instead of the process's environment.

        Raises:
            ConfigError: The configuration is missing or wrong; lists every problem.
        """
        # Late: pydantic and asyncio take 0.1 s, which an import need not cost.
        from model_manager._runtime import compose  # noqa: PLC0415 - see above

        self._runtime = compose(
            config, providers=providers, http=http, clock=clock, environ=environ
        )
        self._sync: dict[str, SyncManager] = {}
        """Empty until `sync` is first asked for; `setdefault` needs no lock."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._runtime.config

    @property
    def sync(self) -> SyncManager:
        """The same methods for synchronous callers, also inside a running loop."""
        # Late here and in `for_agent`: both are made of this class's methods.
        from model_manager.sync import SyncManager  # noqa: PLC0415 - see above

        return self._sync.setdefault("sync", SyncManager(self))

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
            model=model,
            metadata=metadata,
        )
        runtime = self._runtime
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
            model=model,
            metadata=metadata,
            streaming=True,
        )
        runtime = self._runtime
        return Stream(request, runtime.walk, runtime.clock, on_break=on_break)

    async def embed(
        self,
        agent: str,
        inputs: str | Sequence[str],
        *,
        task: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the deadline of the call
        privacy: Privacy | None = None,
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
            model=model,
            metadata=metadata,
        )
        runtime = self._runtime
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

        The arguments are those of `generate`. What is not known yet, such as the
        models installed on a server that was never asked, is named in `route.notes`.
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
        return self._runtime.route(request)

    def for_agent(self, agent: str) -> AgentHandle:
        """Return the same methods with the agent bound.

        Raises:
            UnknownAgentError: No such agent.
        """
        from model_manager._agent import AgentHandle  # noqa: PLC0415 - see `sync`

        self.config.agent(agent)
        return AgentHandle(self, agent)

    async def health(self, *, local_only: bool = False) -> Health:
        """Ask every endpoint, or the local ones, how they are; free, never raises."""
        return await self._runtime.health(local_only=local_only)

    async def aclose(self) -> None:
        """Close what the running loop opened; a later call opens anew.

        Other loops and `sync` may be at work: what they opened ends with them.
        """
        await self._runtime.aclose()

    async def __aenter__(self) -> Self:
        """Enter; connections open when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what this loop opened."""
        await self.aclose()

    @override
    def __repr__(self) -> str:
        """Say what it serves, never with what keys."""
        agents, endpoints = len(self.config.agent_models), len(self.config.endpoints)
        return f"<ModelManager: {agents} agents, {endpoints} endpoints>"
