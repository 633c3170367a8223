"""Hands every event to every listener."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TypeAlias

from model_manager.errors import InvalidRequestError
from model_manager.events import Event

Listener: TypeAlias = Callable[[Event], object]

_log = logging.getLogger("model_manager.observability")


class Bus:
    """The events of one manager; may be used from any number of threads.

    Listeners are called one after another in the thread where the event happens, so
    they must be quick. What one raises is logged, without its message, and reaches
    neither the call nor the other listeners.
    """

    __slots__ = ("__weakref__", "_listeners")

    def __init__(self, *listeners: Listener) -> None:
        """Start with these listeners."""
        # Replaced whole, never edited: an emission reads it without a lock.
        self._listeners = listeners

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called with every event; returns what ends that again.

        Raises:
            InvalidRequestError: It cannot be called, or is asynchronous: it would
                never run.
        """
        if not callable(listener) or iscoroutinefunction(listener):
            message = "a listener must be a plain function of one event."
            raise InvalidRequestError(
                message,
                remedy="Hand the event to a queue there, and await it elsewhere.",
            )
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(
                one for one in self._listeners if one is not listener
            )

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a listener is somebody else's
                _log.warning(
                    "a listener failed on %s: %s",
                    type(event).__name__,
                    type(error).__name__,
                )
