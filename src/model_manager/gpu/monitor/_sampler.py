"""Reads the cards again and again, in a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, Protocol, Self

from model_manager._forks import call_in_children
from model_manager.errors import InvalidRequestError, NvmlError
from model_manager.events import Event
from model_manager.gpu._cards import Inventory
from model_manager.gpu._machine import NvmlPort
from model_manager.gpu._nvml import shared_nvml
from model_manager.gpu._policy import RTX_3090, GpuPolicy
from model_manager.gpu._processes import Processes
from model_manager.gpu.monitor._alerts import AlertThresholds, GpuAlert, GpuEvent, Watch
from model_manager.gpu.monitor._ring import GpuSample, Ring

_STANDARD: Final = AlertThresholds()
_PATIENCE: Final = 2.0
"""Seconds that `stop` waits for a read that is under way."""
_log = logging.getLogger("model_manager.gpu")


class TimePort(Protocol):
    """The time of day; a `Clock` is one."""

    def time(self) -> float:
        """Return seconds since 1970."""
        ...


class GpuMonitor:
    """Watches the machine's cards: the last samples of each, and alerts.

    ```python
    with GpuMonitor(listener=print) as monitor:
        ...
        monitor.alerts
    ```

    One daemon thread reads the cards every `interval` seconds. It ends with `stop()`,
    and at its next turn where nobody has the monitor any more. A driver that fails is
    an alert as well, and is asked again each time. In a forked child nothing runs until
    `start()` is called there.
    """

    def __init__(
        self,
        policy: GpuPolicy = RTX_3090,
        *,
        nvml: NvmlPort | None = None,
        interval: float = 1.0,
        keep: int = 600,
        thresholds: AlertThresholds = _STANDARD,
        listener: Callable[[Event], object] | None = None,
        clock: TimePort = time,
    ) -> None:
        """Read nothing yet.

        Args:
            policy: Which card may work.
            nvml: Where the cards are read; by default the machine's own.
            interval: Seconds between two reads.
            keep: How many samples are kept a card.
            thresholds: What is alerted of.
            listener: Called with each `GpuAlertRaised` and `GpuAlertCleared`, in the
                monitor's thread. What it raises is logged and changes nothing.
            clock: Tells the time of samples and alerts.

        Raises:
            InvalidRequestError: `interval` or `keep` is not above zero.
        """
        if not 0 < interval < threading.TIMEOUT_MAX or keep < 1:
            message = "a monitor needs an interval above zero, and samples to keep."
            raise InvalidRequestError(message, remedy="Leave them out for 1 s and 600.")
        self._nvml = nvml
        self._interval = interval
        self._listener = listener
        self._clock = clock
        self._watch = Watch(policy, thresholds)
        self._ring = Ring(keep)
        self._latest: Inventory | None = None
        self._error: NvmlError | None = None
        self._alerts: tuple[GpuAlert, ...] = ()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ticking = threading.Lock()
        self._lock = threading.Lock()
        call_in_children(self._begin_anew)

    @property
    def latest(self) -> Inventory | None:
        """The newest reading that went well; `None` before the first."""
        return self._latest

    @property
    def error(self) -> NvmlError | None:
        """Why the newest reading failed; `None` where it went well."""
        return self._error

    @property
    def alerts(self) -> tuple[GpuAlert, ...]:
        """The alerts that stand now, the oldest first."""
        return self._alerts

    @property
    def is_running(self) -> bool:
        """Whether the thread reads the cards."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def samples(self, uuid: str) -> tuple[GpuSample, ...]:
        """Return the last samples of a card, oldest first; none of an unknown one."""
        with self._lock:
            return self._ring.of(uuid)

    def start(self) -> None:
        """Begin to read, at once; does nothing where it is running."""
        with self._lock:
            if self.is_running:
                return
            # A thread of before may still be in a read: it keeps its own sign to stop.
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=_run,
                args=(weakref.ref(self), self._stopping, self._interval),
                name="model-manager-gpu-monitor",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread; alerts and samples stay as they are."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def tick(self) -> tuple[GpuEvent, ...]:
        """Read once, now: what the thread does each time; returns what it told."""
        with self._ticking:
            reading = self._read()
            now = self._clock.time()
            events = self._watch.tick(reading, now, mine=_this_program)
            with self._lock:
                self._alerts = self._watch.standing
                if isinstance(reading, NvmlError):
                    self._error = reading
                else:
                    self._ring.add(reading, now)
                    self._latest, self._error = reading, None
        for event in events:
            self._tell(event)
        return events

    def _read(self) -> Inventory | NvmlError:
        try:
            return (self._nvml or shared_nvml()).read()
        except NvmlError as error:
            # Kept for as long as it lasts: not with all that stood around it.
            return error.with_traceback(None)

    def _tell(self, event: GpuEvent) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a listener is somebody else's
            _log.warning(
                "a listener failed on %s: %s",
                type(event).__name__,
                type(error).__name__,
            )

    def _begin_anew(self) -> None:
        self._thread = None
        self._stopping = threading.Event()
        self._ticking = threading.Lock()
        self._lock = threading.Lock()


def _run(
    monitor: weakref.ref[GpuMonitor], stopping: threading.Event, interval: float
) -> None:
    """Tick until it is time to stop, or nobody has the monitor any more."""
    due = time.monotonic()
    while not stopping.is_set():
        now = monitor()
        if now is None:
            return
        try:
            now.tick()
        except Exception as error:  # noqa: BLE001 - the next reading may go well
            _log.warning("the cards could not be watched: %s", type(error).__name__)
        # Not held while it waits: whoever lets go of a monitor ends it.
        del now
        due = max(due + interval, time.monotonic())
        stopping.wait(due - time.monotonic())


def _this_program() -> frozenset[int]:
    return frozenset({os.getpid()}) | Processes().family(os.getpid())
