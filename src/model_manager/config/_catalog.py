"""The endpoints of a configuration, and every model's way to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from model_manager.config._lifecycle import RETIREMENTS, Retirement
from model_manager.config._listing import (
    KNOWN,
    Listing,
    Place,
    is_at_vendor,
    is_loopback,
    kind_of,
    network_of,
)
from model_manager.config._schema import ModelSettings, ProviderSettings
from model_manager.config._settings import Limits

_NOTHING_KNOWN = ModelSettings()
_UNLIMITED = Limits()
_OLLAMA_PARALLEL = 1
"""Calls that an Ollama server runs at once for a model, by its own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that answers, with all defaults filled in."""

    name: str
    """As the configuration names it; the vendor's name for one it only implies."""
    kind: str
    """Which adapter speaks to it."""
    base_url: str
    """Without a slash at its end; empty for `simulated`."""
    api_key_env: str | None = None
    """The variable that holds its key; `None` where no key is sent."""
    is_local: bool
    """Whether it lies in the `local` data zone."""
    limits: Limits = _UNLIMITED
    """How much may be sent to it at once."""
    local_networks: tuple[str, ...] = ()
    """Networks besides loopback that work which must stay local may reach here, as
    CIDR."""
    models: Mapping[str, ModelSettings] = field(default_factory=dict, repr=False)
    """What the configuration lists for it, by the name sent on the wire."""

    @property
    def is_on_this_machine(self) -> bool:
        """Whether its address can only lead to this machine."""
        return not self.base_url or is_loopback(self.base_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model at an endpoint."""

    endpoint: Endpoint
    model: str
    """The name sent on the wire."""
    configured_as: str = ""
    """The name that was asked for, where an alias replaced it; else empty."""
    settings: ModelSettings = field(default=_NOTHING_KNOWN, repr=False)

    @property
    def is_forwarded(self) -> bool:
        """Whether a server in the local zone would send it on to Ollama's cloud."""
        endpoint = self.endpoint
        return (
            endpoint.is_local
            and endpoint.kind == "ollama"
            and is_cloud_name(self.model)
        )


def is_cloud_name(name: str) -> bool:
    """Return whether a name itself asks for Ollama's cloud: `x:cloud`, `x-cloud`."""
    return name.strip().lower().endswith((":cloud", "-cloud"))


def endpoint_of(
    name: str, settings: ProviderSettings, *, networks: tuple[str, ...] = ()
) -> Endpoint:
    """Return a written provider as an endpoint, defaults filled in.

    Args:
        name: The endpoint's name.
        settings: What is written.
        networks: Those that local work may reach besides this machine.
    """
    kind = kind_of(name, kind=settings.kind, base_url=settings.base_url) or name
    known = KNOWN.get(kind)
    base_url = settings.base_url or (known.base_url if known else "")
    variable = settings.api_key_env
    if variable is None and known is not None and is_at_vendor(kind, base_url):
        variable = known.api_key_env
    local = kind == "simulated" or is_loopback(base_url)
    if settings.data_zone is not None:
        local = settings.data_zone == "local"
    limits = settings.limits
    if local and kind == "ollama" and limits.concurrency is None:
        limits = limits.model_copy(update={"concurrency": _OLLAMA_PARALLEL})
    own = network_of(base_url) if local else None
    return Endpoint(
        name=name,
        kind=kind,
        base_url=base_url,
        api_key_env=variable,
        is_local=local,
        limits=limits,
        local_networks=networks if own is None else (*networks, own),
        models=settings.models,
    )


class Catalog:
    """Every endpoint and every model of one configuration; look-ups are O(1)."""

    __slots__ = ("_known", "_listing", "endpoints", "today")

    def __init__(
        self,
        providers: Mapping[str, ProviderSettings],
        *,
        aliases: Mapping[str, str],
        mentioned: Iterable[str],
        today: date,
        networks: tuple[str, ...] = (),
    ) -> None:
        """Resolve every mentioned name as of `today`."""
        written = {
            name: endpoint_of(name, one, networks=networks)
            for name, one in providers.items()
        }
        models = {name: (one.kind, one.models) for name, one in written.items()}
        self._listing = Listing(models, aliases)
        self.today = today
        names = {*self._listing.names(), *mentioned}
        for vendor in KNOWN:
            if vendor not in written and self._is_implied(vendor, names):
                written[vendor] = endpoint_of(
                    vendor, ProviderSettings(), networks=networks
                )
        self.endpoints: Mapping[str, Endpoint] = MappingProxyType(written)
        self._known = {name: self._find(name) for name in names}

    def named(self, name: str) -> tuple[ModelRef, ...]:
        """Return the model of this name wherever it is, in the order of the file."""
        known = self._known.get(name)
        return self._find(name) if known is None else known

    def is_alias(self, name: str) -> bool:
        """Tell whether the users gave this name to another model."""
        return name in self._listing.aliases

    def retirement_of(self, name: str) -> Retirement | None:
        """Return the end of the model of this name, or of its alias, due or not.

        For a name that an alias of the users replaces, only an end that is due.
        """
        if name in self._listing.aliases:
            row = RETIREMENTS.get(name)
            if row is not None and row.is_due(self.today):
                return row
        for place in self._listing.places(self._listing.follow(name)):
            row = self._row(place)
            if row is not None:
                return row
        return None

    def _is_implied(self, vendor: str, names: Iterable[str]) -> bool:
        return any(
            place.endpoint == vendor
            for name in names
            for place in self._listing.places(self._listing.follow(name))
        )

    def _find(self, name: str) -> tuple[ModelRef, ...]:
        target = self._listing.follow(name)
        refs: dict[tuple[str, str], ModelRef] = {}
        for place in self._listing.places(target):
            endpoint = self.endpoints.get(place.endpoint)
            if endpoint is None:
                continue
            model = self._successor(place)
            replaced = target != name or model != place.model
            ref = ModelRef(
                endpoint=endpoint,
                model=model,
                configured_as=name if replaced else "",
                settings=endpoint.models.get(model, _NOTHING_KNOWN),
            )
            refs.setdefault((endpoint.name, model), ref)
        return tuple(refs.values())

    def _row(self, place: Place) -> Retirement | None:
        """Return the model's end, where the vendor is the one who serves it.

        A server of one's own that lists a model by a retired name goes on serving it.
        """
        row = RETIREMENTS.get(place.model)
        endpoint = self.endpoints.get(place.endpoint)
        if row is None or endpoint is None or endpoint.kind != row.vendor:
            return None
        if place.is_listed and not is_at_vendor(endpoint.kind, endpoint.base_url):
            return None
        return row

    def _successor(self, place: Place) -> str:
        row = self._row(place)
        while row is not None and row.is_due(self.today):
            place = Place(place.endpoint, row.successor, is_listed=place.is_listed)
            row = self._row(place)
        return place.model
