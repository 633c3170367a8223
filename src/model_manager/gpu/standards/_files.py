"""Finds the scripts below paths, in an order that does not change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu.standards._checked import FileFormat, format_of

DEFAULT_EXCLUDES: Final = (
    *(".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "site-packages"),
    *("node_modules", "__pycache__", ".ipynb_checkpoints", "build", "dist"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".eggs"),
)
"""Folders below the given paths that are not looked into."""
MAX_BYTES: Final = 64 * 1024**2
"""Bytes that are read of a file; notebooks hold pictures."""
_HEAD: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file to check, or why it cannot be."""

    path: str
    kind: FileFormat = "python"
    problem: str = ""


def scripts_below(paths: Iterable[str | Path], excludes: Sequence[str]) -> list[Script]:
    """Return the scripts that are, or lie below, the paths; each once.

    What is named is checked whatever the excludes of folders say; the caller's own
    patterns count for it, too.

    Raises:
        InvalidRequestError: A path is not there.
    """
    found: dict[str, Script] = {}
    for given in paths:
        path = Path(given)
        for script in _below(path, excludes):
            found.setdefault(os.path.normpath(script.path), script)
    return sorted(found.values(), key=lambda script: Path(script.path).parts)


def _below(path: Path, excludes: Sequence[str]) -> Iterator[Script]:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if path.is_symlink():
            yield Script(path=str(path), problem=f"it leads nowhere: {_why(error)}")
            return
        message = f"there is no file or folder {str(path)!r}."
        remedy = "Look for a typing error, or run the check from another folder."
        raise InvalidRequestError(message, remedy=remedy) from None
    if stat.S_ISDIR(mode):
        yield from _tree(path, excludes)
    elif not _is_excluded(path.name, str(path), excludes):
        yield _named(path, mode)


def _named(path: Path, mode: int) -> Script:
    """Return a file that was given by name; what it is must be known then."""
    if not stat.S_ISREG(mode):
        return Script(path=str(path), problem="it is not a regular file")
    kind = format_of(path.name, _head(path))
    if kind is None:
        return Script(path=str(path), problem="it is no kind of script that is known")
    return Script(path=str(path), kind=kind)


def _tree(root: Path, excludes: Sequence[str]) -> Iterator[Script]:
    failed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=failed.append):
        below = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if name not in DEFAULT_EXCLUDES
            and not _is_excluded(name, _relative(below / name, root), excludes)
        )
        for name in sorted(files):
            if not _is_excluded(name, _relative(below / name, root), excludes):
                yield from _script(below / name)
    for error in failed:
        yield Script(path=str(error.filename or root), problem=_why(error))


def _script(path: Path) -> Iterator[Script]:
    """Yield a file of a tree if it is a script; other files are none of ours."""
    kind = format_of(path.name)
    if kind is None and "." not in path.name:
        kind = format_of(path.name, _head(path))
    if kind is not None and not path.name.startswith(".#"):
        yield Script(path=str(path), kind=kind)


def _head(path: Path) -> bytes:
    """Return the first bytes of a file without a suffix; nothing where it is odd."""
    if path.suffix:
        return b""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def data_of(path: str) -> bytes | str:
    """Return the bytes of a file, or in words why they cannot be read."""
    try:
        state = Path(path).stat()
        if not stat.S_ISREG(state.st_mode):
            return "it is not a regular file"
        if state.st_size > MAX_BYTES:
            return f"it has {state.st_size:,} bytes, and {MAX_BYTES:,} are read"
        return Path(path).read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        return _why(error)


def _is_excluded(name: str, relative: str, excludes: Sequence[str]) -> bool:
    posix = relative.replace(os.sep, "/")
    return any(
        fnmatch(name, pattern) or fnmatch(posix, pattern.rstrip("/"))
        for pattern in excludes
    )


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _why(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{text[:1].lower()}{text[1:]}"
