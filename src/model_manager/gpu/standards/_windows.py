"""Reads batch files and scripts of PowerShell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from model_manager.gpu.standards._lines import (
    SERVER,
    Event,
    Setting,
    Sourced,
    is_name,
    launch_in,
    span_of,
)

_REMARKS: Final = ("rem ", "rem\t", "::", "@rem ")
_CONDITIONS: Final = ("if ", "if(", "else", "for ", ") else")
_SET_IN: Final = "setenvironmentvariable("
_SCOPED: Final = 3


def batch_events(lines: Sequence[str]) -> Iterator[Event]:
    """Yield what a batch file sets and starts."""
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        low = text.strip().lower()
        if low.startswith(_REMARKS) or low == "rem":
            continue
        unsure = low.lstrip("@ (").startswith(_CONDITIONS)
        for start, command in _commands(text):
            yield from _batch(
                number, text, start=start, command=command, sure=not unsure
            )


def powershell_events(lines: Sequence[str]) -> Iterator[Event]:
    """Yield what a script of PowerShell sets and starts."""
    is_comment = False
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        low = text.lower()
        is_comment = (is_comment or "<#" in low) and "#>" not in low
        if is_comment or low.lstrip().startswith("#"):
            continue
        sure = not low.lstrip(" }").startswith(_CONDITIONS)
        yield from _env_drive(number, text, sure=sure)
        yield from _set_call(number, text)
        # Whichever way a script is run, `$env:` is that of the whole process.
        is_run = text.lstrip().startswith((". ", "& ", ".\\"))
        if is_run and (path := _script_in(text, (".ps1",))):
            yield Sourced(line=number, column=1, path=path, counts=sure)
        words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
        words = [word.strip("\"'") for word in words]
        # `Start-Process NAME -ArgumentList "serve"` is a start as well.
        words = [
            word for word in words if word.lower() not in {"-argumentlist", "-filepath"}
        ]
        yield from launch_in(words, line=number, column=1)


def _batch(
    number: int, text: str, *, start: int, command: str, sure: bool
) -> Iterator[Event]:
    words = [word.strip('"') for word in command.split()]
    low = [word.lower().lstrip("@(") for word in words]
    if low[:1] == ["call"] and (path := _script_in(command, (".bat", ".cmd"))):
        yield Sourced(line=number, column=start + 1, path=path, counts=sure)
        return
    verb = next((word for word in ("set", "setx") if word in low), None)
    if verb is None or SERVER in low:
        yield from launch_in(words, line=number, column=start + 1)
        return
    rest = command[command.lower().index(verb) + len(verb) :].lstrip()
    if verb == "setx":
        # It is for programs of later, not for those that this script starts.
        name, _, value = rest.partition(" ")
        value = value.strip()
        # What follows the value is for setx itself (/m), or where its words go (>nul).
        end = '"' if value.startswith('"') else " "
        value = value.removeprefix('"').partition(end)[0]
    else:
        # Without quotes all up to the end of the command is the value, spaces too.
        inner = rest[1:].rpartition('"')[0] if rest.startswith('"') else rest
        name, sign, value = inner.partition("=")
        if name.rstrip() != name:
            # The space belongs to the name: another variable is set than is meant.
            value = f"{name[len(name.rstrip()) :]}{sign}{value}"
    name = name.strip()
    if is_name(name):
        counts = sure and verb == "set"
        yield _setting(number, text, name=name, value=value, counts=counts)


def _setting(number: int, text: str, *, name: str, value: str, counts: bool) -> Setting:
    place = max(text.find(name), 0)
    known = None if "%" in value or "!" in value else value
    return Setting(
        line=number,
        column=place + 1,
        # Windows takes small letters for great ones here.
        name=name.upper(),
        value=known,
        kind="set" if value else "unset",
        span=None
        if known is None
        else span_of(text, start=place + len(name) + 1, value=known),
        counts=counts,
    )


def _script_in(command: str, ends: tuple[str, ...]) -> str:
    """Return the script that a command runs, without quotes; nothing if none."""
    text = command.strip(" \t@(")
    for verb in ("call ", ". ", "& "):
        text = text[len(verb) :].lstrip() if text.lower().startswith(verb) else text
    quote = text[:1] if text[:1] in {"'", '"'} else ""
    name = text[1:].partition(quote)[0] if quote else (text.split() or [""])[0]
    return name if name.lower().endswith(ends) else ""


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """Yield the commands of a line, parted by `&` and `|` outside quotes."""
    start, is_quoted = 0, False
    for place, letter in enumerate(text):
        if letter == '"':
            is_quoted = not is_quoted
        elif letter in "&|" and not is_quoted:
            yield start, text[start:place]
            start = place + 1
    yield start, text[start:]


def _env_drive(number: int, text: str, *, sure: bool) -> Iterator[Setting]:
    """Yield `$env:NAME = value`, and `Remove-Item Env:NAME`."""
    low = text.lower()
    place = low.find("env:")
    while place >= 0:
        begin = place + len("env:")
        end = begin
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        name = text[begin:end].upper()
        rest = text[end:].lstrip("}").lstrip()
        if low[:place].rstrip().endswith("remove-item"):
            yield Setting(
                line=number, column=begin + 1, name=name, value=None, kind="unset"
            )
        elif rest.startswith("=") and not rest.startswith("=="):
            raw = rest[1:].strip()
            yield _assigned(number, text, begin=begin, raw=raw, sure=sure)
        place = low.find("env:", end)


def _assigned(number: int, text: str, *, begin: int, raw: str, sure: bool) -> Setting:
    quote = raw[:1] if raw[:1] in {"'", '"'} else ""
    value = (
        raw[1:].partition(quote)[0]
        if quote
        else raw.partition(";")[0].partition("#")[0]
    ).strip()
    end = begin
    while text[end : end + 1].isalnum() or text[end : end + 1] == "_":
        end += 1
    known = None if "$" in value and quote != "'" else value
    if not quote and known is not None and not known.isdecimal():
        known = None
    start = text.find(raw, end)
    return Setting(
        line=number,
        column=begin + 1,
        name=text[begin:end].upper(),
        value=known,
        span=None if known is None else span_of(text, start=start, value=known),
        counts=sure,
    )


def _set_call(number: int, text: str) -> Iterator[Setting]:
    """Yield `[Environment]::SetEnvironmentVariable("NAME", "value", scope)`."""
    place = text.lower().find(_SET_IN)
    if place < 0:
        return
    inner = text[place + len(_SET_IN) :].rpartition(")")[0]
    parts = [part.strip().strip("\"'") for part in inner.split(",")]
    if len(parts) < len("kv"):
        return
    value = ",".join(parts[1:2])
    yield Setting(
        line=number,
        column=place + 1,
        name=parts[0].upper(),
        value=None if value.startswith("$") else value,
        # With a scope it is for programs of later; `Process` is for those of now.
        counts=len(parts) < _SCOPED or parts[2].lower().endswith("process"),
    )
