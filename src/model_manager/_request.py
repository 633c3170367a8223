"""From a caller's arguments to one frozen request; the only place that checks them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

from model_manager.errors import InvalidRequestError
from model_manager.types import Message, OutputSpec, Priority, Privacy, Request, Tool

Item = TypeVar("Item")
_HOTTEST = 2
"""The highest temperature that any vendor takes (OpenAI)."""
_DAY = 86_400
"""The longest timeout, in seconds, as in the configuration."""
_MOST_TOKENS = 1_000_000_000
"""As in the configuration."""
_WORD_BITS = 63
"""How much of a number the wire takes beside its sign."""
_NANOSECONDS = 1_000_000
"""In a millisecond."""
_FIXED_BITS = 0xF << 76 | 0b11 << 62
_VERSION_7 = 0x7 << 76 | 0b10 << 62
_PRIVACY = ("any", "local_only")
_PRIORITIES = ("interactive", "batch")


def chat_request(
    agent: str,
    prompt: str | Sequence[Message],
    *,
    task: str | None = None,
    system: str | None = None,
    tools: Sequence[Tool] = (),
    output_type: object = None,
    max_output_tokens: int | None = None,
    temperature: float | None = None,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
    timeout: float | None = None,
    privacy: Privacy | None = None,
    priority: Priority = "interactive",
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    streaming: bool = False,
) -> Request:
    """Build the request of `generate`, `stream` and `explain`.

    Raises:
        InvalidRequestError: An argument is wrong; the message says which, and how.
    """
    return Request(
        agent=_name("agent", agent),
        messages=_messages(prompt, system),
        task=_word("task", task),
        tools=_tools(tools),
        output=_output(output_type),
        max_output_tokens=_limit(max_output_tokens),
        temperature=_temperature(temperature),
        stop=_texts("stop", (stop,) if isinstance(stop, str) else stop),
        seed=_seed(seed),
        timeout=_timeout(timeout),
        privacy=_privacy(privacy),
        priority=_priority(priority),
        model=_word("model", model),
        metadata=_metadata(metadata),
        streaming=streaming,
        call_id=_call_id(),
    )


def embed_request(
    agent: str,
    inputs: str | Sequence[str],
    *,
    task: str | None = None,
    timeout: float | None = None,
    privacy: Privacy | None = None,
    priority: Priority = "interactive",
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Request:
    """Build the request of `embed`.

    Raises:
        InvalidRequestError: An argument is wrong; the message says which, and how.
    """
    texts = _texts("inputs", (inputs,) if isinstance(inputs, str) else inputs)
    _require(bool(texts), "inputs is empty.", "Give at least one text.")
    return Request(
        agent=_name("agent", agent),
        inputs=texts,
        operation="embed",
        task=_word("task", task),
        timeout=_timeout(timeout),
        privacy=_privacy(privacy),
        priority=_priority(priority),
        model=_word("model", model),
        metadata=_metadata(metadata),
        call_id=_call_id(),
    )


def _call_id() -> str:
    """Return a new id, in hexadecimal: a UUID of version 7 (RFC 9562).

    Ids of one time lie together, which keeps a ledger of millions of them quick.
    """
    milliseconds = time.time_ns() // _NANOSECONDS
    random = int.from_bytes(os.urandom(10))
    number = (milliseconds << 80 | random) & ~_FIXED_BITS | _VERSION_7
    return f"{number:032x}"


def _require(condition: bool, what: str, remedy: str) -> None:  # noqa: FBT001 - an assertion's shape
    if not condition:
        raise InvalidRequestError(what, remedy=remedy)


def _name(argument: str, value: str) -> str:
    _require(
        isinstance(value, str) and bool(value.strip()),
        f"{argument} must be a non-empty string, not {_shape(value)}.",
        "Pass the agent's id as the configuration writes it.",
    )
    return value


def _word(argument: str, value: str | None) -> str | None:
    if value is not None:
        _require(
            isinstance(value, str) and bool(value.strip()),
            f"{argument} must be a name that is not blank, not {_shape(value)}.",
            "Leave it out for what the agent's configuration says.",
        )
    return value


def _seed(value: int | None) -> int | None:
    _require(
        value is None or (_is_whole_number(value) and value.bit_length() <= _WORD_BITS),
        "seed must be a whole number between -2**63 and 2**63, or None, "
        f"not {_shown(value)}.",
        "Pass an int, or leave it out.",
    )
    return value


def _messages(
    prompt: str | Sequence[Message], system: str | None
) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        turns: tuple[Message, ...] = (Message.user(prompt),)
        _require(bool(prompt.strip()), "prompt is empty.", "Say what you want done.")
    else:
        turns = _sequence(
            "prompt", prompt, Message, expected="a string or Message objects"
        )
        _require(
            any(turn.role != "system" and turn.parts for turn in turns),
            "prompt has no message to answer.",
            "Add Message.user(...).",
        )
    if system is not None:
        _texts("system", (system,))
        turns = (Message.system(system), *turns)
    _require(
        all(_is_whole(text) for turn in turns for text in turn.texts()),
        "prompt holds half a character (a lone surrogate).",
        "Read the text as UTF-8, or drop what cannot be read.",
    )
    return turns


def _is_whole(text: str) -> bool:
    """Whether a text can be written as UTF-8: no wire takes half a character."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tools(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    known = _sequence("tools", tools, Tool, expected="Tool objects")
    names = [tool.name for tool in known]
    _require(
        len(set(names)) == len(names),
        "two tools have the same name.",
        "Rename one.",
    )
    return known


def _output(output_type: object) -> OutputSpec | None:
    if output_type is None:
        return None
    from model_manager._output import output_spec  # noqa: PLC0415 - brings pydantic

    return output_spec(output_type)


def _texts(argument: str, values: Sequence[str]) -> tuple[str, ...]:
    return _sequence(argument, values, str, expected="strings")


def _sequence(
    argument: str, values: Sequence[Item], kind: type[Item], *, expected: str
) -> tuple[Item, ...]:
    _require(
        isinstance(values, Sequence) and not isinstance(values, bytes),
        f"{argument} must be {expected}, not {_shape(values)}.",
        "Pass a list or a tuple.",
    )
    for place, value in enumerate(values):
        _require(
            isinstance(value, kind),
            f"{argument}[{place}] is a {_shape(value)}; expected {expected}.",
            f"Build it with {kind.__name__}.",
        )
    return tuple(values)


def _timeout(value: float | None) -> float | None:
    _require(
        value is None or (_is_number(value) and 0 < value <= _DAY),
        "timeout must be a number above 0, in seconds, and at most "
        f"{_DAY} (a day), not {_shown(value)}.",
        "Leave it out for the configured default.",
    )
    return value


def _limit(value: int | None) -> int | None:
    _require(
        value is None or (_is_whole_number(value) and 0 < value <= _MOST_TOKENS),
        "max_output_tokens must be a whole number above 0, and at most "
        f"{_MOST_TOKENS}, not {_shown(value)}.",
        "Pass an int, or leave it out.",
    )
    return value


def _privacy(value: Privacy | None) -> Privacy | None:
    _require(
        value is None or value in _PRIVACY,
        f"privacy must be one of {_PRIVACY}, not {value!r}.",
        "'local_only' keeps the call on this machine; leave it out otherwise.",
    )
    return value


def _priority(value: Priority) -> Priority:
    _require(
        value in _PRIORITIES,
        f"priority must be one of {_PRIORITIES}, not {value!r}.",
        "'batch' lets interactive calls go first where calls queue.",
    )
    return value


def _metadata(value: Mapping[str, str] | None) -> Mapping[str, str]:
    if value is None:
        return {}
    _require(
        isinstance(value, Mapping)
        and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()),
        "metadata must map strings to strings.",
        "Convert the values with str().",
    )
    return dict(value)


def _temperature(value: float | None) -> float | None:
    _require(
        value is None or (_is_number(value) and 0 <= value <= _HOTTEST),
        f"temperature must be a number from 0 to {_HOTTEST}, not {_shown(value)}.",
        "Most work wants 0 to 1.",
    )
    return value


def _is_number(value: object) -> bool:
    """Whether a value is of a number's type; NaN is, and fails every bound."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """Return a number for a message; of anything else, and of a long one, the kind."""
    if isinstance(value, int) and value.bit_length() > _WORD_BITS:
        return "one that long"
    if isinstance(value, (int, float)):
        return repr(value)
    return _shape(value)


def _shape(value: object) -> str:
    if isinstance(value, str) and not value.strip():
        return "a blank one"
    return type(value).__name__
