"""What is known of the processes of local servers: the variables decide about cards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from model_manager.config import Endpoint
from model_manager.errors import InvalidRequestError
from model_manager.gpu import Machine
from model_manager.gpu.ollama import ServerFacts, read_ollama
from model_manager.types import Clock

_AGAIN: Final = 300.0
"""Seconds after which a server's process is looked at again; it may be another one."""


class Servers:
    """Looks at the servers on this machine that load models, each at times.

    Every look blocks for up to some seconds, so it belongs into a thread.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        machine: Callable[[], Machine],
        clock: Clock,
        loads: Callable[[str], bool],
    ) -> None:
        """Look at nothing yet.

        Args:
            endpoints: All endpoints.
            machine: Whose processes are looked at.
            clock: The time to go by.
            loads: Whether an endpoint's server loads models into the card's memory.
        """
        self._endpoints = endpoints
        self._machine = machine
        self._clock = clock
        self._loads = loads
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, ServerFacts]] = {}

    def after_fork(self) -> None:
        """Take a new lock: a thread that is not here may have held the old one."""
        self._lock = threading.Lock()

    def names(self) -> Iterator[str]:
        """Yield the endpoints whose server is on this machine and loads models."""
        for name, endpoint in self._endpoints.items():
            here = endpoint.is_local and endpoint.is_on_this_machine
            if here and self._loads(name):
                yield name

    def look(self, name: str, *, now: bool = False) -> ServerFacts:
        """Return what is known of a server; blocks where it must look, or `now`."""
        with self._lock:
            looked_at, facts = self._known.get(name, (float("-inf"), None))
            fresh = self._clock.monotonic() - looked_at < _AGAIN
            if facts is None or facts.problem or now or not fresh:
                facts = self._read(self._endpoints[name].base_url)
                self._known[name] = self._clock.monotonic(), facts
            return facts

    def _read(self, url: str) -> ServerFacts:
        try:
            return read_ollama(url, processes=self._machine().processes)
        except InvalidRequestError as error:
            # Such as one behind TLS: calls reach it, and it cannot be looked into.
            return ServerFacts(base_url=url, problem=error.what)
