"""From a file to JSON data; every way in which a file can be no JSON."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import NoReturn

from model_manager.config._plain import NotJson, Pairs
from model_manager.config._problems import Problem, config_error
from model_manager.config._secrets import shown
from model_manager.errors import ConfigError

MAX_BYTES = 5_000_000
VARIABLE = "MODEL_MANAGER_CONFIG"
PLACES = ("models_config.json", "config/models_config.json")
_MAX_DIGITS = 30
_COMMENT_STARTS = ("//", "/*", "#")


def find_file(environ: Mapping[str, str]) -> FilePath:
    """Return the file that `$MODEL_MANAGER_CONFIG` names, or one in a usual place.

    Raises:
        ConfigError: There is none; the message names the places looked at.
    """
    named = environ.get(VARIABLE, "").strip()
    if named:
        return expanded(named)
    for place in PLACES:
        if FilePath(place).is_file():
            return FilePath(place)
    looked = ", ".join(str(FilePath.cwd() / place) for place in PLACES)
    message = (
        f"there is no configuration: ${VARIABLE} is not set, and no file {looked}."
    )
    raise ConfigError(
        message,
        problems=(Problem(path="", message="not found", expected="a file"),),
        remedy=f"Give ModelManager a path, or set {VARIABLE}.",
    )


def expanded(path: str) -> FilePath:
    """Return a path with the user's home in place of a leading `~`."""
    try:
        return FilePath(path).expanduser()
    except RuntimeError:  # no such user: then it is a file of that name
        return FilePath(path)


def origin_of(path: FilePath) -> str:
    """Return where a configuration came from, as errors name it."""
    return f"in {shown(str(path), limit=300)}"


def read_json(path: FilePath) -> object:
    """Return the content of a JSON file.

    Raises:
        ConfigError: The file cannot be read, is too large, or is no JSON; with the
            line and column, and never with a piece of its content.
    """
    origin = origin_of(path)
    return _parsed(_decoded(_read_bytes(path, origin), origin), origin)


def _refuse(origin: str, message: str, expected: str = "") -> NoReturn:
    problem = Problem(path="", message=message, expected=expected)
    raise config_error([problem], origin=origin)


def _refuse_path(origin: str, message: str) -> NoReturn:
    expected = "the path of a JSON file that may be read"
    problem = Problem(path="", message=message, expected=expected)
    remedy = f"Give another path, or correct {VARIABLE} if the path came from there."
    raise config_error([problem], origin=origin, remedy=remedy)


def _read_bytes(path: FilePath, origin: str) -> bytes:
    reason = ""
    content = b""
    try:
        if path.is_dir():
            _refuse_path(origin, "this is a directory")
        if path.exists() and not path.is_file():
            _refuse_path(origin, "this is no ordinary file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        reason = f"the file does not exist (working directory: {FilePath.cwd()})"
    except OSError as error:
        detail = os.strerror(error.errno) if error.errno else "the system refused"
        reason = f"the file cannot be read: {detail}"
    except ValueError:
        reason = "this is no path"
    if reason:
        _refuse_path(origin, reason)
    if len(content) > MAX_BYTES:
        _refuse(origin, "the file is too large", f"at most {MAX_BYTES:,} bytes")
    return content


def _decoded(content: bytes, origin: str) -> str:
    wide = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    if content.startswith(wide):
        _refuse(origin, "the file is UTF-16 or UTF-32 text", "UTF-8: save it as that")
    offset = -1
    try:
        # Editors on Windows put a byte order mark before UTF-8.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start
    line = content.count(b"\n", 0, offset) + 1
    _refuse(origin, f"line {line} is not UTF-8 text", "UTF-8: save it as that")


def _integer(digits: str) -> object:
    return int(digits) if len(digits) <= _MAX_DIGITS else NotJson("a number so large")


def _parsed(text: str, origin: str) -> object:
    failure: json.JSONDecodeError | None = None
    try:
        return json.loads(
            text,
            object_pairs_hook=Pairs,
            parse_constant=NotJson,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        failure = error
    except RecursionError:
        pass
    if failure is None:
        _refuse(origin, "nested too deep", "the sections of a configuration")
    _refuse(origin, *_explained(text, failure))


def _explained(text: str, failure: json.JSONDecodeError) -> tuple[str, str]:
    where = f"line {failure.lineno}, column {failure.colno}"
    rest = text[failure.pos : failure.pos + 2]
    if not text.strip():
        return "the file is empty", "a JSON object"
    if rest.startswith(_COMMENT_STARTS):
        return (
            f"{where}: JSON has no comments",
            "no comments; agents may have a 'description'",
        )
    before = text[: failure.pos].rstrip()
    if rest[:1] in {"}", "]"} and before.endswith(","):
        return f"{where}: a comma before {rest[0]!r}", "no comma after the last item"
    if rest.startswith("'"):
        return f"{where}: single quotes", 'double quotes: "text"'
    return f"{where}: not JSON: {failure.msg}", "valid JSON"
