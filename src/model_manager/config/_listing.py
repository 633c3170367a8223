"""Which provider a model's name belongs to: aliases, lists, then the name itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from types import MappingProxyType
from urllib.parse import urlsplit

_LATEST = ":latest"
_CLOUDS = (".anthropic.com", ".openai.com", ".ollama.com")
"""Domains that are never in the local data zone, whatever the file says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProvider:
    """What goes without saying for a provider of a well-known kind."""

    base_url: str
    api_key_env: str | None = None
    shows: re.Pattern[str] | None = None
    """Names of models that can only be this vendor's."""


KNOWN = MappingProxyType(
    {
        "anthropic": KnownProvider(
            base_url="https://api.anthropic.com",
            api_key_env="ANTHROPIC_API_KEY",
            shows=re.compile(r"claude-[^:/]+\Z"),
        ),
        "openai": KnownProvider(
            base_url="https://api.openai.com/v1",
            api_key_env="OPENAI_API_KEY",
            # Not gpt-oss: its weights are open, so the name does not say where it runs.
            shows=re.compile(r"(?:gpt-(?!oss)|o[0-9])[^:/]*\Z"),
        ),
        "ollama": KnownProvider(base_url="http://127.0.0.1:11434"),
        "simulated": KnownProvider(base_url=""),
    }
)
"""By kind; a provider whose name is a kind has that kind."""


def kind_of(name: str, *, kind: str | None, base_url: str | None) -> str | None:
    """Return how a provider is spoken to; `None` when the file does not tell."""
    if kind:
        return kind
    if name in KNOWN:
        return name
    return "openai" if base_url else None


def vendor_shown(model: str) -> str | None:
    """Return the vendor that a model's name shows, or `None`."""
    for kind, known in KNOWN.items():
        if known.shows is not None and known.shows.match(model):
            return kind
    return None


def host_of(url: str) -> str:
    """Return the host of an address in lower case; empty when there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(url: str) -> bool:
    """Tell whether an address can only lead to this machine."""
    host = host_of(url)
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def network_of(url: str) -> str | None:
    """Return an address that is written as a number as a network of one; else `None`.

    Loopback needs no mention, so it is `None` as well.
    """
    try:
        address = ip_address(host_of(url))
    except ValueError:
        return None
    return None if is_loopback(url) else str(ip_network(address))


def is_at_vendor(kind: str, base_url: str) -> bool:
    """Tell whether an address lies in the vendor's own domain."""
    known = KNOWN.get(kind)
    if known is None or known.shows is None:
        return False
    domain = host_of(known.base_url).partition(".")[2]
    return f".{host_of(base_url)}".endswith(f".{domain}")


def is_in_a_cloud(base_url: str) -> bool:
    """Tell whether an address is a vendor's, whichever adapter speaks to it."""
    return f".{host_of(base_url)}".endswith(_CLOUDS)


def canonical(kind: str, model: str) -> str:
    """Return the name by which an endpoint of this kind knows a model.

    For Ollama `x` and `x:latest` are the same model.
    """
    return model.removesuffix(_LATEST) if kind == "ollama" else model


@dataclass(frozen=True, slots=True)
class Place:
    """One provider that has a model."""

    endpoint: str
    model: str
    """The name to send, as the provider's list spells it."""
    is_listed: bool
    """False when only the model's name shows the provider."""


class Listing:
    """Every model that the file lists, and its aliases, for look-ups by name."""

    __slots__ = ("_by_name", "_by_provider", "_kinds", "aliases")

    def __init__(
        self,
        providers: Mapping[str, tuple[str, Iterable[str]]],
        aliases: Mapping[str, str],
    ) -> None:
        """Index `providers`: name -> (kind, models), in the order of the file."""
        self.aliases = dict(aliases)
        self._kinds = {name: kind for name, (kind, _) in providers.items()}
        self._by_name: dict[str, list[Place]] = {}
        self._by_provider: dict[str, dict[str, Place]] = {}
        for name, (kind, models) in providers.items():
            own = self._by_provider[name] = {}
            for model in models:
                place = Place(name, model, is_listed=True)
                if own.setdefault(canonical(kind, model), place) is place:
                    for spelling in _spellings(kind, model):
                        self._by_name.setdefault(spelling, []).append(place)

    def names(self) -> list[str]:
        """Return every name that a reader may have meant, for suggestions."""
        return [*self._by_name, *self.aliases]

    def follow(self, name: str) -> str:
        """Return the name behind any chain of aliases; a cycle ends where it began."""
        seen = {name}
        while (target := self.aliases.get(name)) is not None and target not in seen:
            seen.add(target)
            name = target
        return name

    def places(self, name: str) -> tuple[Place, ...]:
        """Return who has the model of this name; aliases are not followed here."""
        listed = self._by_name.get(name)
        if listed:
            return tuple(listed)
        provider, slash, model = name.partition("/")
        if slash and provider in self._kinds:
            return self._at(provider, model)
        vendor = vendor_shown(name)
        return (Place(vendor, name, is_listed=False),) if vendor else ()

    def _at(self, provider: str, model: str) -> tuple[Place, ...]:
        """Return the model at the provider that `provider/model` names."""
        kind = self._kinds[provider]
        own = self._by_provider[provider].get(canonical(kind, model))
        if own is not None:
            return (own,)
        if vendor_shown(model) == provider:
            return (Place(provider, model, is_listed=False),)
        return ()


def _spellings(kind: str, model: str) -> tuple[str, ...]:
    bare = canonical(kind, model)
    return (bare, bare + _LATEST) if kind == "ollama" and ":" not in bare else (model,)
