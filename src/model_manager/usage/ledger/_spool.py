"""Lines that wait in a file while the ledger cannot be written.

One file beside the ledger, for all processes that use it: each appends whole lines
under a lock, and whoever reaches the ledger again writes them all into it. Lines are
idempotent, so a file that was written twice does no harm.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final, TypeVar

from filelock import FileLock, Timeout

from model_manager.usage.ledger._lines import CallLine, SendLine

Line = CallLine | SendLine
LineT = TypeVar("LineT", CallLine, SendLine)
_WORD_BITS: Final = 64

_PATIENCE: Final = 5.0
"""Seconds to wait for another process that appends or reads."""
_log = logging.getLogger("model_manager.usage")


class SpoolError(Exception):
    """Raised when the file cannot be written or read."""


class Spool:
    """The file where the lines of one ledger wait."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is touched yet."""
        self.path = path
        self._unreadable = path.with_suffix(".unreadable.jsonl")
        self._lock_path = path.with_suffix(".lock")

    def fault(self) -> str:
        """Return why its folder cannot be written to; empty if it can."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (FileExistsError, NotADirectoryError):
            return "a file stands in its place"
        except OSError as error:
            return os.strerror(error.errno or 0)
        return "" if os.access(folder, os.W_OK) else os.strerror(errno.EACCES)

    def append(self, lines: Iterable[Line]) -> None:
        """Add lines, on the disk when this returns.

        Raises:
            SpoolError: They could not all be written.
        """
        text = "".join(f"{_text(line)}\n" for line in lines)
        if text:
            self._locked(lambda: self._add(self.path, text))

    def replay(self, write: Callable[[Sequence[Line]], None]) -> int:
        """Have the lines written into the ledger, then drop them; returns how many.

        Lines that cannot be read, such as half of one, are put aside and told of.

        Raises:
            SpoolError: The file cannot be read.
        """
        if not self.path.exists():
            return 0
        count = 0

        def drain() -> None:
            nonlocal count
            if not self.path.exists():
                return
            lines, rest = _parsed(self.path.read_text("utf-8", errors="replace"))
            write(lines)
            count = len(lines)
            if rest:
                self._add(self._unreadable, rest)
                _log.error("lines of the ledger cannot be read: %s", self._unreadable)
            self.path.unlink()

        self._locked(drain)
        return count

    def _locked(self, work: Callable[[], None]) -> None:
        failed = ""
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self._lock_path, timeout=_PATIENCE):
                work()
        except Timeout:
            failed = "another process keeps it locked"
        except OSError as error:
            failed = os.strerror(error.errno or 0)
        if failed:
            raise SpoolError(failed)

    def _add(self, path: Path, text: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(descriptor).st_size
        try:
            # A process that died in the middle of a line must not spoil the next.
            if size and _last_byte(path) != b"\n":
                text = f"\n{text}"
            content = text.encode()
            written = os.write(descriptor, content)
            while written < len(content):
                written += os.write(descriptor, content[written:])
            os.fsync(descriptor)
        except OSError:
            # All of it or nothing: it is written again, here or into the ledger.
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _text(line: Line) -> str:
    kind = "call" if isinstance(line, CallLine) else "send"
    return json.dumps({kind: asdict(line)}, ensure_ascii=False)


def _parsed(text: str) -> tuple[list[Line], str]:
    """Return the lines, and the text of those that are none."""
    lines: list[Line] = []
    rest = ""
    for one in text.split("\n"):
        if not one.strip():
            continue
        line = _line(one)
        if line is None:
            rest += f"{one}\n"
        else:
            lines.append(line)
    return lines, rest


def _line(text: str) -> Line | None:
    try:
        found = json.loads(text)
        if "call" in found:
            return _checked(CallLine(**found["call"]))
        send = found["send"]
        call = _checked(CallLine(**send["call"]))
        return _checked(SendLine(**{**send, "call": call}))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _checked(line: LineT) -> LineT:
    """Return a line whose every field is of its kind, or raise `TypeError`.

    Anything else would keep a whole file from being written, again and again.
    """
    for one in fields(line):
        value, kind = getattr(line, one.name), str(one.type)
        is_right = {
            "str": isinstance(value, str),
            "int": _is_whole(value),
            "str | None": value is None or isinstance(value, str),
            "int | None": value is None or _is_whole(value),
            "CallLine": isinstance(value, CallLine),
        }.get(kind, _is_labels(value))
        if not is_right:
            raise TypeError
    return line


def _is_whole(value: object) -> bool:
    """Whether a value is a number that a database takes."""
    return type(value) is int and value.bit_length() < _WORD_BITS


def _is_labels(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(word, str) for pair in value.items() for word in pair
    )
