"""The three loopback servers."""

from __future__ import annotations

from collections.abc import Iterable

from model_manager.testing._anthropic import AnthropicWire
from model_manager.testing._ollama import OllamaWire
from model_manager.testing._openai import OpenAIWire
from model_manager.testing._server import AnswerText, LoopbackServer
from model_manager.types import InstalledModel

__all__ = ["AnthropicServer", "OllamaServer", "OpenAIServer"]


class OpenAIServer(LoopbackServer):
    """OpenAI's protocol: `/v1/chat/completions`, `/v1/embeddings`, `/v1/models`."""

    _suffix = "/v1"

    def __init__(
        self,
        *,
        models: Iterable[str] | None = None,
        answer: AnswerText | None = None,
        key: str | None = None,
    ) -> None:
        """Serve these models, or any name; insist on `key` where one is given."""
        wire = OpenAIWire(None if models is None else tuple(models))
        super().__init__(wire, answer=answer, key=key)


class AnthropicServer(LoopbackServer):
    """Anthropic's protocol: `/v1/messages`, `/v1/models`."""

    def __init__(
        self,
        *,
        models: Iterable[str] | None = None,
        answer: AnswerText | None = None,
        key: str | None = None,
    ) -> None:
        """Serve these models, or any name; insist on `key` where one is given."""
        wire = AnthropicWire(None if models is None else tuple(models))
        super().__init__(wire, answer=answer, key=key)


class OllamaServer(LoopbackServer):
    """Ollama's protocol: `/api/chat`, `embed`, `tags`, `show`, `ps` and `version`."""

    def __init__(
        self,
        *,
        models: Iterable[str | InstalledModel] | None = None,
        answer: AnswerText | None = None,
        key: str | None = None,
    ) -> None:
        """Have these models installed; `None` answers to any name and lists none.

        A name alone can do everything. An `InstalledModel` says its size, its
        capabilities (the server then refuses what it lacks) and, for a model that is
        forwarded elsewhere, its `remote_host`.
        """
        wire = OllamaWire(None if models is None else tuple(map(_installed, models)))
        super().__init__(wire, answer=answer, key=key)


_ABLE = frozenset({"tools", "vision", "thinking"})


def _installed(model: str | InstalledModel) -> InstalledModel:
    if isinstance(model, InstalledModel):
        return model
    able = frozenset({"embedding"}) if "embed" in model else _ABLE
    return InstalledModel(name=model, capabilities=able)
