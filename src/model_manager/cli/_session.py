"""What a run of the command line has in common: configuration, notes, verbosity."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
from typing_extensions import override

from model_manager.cli._screen import note
from model_manager.config import Config, find_file, load_config
from model_manager.errors import ConfigError

T = TypeVar("T")
_LIBRARY = "model_manager"
_EVENTS = "model_manager.events"
_NO_FILE = (
    "give --config PATH or set MODEL_MANAGER_CONFIG; 'model-manager demo' needs none."
)


class Notes(logging.Handler):
    """Writes the library's warnings to stderr, a tidy line each, each once."""

    def __init__(self, *, verbose: bool) -> None:
        """Listen to the library; to everything it says when `verbose`."""
        super().__init__(logging.DEBUG if verbose else logging.WARNING)
        if not verbose:
            # A command tells itself how its calls went.
            self.addFilter(lambda record: record.name != _EVENTS)
        self._told: set[str] = set()
        self._held = False
        self._logger = logging.getLogger(_LIBRARY)
        self._level = self._logger.level
        if verbose:
            self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it was told or is held back."""
        text = record.getMessage()
        if self._held or text in self._told:
            return
        self._told.add(text)
        note(text, label="note" if record.levelno >= logging.WARNING else "log")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold back what is said meanwhile, because the command itself tells it."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    @override
    def close(self) -> None:
        """Stop listening."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
        super().close()


@dataclass(frozen=True, slots=True)
class Session:
    """What the global options said."""

    config: str | None
    verbose: bool
    notes: Notes

    def load(self, path: str | None = None) -> Config:
        """Load the configuration and say in a line that there is more to know."""
        config = self.load_quietly(path or self.config)
        if self.verbose:
            for notice in config.notices:
                note(notice)
        elif config.notices:
            count = len(config.notices)
            things = "1 notice" if count == 1 else f"{count} notices"
            note(f"{things} about the configuration: model-manager config check")
        return config

    def load_quietly(self, source: str | Mapping[str, object] | None) -> Config:
        """Load a configuration whose notices the command shows by itself."""
        with self.notes.held():
            return load_config(_place() if source is None else source)


def _place() -> Path:
    """Return where the configuration is, or say it in the command line's own words."""
    what = ""
    try:
        return find_file(os.environ)
    except ConfigError as error:
        what = error.what
    raise ConfigError(what, remedy=_NO_FILE)


def session_of(context: typer.Context) -> Session:
    """Return the session that the global options began."""
    session = context.find_object(Session)
    if session is None:
        message = "the command line was not started by its entry point."
        raise RuntimeError(message)
    return session


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part; an interrupt cancels it."""
    return asyncio.run(work)
