"""What goes wrong with a configuration or a whole call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from model_manager.errors._root import ModelManagerError

if TYPE_CHECKING:
    from model_manager.types import AttemptRecord, Route


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
