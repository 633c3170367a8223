"""Asks a server on this machine; nothing that is asked here leaves it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from model_manager.errors import InvalidRequestError
from model_manager.gpu.ollama._settings import DEFAULT_PORT, is_loopback

Fetch: TypeAlias = Callable[[str], object]
"""From a URL to the JSON that is there; raises `OSError` or `ValueError`."""

_SECONDS: Final = 3.0
_MOST: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
_OK: Final = 200


def place_of(url: str) -> tuple[str, int]:
    """Return host and port of a server's URL.

    Raises:
        InvalidRequestError: It is no URL of a server, or holds a name and password.
    """
    problem = ""
    host, port = "", DEFAULT_PORT
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        if parts.scheme != "http" or not host:
            problem = "is no URL of an Ollama server"
        elif parts.username is not None or parts.password is not None:
            problem = "holds a name or password, which Ollama does not ask for"
    except ValueError:
        problem = "is no URL of an Ollama server"
    if problem:
        # What was given may hold a password: it is not repeated.
        message = f"the address that was given {problem}."
        raise InvalidRequestError(message, remedy="Write it as http://127.0.0.1:11434.")
    return host, port


def fetch_json(url: str) -> object:
    """Return the JSON at an address of this machine.

    No proxy is used and no redirect followed, whatever the environment says.

    Raises:
        OSError: No answer within three seconds, or one that says no.
        ValueError: It is no JSON, is longer than a megabyte, or the address is not one
            of this machine.
    """
    parts = urlsplit(url)
    host, port = place_of(f"http://{parts.netloc}")
    if not is_loopback(host):
        message = "only servers of this machine are asked."
        raise ValueError(message)
    return json.loads(_body(_address(host), port, parts.path))


def _address(host: str) -> str:
    """Return the address itself: what a name means is for others to say."""
    return "127.0.0.1" if host.lower() == "localhost" else host


def _body(host: str, port: int, path: str) -> bytes:
    until = time.monotonic() + _SECONDS
    link = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        with closing(link):
            # Ollama refuses names of other machines in this header.
            link.request("GET", path, headers={"Accept": "application/json"})
            answer = link.getresponse()
            if answer.status != _OK:
                message = f"it answers with status {answer.status}."
                raise OSError(message)
            return _read(answer, until=until)
    except http.client.HTTPException as error:
        what = type(error).__name__
    message = f"what answers does not speak HTTP ({what})."
    raise OSError(message)


def _read(answer: http.client.HTTPResponse, *, until: float) -> bytes:
    body = bytearray()
    while piece := answer.read1(_PIECE):
        body += piece
        if len(body) > _MOST:
            message = "the answer is too long."
            raise ValueError(message)
        if time.monotonic() > until:
            message = "the answer does not end."
            raise TimeoutError(message)
    return bytes(body)
