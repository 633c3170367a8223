"""What goes wrong with one attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_manager.errors._root import ModelManagerError

if TYPE_CHECKING:
    from model_manager.types import AttemptRecord


class ProviderError(ModelManagerError):
    """Raised when one attempt failed; the subclass says how.

    Out of a call it comes only where nobody else may be asked (a malformed request, a
    refusal for content); every other failure ends in `AllCandidatesFailedError`.
    """

    attempts: tuple[AttemptRecord, ...] = ()
    """Every attempt of the call that this error ended; empty inside an attempt."""
    may_be_billed: bool = True
    """Whether the request may have reached the provider, where nothing else tells."""

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        remedy: str = "",
    ) -> None:
        """Keep the safe facts of the failure, and nothing that leads to the request."""
        super().__init__(message, remedy=remedy)
        self.provider = provider
        """The endpoint's name in the configuration."""
        self.model = model
        self.status = status
        """HTTP status, or the one that an error inside a stream stands for."""
        self.code = code
        """The provider's own error code or type."""
        self.request_id = request_id
        self.retry_after = retry_after
        """Seconds that the provider asks us to wait."""


class ConnectionFailedError(ProviderError):
    """Raised when no connection came about, or it was reset before any byte."""


class ProviderTimeoutError(ProviderError):
    """Raised when no answer, or no first piece of one, came in time."""


class ServerError(ProviderError):
    """Raised when the provider failed: 500 to 504, 408, 409."""


class OverloadedError(ServerError):
    """Raised when the provider says that it is too busy: 503, 529."""


class RateLimitError(ProviderError):
    """Raised on 429; `retry_after` holds the wait that the provider asks for."""


class QuotaExhaustedError(ProviderError):
    """Raised when credit or quota is used up; waiting does not help."""


class AuthenticationError(ProviderError):
    """Raised on 401 and 403."""


class ModelNotFoundError(ProviderError):
    """Raised when the endpoint does not have the model."""


class LocalResourceError(ProviderError):
    """Raised when a local server cannot load or run the model."""


class RemoteModelError(ProviderError):
    """Raised when a model of a local server is one that runs elsewhere."""


class EgressRefusedError(ProviderError):
    """Raised when work that must stay on the machine would have left it.

    Nothing was sent: the connection was refused before it was opened.
    """

    may_be_billed = False
    address: str = ""
    """The address that was refused, as `host` or `host:port`."""


class UnavailableError(ProviderError):
    """Raised when our own breaker, limit, queue or budget keeps a call from being sent.

    `retry_after` holds the seconds until another try may be let through, where that
    is known; `code` is one of `breaker`, `cooldown`, `suspended`, `limit`, `queue`,
    `budget`.
    """

    may_be_billed = False


class ContextWindowError(ProviderError):
    """Raised when the prompt does not fit the model's context window."""


class ContentFilterError(ProviderError):
    """Raised when the provider refuses the content."""


class BadRequestError(ProviderError):
    """Raised when the provider says that the request is malformed."""


class UnsupportedFeatureError(BadRequestError):
    """Raised when this model or provider cannot do what was asked of it."""


class MalformedResponseError(ProviderError):
    """Raised when an answer is empty or cannot be read."""


class OutputInvalidError(MalformedResponseError):
    """Raised when an answer does not have the structure that was asked for."""

    raw_text: str = ""
    """The answer as it came; kept out of the message."""


class StreamInterruptedError(ProviderError):
    """Raised when a stream is cut or stalls after its first piece."""
