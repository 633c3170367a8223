"""Where the ledger of a configuration is, environment and folders resolved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from model_manager.config._config import Config
from model_manager.config._read import expanded
from model_manager.errors import ConfigError

FILE = "ledger.sqlite3"
DATA_VARIABLE = "MODEL_MANAGER_DATA"
"""Names another folder than the user's data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPlace:
    """A ledger's backend and place; equal places are the same ledger."""

    backend: Literal["sqlite", "postgres", "memory", "off"]
    folder: Path
    """Holds the file of `sqlite`, and what waits to be written."""
    url: SecretStr | None = None
    """PostgreSQL's."""

    @property
    def file(self) -> Path:
        """The database of `sqlite`."""
        return self.folder / FILE

    @property
    def spool(self) -> Path:
        """Where lines wait while it cannot be written; each ledger has its own."""
        name = "ledger"
        if self.url is not None:
            # Without user and password, which change while the ledger stays.
            at = urlsplit(self.url.get_secret_value())
            where = at.netloc.rpartition("@")[2] + at.path
            name = f"postgres-{hashlib.sha256(where.encode()).hexdigest()[:12]}"
        return self.folder / f"{name}.spool.jsonl"


def ledger_place(
    config: Config, environ: Mapping[str, str] | None = None
) -> LedgerPlace:
    """Return where the ledger is; touches no file.

    Args:
        config: Its section `ledger` is read.
        environ: Where the URL is read; the process's environment by default.

    Raises:
        ConfigError: The variable that should hold the URL holds none.
    """
    settings = config.ledger
    # The process's own, wherever keys are read: it names a folder of the user's.
    chosen = settings.folder or os.environ.get(DATA_VARIABLE, "").strip()
    if chosen:
        folder = expanded(chosen).absolute()
    else:
        from platformdirs import user_data_path  # noqa: PLC0415 - seldom needed

        folder = user_data_path("model_manager", appauthor=False)
    if settings.backend != "postgres":
        return LedgerPlace(backend=settings.backend, folder=folder)
    variables = os.environ if environ is None else environ
    url = variables.get(settings.url_env or "", "").strip()
    if not url.startswith(("postgresql://", "postgres://")):
        message = (
            f"the variable {settings.url_env} holds no URL of a PostgreSQL database."
        )
        raise ConfigError(
            message,
            remedy=f"Set {settings.url_env} to postgresql://user@host/database.",
        )
    return LedgerPlace(backend="postgres", folder=folder, url=SecretStr(url))
