"""Which adapter speaks to an endpoint: looked up by its kind in the entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, Protocol

from model_manager.errors import ConfigError
from model_manager.types import Clock, Provider

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint
    from model_manager.providers._pool import HttpPool

_GROUP: Final = "model_manager.providers"


class ProviderFactory(Protocol):
    """Builds the provider of one endpoint; a provider's class itself is one.

    Register it under the entry point group `model_manager.providers`, named after the
    `kind` that it serves.
    """

    def __call__(
        self, endpoint: Endpoint, *, key: SecretStr | None, http: HttpPool, clock: Clock
    ) -> Provider:
        """Build the provider; opens no connection.

        Args:
            endpoint: Where to send to, and what the configuration says about it.
            key: The API key, or `None` where the endpoint needs none.
            http: Clients to send with; shared, and closed by its owner.
            clock: The time to measure by.
        """
        ...


def known_kinds() -> tuple[str, ...]:
    """Return every kind of endpoint that an installed adapter serves, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=_GROUP)}))


def build_provider(
    endpoint: Endpoint, *, key: SecretStr | None, http: HttpPool, clock: Clock
) -> Provider:
    """Build the provider of an endpoint with the adapter that serves its kind.

    The adapter's module is imported here and not earlier.

    Raises:
        ConfigError: No adapter serves the kind, two do, or its package is missing.
    """
    found = entry_points(group=_GROUP, name=endpoint.kind)
    # One package may be listed twice, e.g. installed and on the path as well.
    factories = {entry.value: entry for entry in found}
    if not factories:
        message = (
            f"the endpoint {endpoint.name!r} is of kind {endpoint.kind!r}, "
            "which no installed adapter serves."
        )
        raise ConfigError(message, remedy=f"Use one of: {', '.join(known_kinds())}.")
    if len(factories) > 1:
        message = (
            f"several installed adapters serve the kind {endpoint.kind!r}: "
            f"{', '.join(sorted(factories))}."
        )
        raise ConfigError(message, remedy="Uninstall all but one of their packages.")
    factory = _load(next(iter(factories.values())))
    return factory(endpoint, key=key, http=http, clock=clock)


def _load(entry: EntryPoint) -> ProviderFactory:
    try:
        factory: ProviderFactory = entry.load()
    except (ImportError, AttributeError) as error:
        reason = type(error).__name__
    else:
        return factory
    message = f"the adapter {entry.value!r} cannot be loaded ({reason})."
    raise ConfigError(message, remedy="Reinstall the package that provides it.")
