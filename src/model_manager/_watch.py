"""Watches one file from a thread of its own, and says when it has changed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from typing_extensions import override

_Signature: TypeAlias = tuple[int, int, int] | None
SECONDS = 1.0
"""Between two looks. A look is one `stat`, which works on network drives and in
containers too, where notifications of the system do not arrive."""


class Watch:
    """Looks at a file every second until it is stopped or its listener is gone.

    A change, also that it is gone, is told once the file has stayed the same for one
    more look, so that a file that is still being written is not read half. A forked
    child does not watch: threads do not survive a fork.
    """

    def __init__(
        self, path: Path, on_change: Callable[[], object], *, seconds: float = SECONDS
    ) -> None:
        """Prepare to watch; `on_change` is a bound method, and is held weakly."""
        self._path = path
        self._on_change = weakref.WeakMethod(on_change)
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=_run,
            args=(path, self._on_change),
            kwargs={
                # Taken here: the file may change before the thread's first look.
                "told": _signature(path),
                "stopped": self._stopped,
                "seconds": seconds,
            },
            name="model_manager-watch",
            daemon=True,
        )

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Look no longer; wait for the thread's end unless called from it."""
        self._stopped.set()
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    @override
    def __repr__(self) -> str:
        """Name the file."""
        return f"<Watch {self._path}>"


def _run(
    path: Path,
    on_change: weakref.WeakMethod[Callable[[], object]],
    *,
    told: _Signature,
    stopped: threading.Event,
    seconds: float,
) -> None:
    seen = told
    while not stopped.wait(seconds):
        if on_change() is None:
            return
        before, seen = seen, _signature(path)
        if seen == told or seen != before:
            continue
        told = seen
        tell = on_change()
        if tell is not None:
            tell()
        # Else the loop would keep the listener alive until the next look.
        del tell


def _signature(path: Path) -> _Signature:
    """Return what changes with the file's content; `None` where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
