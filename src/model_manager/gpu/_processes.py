"""Other processes of this machine: who listens, who belongs to whom, and memory.

psutil is used here alone, and loaded when something is asked. Of a process's
environment only the variables that are named are ever returned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from typing_extensions import override

T = TypeVar("T")


class ProcessPort(Protocol):
    """Where other processes are looked at; what cannot be seen is left out."""

    def listener(self, port: int) -> int | None:
        """Return who listens on a TCP port; `None` where nobody does or none may see.

        Linux shows it only of one's own processes, and to root of all.
        """
        ...

    def named(self, name: str, *, argument: str = "") -> tuple[int, ...]:
        """Return who runs a program, and was given an argument, in order of number.

        Args:
            name: The program's file name, without `.exe`.
            argument: One of its arguments, whole; any where it is empty.
        """
        ...

    def name(self, pid: int) -> str | None:
        """Return the file name of a process's program."""
        ...

    def environ(self, pid: int, names: Collection[str]) -> Mapping[str, str] | None:
        """Return those of the named variables that a process was started with.

        `None` where its environment cannot be read: it is another user's, or gone.
        """
        ...

    def family(self, pid: int) -> frozenset[int]:
        """Return a process and all that it started; empty where it is gone."""
        ...

    def started(self, pid: int) -> float | None:
        """Return when a process was started, in seconds since 1970."""
        ...

    def available_memory(self) -> int | None:
        """Return the bytes of this machine's memory that programs can still have."""
        ...


class Processes(ProcessPort):
    """The processes of this machine itself."""

    @override
    def listener(self, port: int) -> int | None:
        """Return who listens on a port; `None` where nobody does or none may see."""
        found = _or_none(lambda: _psutil().net_connections(kind="tcp")) or ()
        for connection in found:
            is_it = connection.status == _psutil().CONN_LISTEN
            if is_it and connection.laddr and connection.laddr.port == port:
                return None if connection.pid is None else int(connection.pid)
        return None

    @override
    def named(self, name: str, *, argument: str = "") -> tuple[int, ...]:
        """Return who runs a program, and was given an argument, in order of number."""
        found = []
        for process in _psutil().process_iter():
            # It may end between any two questions.
            its_name = _or_none(process.name)
            if its_name is None or _plain(its_name) != name:
                continue
            if not argument or argument in (_or_none(process.cmdline) or ()):
                found.append(process.pid)
        return tuple(sorted(found))

    @override
    def name(self, pid: int) -> str | None:
        """Return the file name of a process's program."""
        name = _or_none(lambda: _psutil().Process(pid).name())
        return None if name is None else printable(name)

    @override
    def environ(self, pid: int, names: Collection[str]) -> Mapping[str, str] | None:
        """Return those of the named variables that a process was started with."""
        found = _or_none(lambda: _psutil().Process(pid).environ())
        # A process without any variable is one whose variables are not shown.
        return {n: found[n] for n in names if n in found} if found else None

    @override
    def family(self, pid: int) -> frozenset[int]:
        """Return a process and all that it started; empty where it is gone."""
        process = _or_none(lambda: _psutil().Process(pid))
        if process is None:
            return frozenset()
        children = _or_none(lambda: process.children(recursive=True)) or ()
        return frozenset({pid, *(child.pid for child in children)})

    @override
    def started(self, pid: int) -> float | None:
        """Return when a process was started, in seconds since 1970."""
        return _or_none(lambda: float(_psutil().Process(pid).create_time()))

    @override
    def available_memory(self) -> int | None:
        """Return the bytes of this machine's memory that programs can still have."""
        return available_memory()


def available_memory() -> int | None:
    """Return the bytes of this machine's memory that programs can still have.

    What the system keeps of files, and gives up when asked, counts as available.
    """
    memory = _or_none(_psutil().virtual_memory)
    return None if memory is None else int(memory.available)


def printable(name: str) -> str:
    """Return a name without what a terminal or a log would obey.

    Whoever starts a process chooses its name.
    """
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in name)


def _plain(name: str) -> str:
    return name.lower().removesuffix(".exe")


def _or_none(ask: Callable[[], T]) -> T | None:
    """Return an answer; `None` where the process is gone or may not be looked at."""
    try:
        return ask()
    except (_psutil().Error, OSError):
        return None


def _psutil() -> Any:
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types, and is loaded when something is asked

    return psutil
