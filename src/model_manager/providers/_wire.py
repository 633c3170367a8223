"""What can go wrong on the wire: a closed set of words, free of the HTTP library's."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

WireFault: TypeAlias = Literal[
    "unreachable", "connect_timeout", "lost", "cut", "unreadable", "refused"
]
"""What became of an exchange:

* `unreachable`: no connection came about: the name, the address, TLS or the URL.
* `connect_timeout`: it did not come about in time, look-up and TLS included.
* `lost`: the connection ended before the answer began.
* `cut`: it ended inside the answer's body.
* `unreadable`: what came is not HTTP, cannot be unpacked, or is far too long.
* `refused`: the address is none that local work may reach; nothing was opened.
"""

NEVER_CONNECTED: Final = frozenset({"unreachable", "connect_timeout", "refused"})
"""What happens before anything is sent."""


class WireError(Exception):
    """Raised when an exchange failed; holds no request, no header and no body."""

    def __init__(self, fault: WireFault, *, address: str = "") -> None:
        """Keep the word for it; `address` is the one that was refused."""
        super().__init__(fault)
        self.fault: WireFault = fault
        self.address = address
