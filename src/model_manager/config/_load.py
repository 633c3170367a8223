"""Loading: from a path, a mapping or nothing to a checked `Config`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path as FilePath

from pydantic import ValidationError

from model_manager.config._checks import semantic_problems
from model_manager.config._config import CHECKED, Config
from model_manager.config._convert import problems_of
from model_manager.config._plain import plain
from model_manager.config._problems import Problem, config_error, shape
from model_manager.config._read import expanded, find_file, origin_of, read_json
from model_manager.errors import ConfigError

_log = logging.getLogger("model_manager.config")
_SECTIONS = ("agent_models", "model_providers")


def load_config(
    source: str | os.PathLike[str] | Mapping[str, object] | Config | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration, checked; logs a warning for each of its notices.

    Args:
        source: Path of a JSON file, the same as a mapping, a `Config` (returned as it
            is), or `None`: the file that `$MODEL_MANAGER_CONFIG` names, else
            `./models_config.json`, else `./config/models_config.json`.
        environ: The environment to look in; that of the process by default.

    Raises:
        ConfigError: There is none, or it is wrong; `problems` holds every problem.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        config = _checked(source, origin="given as a mapping")
    else:
        path = _path_of(source, os.environ if environ is None else environ)
        config = _checked(read_json(path), origin=origin_of(path))
    for notice in config.notices:
        _log.warning("%s", notice)
    return config


def config_path(
    source: object, *, environ: Mapping[str, str] | None = None
) -> FilePath | None:
    """Return the file that `load_config` would read, whole; `None` for one in Python.

    Raises:
        ConfigError: There is none, or the source is no path.
    """
    if isinstance(source, Config | Mapping):
        return None
    path = _path_of(source, os.environ if environ is None else environ)
    # The working directory may change before the file is read again.
    return path.absolute()


def _path_of(source: object, environ: Mapping[str, str]) -> FilePath:
    if source is None:
        return find_file(environ)
    if isinstance(source, str) and source.lstrip()[:1] in {"{", "["}:
        message = "the configuration was given as JSON text, not as a path."
        raise ConfigError(
            message,
            problems=(Problem(path="", message="JSON text", expected="a path"),),
            remedy="Give the path of the file, or the mapping: json.loads(text).",
        )
    text = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    if isinstance(text, str) and text.strip():
        return expanded(text)
    message = f"the configuration was given as {shape(source)}."
    raise ConfigError(
        message,
        problems=(Problem(path="", message=shape(source), expected="a path"),),
        remedy="Give a path, a mapping, a Config, or None for the usual places.",
    )


def _checked(raw: object, *, origin: str) -> Config:
    problems: list[Problem] = []
    data = plain(raw, problems=problems)
    if not isinstance(data, dict):
        found = Problem(
            path="", message=shape(data), expected="a JSON object with the sections"
        )
        raise config_error([*problems, found], origin=origin, missing=_SECTIONS)
    told = {problem.path for problem in problems}
    problems += semantic_problems(data)
    config: Config | None = None
    try:
        # As JSON text, in which lists, dates and prices have one strict meaning.
        config = Config.model_validate_json(json.dumps(data), context=CHECKED)
    except ValidationError as error:
        found_by_schema = problems_of(error, data=data, root=Config)
        problems += [one for one in found_by_schema if one.path not in told]
    if config is None or problems:
        missing = [section for section in _SECTIONS if section not in data]
        raise config_error(problems, origin=origin, missing=missing)
    return config
