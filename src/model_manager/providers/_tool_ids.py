"""Ids of tool calls that every provider takes, whoever made them up."""

from __future__ import annotations

import hashlib
import re

# The narrowest rule of all: OpenAI takes 40 characters, Anthropic these letters.
_PORTABLE = re.compile(r"[A-Za-z0-9_-]{1,40}")


def portable_id(call_id: str) -> str:
    """Return the id itself, or a stable stand-in where a provider would refuse it.

    A conversation may have been begun by another provider; a call and its result get
    the same stand-in.
    """
    if _PORTABLE.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()
    return f"call_{digest[:24]}"
