"""How the endpoints are, as they said it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from typing_extensions import override

from model_manager.types._route import InstalledModel, Rest

HealthStatus: TypeAlias = Literal["ok", "unreachable", "no_key", "error", "not_checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointHealth:
    """What one endpoint answered when it was asked how it is."""

    endpoint: str
    kind: str
    status: HealthStatus
    detail: str = ""
    """In words, with what to do when it is not well."""
    version: str | None = None
    seconds: float | None = None
    """How long the answer took."""
    installed: Mapping[str, InstalledModel] | None = None
    """Local servers only; `None` when not known."""
    refused: str = ""
    """The address off the machine that a connection was refused to; else empty."""
    running: int = 0
    """Calls of this process that hold a slot there, where `limits` are set."""
    queued: int = 0
    """Calls of this process that wait for one."""


@dataclass(frozen=True, slots=True)
class Health:
    """How every endpoint of a configuration is, and what the manager makes of it."""

    endpoints: tuple[EndpointHealth, ...]
    resting: Mapping[tuple[str, str], Rest] = field(default_factory=dict)
    """(endpoint, model) -> why it is left alone now; the model is empty where it is
    the whole endpoint."""
    config_version: str = ""
    """Fingerprint of the configuration in force."""
    config_problem: str = ""
    """What is wrong with the newest configuration, which is therefore not in force;
    empty where all is well."""
    ledger_problem: str = ""
    """Why the ledger cannot be written now, and what to do; empty where all is well."""
    gpu_problem: str = ""
    """Why the guard keeps models from being asked, and what to do; empty where it does
    not, or is not required."""

    @property
    def ok(self) -> bool:
        """Whether at least one endpoint can answer."""
        return any(endpoint.status == "ok" for endpoint in self.endpoints)

    def to_dict(self) -> dict[str, object]:
        """Return the report as plain data, ready for JSON."""
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.health_dict(self)

    @override
    def __str__(self) -> str:
        """Return the report as text for people, a line an endpoint."""
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.health_text(self)

    def _repr_html_(self) -> str:
        from model_manager.types import _views  # noqa: PLC0415 - only when looked at

        return _views.health_html(self)
