"""A server as a child of this process: its output, its signals, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final, Self, TypeAlias

Show: TypeAlias = Callable[[str], object]

_KEPT: Final = 6
_LINE: Final = 300
_READ: Final = 64 * 1024
_POLL: Final = 0.5
_BY_SIGNAL: Final = 128
"""What shells add to the number of the signal that ended a program."""
_SETTINGS: Final = "env="
"""Ollama begins its log with its settings, among them proxies and their passwords."""


class Child:
    """A running server, in a group of its own, so that it gets each signal once."""

    def __init__(
        self, program: str, environment: Mapping[str, str], *, show: Show
    ) -> None:
        """Start `program serve` with this environment and no other.

        Raises:
            OSError: It cannot be started.
        """
        self._process = _started([program, "serve"], environment)
        self._tail: deque[str] | None = deque(maxlen=_KEPT)
        self._show = show
        self._reader = threading.Thread(
            target=self._read, name="ollama-output", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code as a shell tells it; `None` while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else _BY_SIGNAL - code

    def last_words(self) -> str:
        """Return the end of what it wrote before it answered; empty after that."""
        self._reader.join(timeout=1)
        return " | ".join(self._tail or ())

    def forget_words(self) -> None:
        """Keep nothing of what it writes from now on: it may be what people asked."""
        self._tail = None

    def send(self, number: int) -> None:
        """Pass a signal on; where it ended already, nothing happens."""
        if sys.platform == "win32":
            # The only one that reaches a group; Go programs take it for an interrupt.
            number = signal.CTRL_BREAK_EVENT
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it ends, and return its exit code as a shell tells it."""
        while self.code is None:
            try:
                # In pieces, because Windows delivers no signal during a wait.
                self._process.wait(_POLL)
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(timeout=1)
        return self.code or 0

    def stop(self, *, seconds: float) -> int:
        """End it and what it started: politely, and after `seconds` by force."""
        self.send(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill()
        return self.wait()

    def _kill(self) -> None:
        if sys.platform == "win32":
            self._process.kill()
        else:
            # The group too: what runs the models would keep the card.
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        output = self._process.stdout
        if output is None:
            return
        with output:
            while line := output.readline(_READ):
                self._take(line.decode("utf-8", "replace"))

    def _take(self, line: str) -> None:
        tail = self._tail
        if tail is not None and line.strip() and _SETTINGS not in line:
            tail.append(line.strip()[:_LINE])
        try:
            self._show(line)
        except (OSError, ValueError):
            # Nobody reads any more; the server must not stand still for that.
            self._show = _nowhere


class Relay:
    """Passes interrupts and requests to end on to a child, while it is entered.

    Outside of the main thread Python hands out no signals, and nothing is passed on.
    """

    _NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")

    def __init__(self) -> None:
        """Stand ready."""
        self.received: int | None = None
        """The last signal that came."""
        self._child: Child | None = None
        self._before: dict[int, Any] = {}

    def to(self, child: Child) -> None:
        """Pass signals on to a child from now on, and one that came before."""
        self._child = child
        if self.received is not None:
            child.send(self.received)

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for name in self._NAMES:
                number = getattr(signal, name, None)
                # What is ignored (as under nohup) stays ignored.
                if number is None or signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.received = number
        if self._child is not None:
            self._child.send(number)


def show_on_stderr(line: str) -> None:
    """Write a line of the server to this program's own stderr."""
    sys.stderr.write(line)
    sys.stderr.flush()


def _nowhere(_: str) -> None:
    """Show nothing."""


def _started(command: list[str], environment: Mapping[str, str]) -> _Process:
    if sys.platform == "win32":
        return subprocess.Popen(  # noqa: S603 - found on PATH, as a shell would
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    return subprocess.Popen(  # noqa: S603 - found on PATH, as a shell would
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )


_Process: TypeAlias = "subprocess.Popen[bytes]"
