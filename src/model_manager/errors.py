"""Every error of the library.

```
ModelManagerError
├── ConfigError                    the configuration is wrong; holds every problem
├── UnknownAgentError              no such agent, and no `defaults`
├── InvalidRequestError            the call itself is wrong; nothing was sent
├── MissingDependencyError         an optional package is not installed
├── NoCandidateError               the route is empty; holds the route
│   ├── LocalOnlyUnavailableError  ... because the work may not leave the machine
│   └── BudgetExceededError        ... because budgets are used up
├── AllCandidatesFailedError       every candidate failed; holds every attempt
├── CallTimeoutError               the deadline of the whole call passed
├── StreamBrokenError              a stream broke after its first piece was handed out
├── LedgerError                    the ledger cannot be written or read
└── ProviderError                  one attempt failed
    ├── ConnectionFailedError      no connection, or reset before any byte
    ├── ProviderTimeoutError       no answer, or no first piece, in time
    ├── ServerError                500 to 504, 408, 409, or the like in a stream
    │   └── OverloadedError        503, 529: busy
    ├── RateLimitError             429
    ├── QuotaExhaustedError        money or quota is used up: waiting does not help
    ├── AuthenticationError        401, 403: the key is wrong or may not do this
    ├── ModelNotFoundError         404: no such model there
    ├── LocalResourceError         a local server ran out of memory or cannot load
    ├── RemoteModelError           a "local" model that would leave the machine
    ├── EgressRefusedError         an address off the machine, for work that must stay
    ├── UnavailableError           nothing was sent: it rests, is at a limit or budget
    ├── ContextWindowError         the prompt is longer than the model takes
    ├── ContentFilterError         refused for its content
    ├── BadRequestError            the provider says that the request is malformed
    │   └── UnsupportedFeatureError  this model or provider cannot do what was asked
    ├── MalformedResponseError     an answer that is empty or cannot be read
    │   └── OutputInvalidError     an answer that does not have the asked structure
    └── StreamInterruptedError     cut or stalled after its first piece
```

Messages never hold a key, a prompt or an answer, and end with what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from model_manager.types import AttemptRecord, Route

__all__ = [
    "AllCandidatesFailedError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "CallTimeoutError",
    "ConfigError",
    "ConnectionFailedError",
    "ContentFilterError",
    "ContextWindowError",
    "EgressRefusedError",
    "InvalidRequestError",
    "LedgerError",
    "LocalOnlyUnavailableError",
    "LocalResourceError",
    "MalformedResponseError",
    "MissingDependencyError",
    "ModelManagerError",
    "ModelNotFoundError",
    "NoCandidateError",
    "OutputInvalidError",
    "OverloadedError",
    "ProviderError",
    "ProviderTimeoutError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RemoteModelError",
    "ServerError",
    "StreamBrokenError",
    "StreamInterruptedError",
    "UnavailableError",
    "UnknownAgentError",
    "UnsupportedFeatureError",
]


def _rebuild(
    cls: type[ModelManagerError], args: tuple[object, ...]
) -> ModelManagerError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ModelManagerError(Exception):
    """Base of all; catch it to catch everything that this library raises."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        """Join what happened and what to do into one message."""
        self.what = message
        """What happened, without the advice."""
        self.remedy = remedy
        """What to do about it."""
        super().__init__(f"{message} {remedy}".rstrip())

    @override
    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the attributes, so that errors cross processes whole."""
        return _rebuild, (type(self), self.args), self.__dict__.copy()


class ConfigError(ModelManagerError):
    """Raised when the configuration is missing or wrong; lists every problem."""

    def __init__(
        self, message: str, *, problems: Sequence[object] = (), remedy: str = ""
    ) -> None:
        """Keep the problems beside the message that lists them."""
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)
        """Each a `config.Problem`: path, message, expected, suggestion."""


class UnknownAgentError(ModelManagerError, LookupError):
    """Raised when an agent is not configured and no `defaults` apply."""

    def __init__(self, agent: str, *, closest: Sequence[str] = ()) -> None:
        """Name the closest ids that do exist."""
        hint = f"Did you mean {' or '.join(map(repr, closest))}? " if closest else ""
        super().__init__(
            f"no agent {agent!r} in the configuration.",
            remedy=f"{hint}Add it under 'agent_models', or set 'defaults'; "
            "'model-manager agents' lists those that are there.",
        )
        self.agent = agent
        self.closest = tuple(closest)


class InvalidRequestError(ModelManagerError, ValueError):
    """Raised when the arguments of a call are wrong; nothing was sent."""


class MissingDependencyError(ModelManagerError, ImportError):
    """Raised when a feature needs a package that is not installed."""


class NoCandidateError(ModelManagerError):
    """Raised when nobody may answer; `route.refused` says why, one by one."""

    def __init__(self, message: str, *, route: Route, remedy: str = "") -> None:
        """Keep the route whose every candidate was refused."""
        super().__init__(message, remedy=remedy)
        self.route = route


class BudgetExceededError(NoCandidateError):
    """Raised when budgets leave nobody who may be asked; nothing was sent.

    `route.refused` says of each model which budget, what is spent, what is held, and
    when it begins anew.
    """

    retry_after: float | None = None
    """Seconds until the first of the budgets begins anew, where one does."""


class LedgerError(ModelManagerError):
    """Raised when the ledger cannot be written or read."""


class LocalOnlyUnavailableError(NoCandidateError):
    """Raised when work that must stay on the machine has no local model to do it."""


class _AfterAttemptsError(ModelManagerError):
    """What errors share that end a call after something was sent."""

    def __init__(
        self,
        message: str,
        *,
        attempts: Sequence[AttemptRecord] = (),
        route: Route | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.attempts = tuple(attempts)
        """Every attempt of the call, in order, each with its own error."""
        self.route = route


class AllCandidatesFailedError(_AfterAttemptsError):
    """Raised when every candidate was tried, or none was left worth trying."""

    retry_after: float | None = None
    """Seconds until somebody may be asked again, where all are left alone for now."""


class CallTimeoutError(_AfterAttemptsError, TimeoutError):
    """Raised when the deadline of the whole call passed."""


class StreamBrokenError(_AfterAttemptsError):
    """Raised when a stream broke and the pieces handed out cannot be unsaid."""

    partial_text: str = ""
    """The text that came before the break."""


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
