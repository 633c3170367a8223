"""Which addresses local work may connect to: loopback, and what the user listed."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Networks = tuple[IPv4Network | IPv6Network, ...]

_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})


class RefusedAddressError(OSError):
    """Raised in place of connecting; an `OSError`, as any connection that fails."""

    def __init__(self, address: str) -> None:
        """Keep the address that is not allowed."""
        super().__init__("the address is neither loopback nor listed")
        self.address = address


class Guard:
    """Judges the addresses themselves: a name proves nothing about where it leads.

    Args:
        networks: CIDR texts of the networks that are allowed besides loopback.
    """

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Read the networks once."""
        self._networks: Networks = tuple(ip_network(n, strict=False) for n in networks)

    def check(self, host: str) -> None:
        """Return when this address may be connected to.

        Raises:
            RefusedAddressError: It may not, or is no address at all.
        """
        try:
            address = ip_address(host)
        except ValueError:
            allowed = False
        else:
            allowed = self._allows(address)
        if not allowed:
            raise RefusedAddressError(host)

    def check_all(self, hosts: Iterable[str]) -> None:
        """Return when every one of a name's addresses may be connected to.

        One that may not refuses all: which of them is taken is left to chance.
        """
        for host in hosts:
            self.check(host)

    def check_socket(self, family: int, address: tuple[object, ...]) -> None:
        """Return when a socket of this family may be connected to this address."""
        host = str(address[0]) if address else ""
        if family not in _FAMILIES:
            raise RefusedAddressError(host)
        self.check(host)

    def _allows(self, address: IPv4Address | IPv6Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            # Connecting to a mapped address connects to the IPv4 address inside.
            address = address.ipv4_mapped
        return address.is_loopback or any(address in net for net in self._networks)
