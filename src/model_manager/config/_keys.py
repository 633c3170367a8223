"""The keys, read from the environment by the names that the file gives."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import SecretStr

from model_manager.config._config import Config

_log = logging.getLogger("model_manager.config")


def read_keys(
    config: Config, environ: Mapping[str, str] | None = None
) -> tuple[Mapping[str, SecretStr], Mapping[str, str]]:
    """Return the keys by endpoint, and the variables that hold none by endpoint.

    Endpoints that need no key are in neither. A variable whose text cannot be a key
    (spaces inside, letters that no header carries) counts as missing, with a warning.
    """
    variables = os.environ if environ is None else environ
    keys: dict[str, SecretStr] = {}
    missing: dict[str, str] = {}
    for endpoint in config.endpoints.values():
        name = endpoint.api_key_env
        if name is None:
            continue
        text = variables.get(name, "").strip()
        if text and text.isascii() and text.isprintable() and " " not in text:
            keys[endpoint.name] = SecretStr(text)
            continue
        missing[endpoint.name] = name
        if text:
            _log.warning(
                "the variable %s holds text that cannot be a key; provider %r is used"
                " without one. Set it to the key alone.",
                name,
                endpoint.name,
            )
    return MappingProxyType(keys), MappingProxyType(missing)
