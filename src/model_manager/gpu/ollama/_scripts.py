"""All scripts of a policy, and how they get into a folder: all of them, or none."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.ollama._linux import linux_scripts
from model_manager.gpu.ollama._settings import OllamaSettings, System
from model_manager.gpu.ollama._variables import ollama_variables
from model_manager.gpu.ollama._windows import windows_scripts

_WINDOWS: Final = frozenset({".bat", ".ps1"})


def ollama_scripts(
    policy: GpuPolicy,
    settings: OllamaSettings | None = None,
    *,
    system: System | None = None,
) -> Mapping[str, str]:
    """Return the scripts that start and watch an Ollama server on the policy's card.

    Args:
        policy: Which card; pin it first (`GpuPolicy.pinned`), so that the scripts name
            it by its UUID.
        settings: How the server is to run.
        system: Only the scripts of this system. Without it those of both, or, where a
            folder of models is given, those of the system that the folder belongs to.

    Returns:
        Path below a folder to text with plain line feeds; `write_scripts` writes them
        as each system wants them.

    Raises:
        InvalidRequestError: The policy does not name one card, the folder belongs to
            the other system, or a value cannot be written safely.
    """
    chosen = settings or OllamaSettings()
    owner = chosen.system
    if system is not None and owner is not None and system != owner:
        message = f"the models' folder {chosen.models!r} is one of {owner}."
        raise InvalidRequestError(
            message, remedy=f"Leave it out, or name the folder as {system} does."
        )
    wanted = system or owner
    variables = ollama_variables(policy, chosen)
    scripts: dict[str, str] = {}
    if wanted != "linux":
        scripts |= windows_scripts(policy, chosen, variables)
    if wanted != "windows":
        scripts |= linux_scripts(policy, chosen, variables)
    return MappingProxyType(scripts)


def script_bytes(name: str, text: str) -> bytes:
    """Return a script as its system wants it: line ends, and how letters are stored."""
    kind = PurePosixPath(name).suffix
    if kind not in _WINDOWS:
        return text.encode()
    # Windows PowerShell takes a file for ANSI unless it begins with this mark; of a
    # batch file the mark would become part of the first command.
    marked = kind == ".ps1" and not text.isascii()
    return text.replace("\n", "\r\n").encode("utf-8-sig" if marked else "utf-8")


def write_scripts(
    folder: Path, scripts: Mapping[str, str], *, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write scripts into a folder, which is made: all of them, or none.

    Returns:
        Where they lie, in the order of `scripts`.

    Raises:
        InvalidRequestError: One is there already and `overwrite` was not asked for, or
            the folder cannot be written. Then everything is as it was before.
    """
    targets = {folder / PurePosixPath(name): (name, scripts[name]) for name in scripts}
    there = [path.name for path in targets if os.path.lexists(path)]
    if there and not overwrite:
        message = f"{', '.join(there)} in {folder} would be overwritten."
        raise InvalidRequestError(
            message, remedy="Choose another folder, or say --force to replace them."
        )
    what = ""
    try:
        _write(targets)
    except OSError as error:
        what = f"the scripts cannot be written to {folder}: {error.strerror or error}."
    if what:
        raise InvalidRequestError(
            what, remedy="Nothing was changed. Choose a folder that you may write to."
        )
    return tuple(targets)


def _write(targets: Mapping[Path, tuple[str, str]]) -> None:
    """Write all beside its place first, then move it there; undo on a failure."""
    mark = secrets.token_hex(4)
    old: list[Path] = []
    with ExitStack() as undo:
        ready: dict[Path, Path] = {}
        for path, (name, text) in targets.items():
            _make_folder(path.parent, undo)
            ready[path] = path.with_name(f".{path.name}.{mark}.new")
            undo.callback(ready[path].unlink, missing_ok=True)
            _create(ready[path], script_bytes(name, text), runs=path.suffix == ".sh")
        for path, new in ready.items():
            if os.path.lexists(path):
                aside = path.with_name(f".{path.name}.{mark}.old")
                path.rename(aside)
                old.append(aside)
                undo.callback(aside.replace, path)
            else:
                undo.callback(path.unlink, missing_ok=True)
            new.replace(path)
        undo.pop_all()
    for aside in old:
        with suppress(OSError):
            aside.unlink()


def _make_folder(folder: Path, undo: ExitStack) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        undo.callback(path.rmdir)


def _create(path: Path, content: bytes, *, runs: bool) -> None:
    # The mode is narrowed by the user's umask, as for every file that is made.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o777 if runs else 0o666), "wb") as file:
        file.write(content)
