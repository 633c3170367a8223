"""How an Ollama server is to run: checked once, so that nothing later need doubt it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final, Literal, TypeAlias

from model_manager.errors import InvalidRequestError

System: TypeAlias = Literal["windows", "linux"]

DEFAULT_PORT: Final = 11434
_BRACKETS: Final = re.compile(r"\[([0-9a-fA-F:.]+)\](?::([0-9]{1,5}))?")
_NAME: Final = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?"
)
_DURATION: Final = re.compile(
    r"-?(?:[0-9]+|(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+)"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# llama.cpp's names of the types that its cache of keys and values may have. Ollama
# hands the value on unread, so that a wrong one breaks every load.
_CACHE_TYPES: Final = frozenset(
    {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"}
)
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaSettings:
    """How an Ollama server is to run; `None` leaves a thing to Ollama.

    Raises:
        InvalidRequestError: A value is not one that Ollama could mean, would open the
            server to the network, or could not stand in a script.
    """

    host: str = "127.0.0.1:11434"
    """Where it listens, as `address:port`."""
    models: str | None = None
    """The folder of the models, whole and as its own system writes it, e.g.
    `D:\\modeles_llm`. `None` leaves the folder as it is: a wrong one looks like a
    server without models."""
    context_length: int | None = 8192
    """Tokens of context where a request does not say. Ollama's own choice on a card of
    24 GB is 32768, with which a model of 32B no longer fits on it."""
    num_parallel: int | None = 1
    """Requests that one model answers at once; each needs a context of its own."""
    max_loaded_models: int | None = 1
    """Models that stay loaded at once. A second one would share the card's memory."""
    keep_alive: str | None = "30m"
    """How long a model stays loaded after its last use: `30m`, or `-1` for ever."""
    kv_cache_type: str | None = None
    """How the context is stored, e.g. `q8_0`, which halves its memory and is not exact;
    hence Ollama's own `f16` unless you choose."""
    no_cloud: bool = True
    """Whether models that Ollama runs in its cloud are refused."""
    expose: bool = False
    """Whether `host` may be an address that others can reach. The server asks nobody
    for a password."""

    def __post_init__(self) -> None:
        """Check every value."""
        host, _ = address_of(self.host)
        if not is_loopback(host) and not self.expose:
            message = f"OLLAMA_HOST={self.host} opens the server to the network."
            raise InvalidRequestError(
                message,
                remedy="It asks nobody for a password: listen on 127.0.0.1, or say"
                " 'expose' where that is meant.",
            )
        if self.models is not None:
            _check_folder(self.models)
        for name in ("context_length", "num_parallel", "max_loaded_models"):
            _check_count(name, getattr(self, name))
        if self.keep_alive is not None and not _DURATION.fullmatch(self.keep_alive):
            message = f"keep_alive {self.keep_alive!r} is no duration."
            raise InvalidRequestError(
                message, remedy="Write '30m', '2h', seconds as a number, or '-1'."
            )
        if self.kv_cache_type is not None and self.kv_cache_type not in _CACHE_TYPES:
            message = f"kv_cache_type {self.kv_cache_type!r} is not one that is known."
            raise InvalidRequestError(
                message, remedy=f"Choose one of {', '.join(sorted(_CACHE_TYPES))}."
            )

    @property
    def address(self) -> tuple[str, int]:
        """Where a program on this machine reaches the server: address and port."""
        host, port = address_of(self.host)
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - read, not bound

    @property
    def base_url(self) -> str:
        """The address of the server, for a program on this machine."""
        return url_of(*self.address)

    @property
    def system(self) -> System | None:
        """The system to which the models' folder belongs; `None` without one."""
        if self.models is None:
            return None
        return "linux" if PurePosixPath(self.models).is_absolute() else "windows"


def address_of(host: str) -> tuple[str, int]:
    """Return address and port of an `OLLAMA_HOST`.

    Raises:
        InvalidRequestError: It is not `address`, or `address:port`.
    """
    match = _BRACKETS.fullmatch(host) or _NAME.fullmatch(host)
    address, port = (match[1], match[2]) if match is not None else ("", None)
    try:
        number = DEFAULT_PORT if port is None else int(port)
        if ":" in address:
            address = str(ipaddress.IPv6Address(address))
    except ValueError:
        number = 0
    if not address or not 0 < number <= _LAST_PORT:
        message = f"OLLAMA_HOST {host!r} is no address with a port."
        raise InvalidRequestError(
            message, remedy="Write it as 127.0.0.1:11434, or [::1]:11434."
        )
    return address, number


def is_loopback(host: str) -> bool:
    """Return whether an address can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_of(host: str, port: int) -> str:
    """Return the URL of a server."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_folder(folder: str) -> None:
    if _CONTROL.search(folder) or folder.strip("\"' ") != folder:
        message = f"the models' folder {folder!r} has signs that no folder should have."
        raise InvalidRequestError(
            message,
            remedy="Leave out control characters, and quotes and spaces around.",
        )
    whole = PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).is_absolute()
    if not whole:
        message = f"the models' folder {folder!r} is not a whole path."
        raise InvalidRequestError(
            message,
            remedy="Begin it with '/', or with a drive such as D:\\: the server may be"
            " started anywhere.",
        )


def _check_count(name: str, count: int | None) -> None:
    if count is not None and (isinstance(count, bool) or count < 1):
        message = f"{name} must be a whole number from 1 on, not {count!r}."
        raise InvalidRequestError(message, remedy="Or None, to leave it to Ollama.")
