"""The guard that keeps tests on this machine, at the level of sockets."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NetworkGuard", "RealNetworkError", "is_loopback"]

_LOCAL_NAMES = frozenset({"", "localhost", "ip6-localhost"})


class RealNetworkError(RuntimeError):
    """Raised when a test tries to leave this machine.

    Not an `OSError`: HTTP libraries turn those into connection errors, which the code
    under test would then handle as if the network were down.
    """


def is_loopback(host: object) -> bool:
    """Say whether a host name or address stays on this machine; no look-up is made."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None:
        return True
    if not isinstance(host, str):
        return False
    name = host.lower().rstrip(".")
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name.split("%", 1)[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


@dataclass(slots=True)
class NetworkGuard:
    """Refuses connections that are not loopback while it is installed.

    Covers `connect`, `connect_ex` and `sendto` of Python's sockets, name look-ups with
    `getaddrinfo`, and so every library that stands on them, `asyncio` included. Unix
    sockets pass. Code that brings its own sockets (C extensions) is not seen.
    """

    allowed: bool = False
    """Set while a test runs that is marked `real_network`."""
    _originals: dict[str, Any] = field(default_factory=dict, repr=False)

    def install(self) -> None:
        """Put the guard in place; a second call does nothing."""
        if self._originals:
            return
        self._originals["getaddrinfo"] = socket.getaddrinfo
        socket.getaddrinfo = self._guarded_lookup(socket.getaddrinfo)
        for name in ("connect", "connect_ex", "sendto"):
            original = getattr(socket.socket, name)
            self._originals[name] = original
            setattr(socket.socket, name, self._guarded(original))

    def uninstall(self) -> None:
        """Give the sockets their own methods back."""
        if not self._originals:
            return
        socket.getaddrinfo = self._originals.pop("getaddrinfo")
        for name in ("connect", "connect_ex", "sendto"):
            setattr(socket.socket, name, self._originals.pop(name))

    def check(self, host: object) -> None:
        """Raise `RealNetworkError` unless `host` is loopback or all is allowed."""
        if self.allowed or is_loopback(host):
            return
        message = (
            f"a test tried to reach {host!r}, which is not this machine. Use a server "
            "of model_manager.testing, or mark the test with "
            "@pytest.mark.real_network if it is meant to leave the machine."
        )
        raise RealNetworkError(message)

    def _guarded(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(sock: socket.socket, *args: Any) -> Any:
            # The address comes last in connect, connect_ex and sendto alike.
            internet = sock.family in {socket.AF_INET, socket.AF_INET6}
            if internet and args and isinstance(args[-1], tuple):
                self.check(args[-1][0])
            return original(sock, *args)

        return call

    def _guarded_lookup(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
            text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
            # A plain address needs no look-up: whether it may be reached is decided
            # when somebody connects.
            if not isinstance(text, str) or _address(text) is None:
                self.check(text)
            return original(host, *args, **options)

        return getaddrinfo
