"""The few headers that a request needs, written once an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from typing_extensions import override

if TYPE_CHECKING:
    from pydantic import SecretStr

    from model_manager.config import Endpoint

_PACKED: Final = "gzip, deflate"
_PLAIN: Final = "identity"


class Headers(dict[str, str]):
    """Headers that may hold a key, and so are never shown."""

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} headers>"

    def without_body(self) -> Headers:
        """Return them for a request that only asks."""
        return Headers({k: v for k, v in self.items() if k != "content-type"})


def headers_of(
    endpoint: Endpoint, key: SecretStr | None, extra: Mapping[str, str]
) -> Headers:
    """Return the headers of every request to an endpoint; all that is sent is here.

    Args:
        endpoint: Where they go to; on this machine, packing costs more than it saves.
        key: Sent as a bearer token.
        extra: What the protocol wants besides.
    """
    headers = Headers(
        {
            "accept": "application/json",
            "accept-encoding": _PLAIN if endpoint.is_local else _PACKED,
            "content-type": "application/json",
            "user-agent": _user_agent(),
            **extra,
        }
    )
    if key is not None:
        headers["authorization"] = f"Bearer {key.get_secret_value()}"
    return headers


def is_sendable(key: SecretStr) -> bool:
    """Return whether a key can stand in a header; a line break could add one."""
    value = key.get_secret_value()
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


def _user_agent() -> str:
    try:
        return f"model-manager/{version('model-manager')}"
    except PackageNotFoundError:  # run from its sources
        return "model-manager"
