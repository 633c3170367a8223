"""Which policy a command about the card goes by."""

from __future__ import annotations

import os

import typer

from model_manager.cli._session import session_of
from model_manager.config import Config, find_file
from model_manager.errors import ConfigError
from model_manager.gpu import GpuPolicy, policy_of


def config_in_force(context: typer.Context, path: str | None = None) -> Config | None:
    """Return the configuration, or `None` where none is named and none is found.

    Raises:
        ConfigError: There is one, and it is wrong.
    """
    session = session_of(context)
    named = path or session.config
    if named is None and not _is_there():
        return None
    return session.load_quietly(named)


def policy_in_force(context: typer.Context, path: str | None = None) -> GpuPolicy:
    """Return the configuration's policy; the team's standard where there is none.

    Raises:
        ConfigError: There is a configuration, and it is wrong.
    """
    config = config_in_force(context, path)
    return policy_of(config.gpu_settings if config is not None else None)


def _is_there() -> bool:
    try:
        find_file(os.environ)
    except ConfigError:
        return False
    return True
