"""Reads shell scripts, `.env` files and units of systemd."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from model_manager.gpu.standards._lines import (
    Event,
    Kind,
    Launch,
    Setting,
    Sourced,
    Unseen,
    is_name,
    launch_in,
    span_of,
)

_OPENERS: Final = frozenset({"if", "case", "for", "while", "until", "select"})
_CLOSERS: Final = frozenset({"fi", "esac", "done"})
_WORDS: Final = frozenset({"then", "else", "elif", "do", "{", "!", "time"})
_EXPORTS: Final = frozenset({"export", "declare", "typeset", "local"})
_SOURCES: Final = frozenset({"source", "."})
_ENDS: Final = frozenset(";&|()")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with those that continue it."""

    number: int
    text: str
    is_joined: bool = False
    """Whether it is several lines of the file, so that its columns are not theirs."""


def shell_events(lines: Sequence[str]) -> Iterator[Event]:
    """Yield what a shell script sets and starts."""
    depth = 0
    exports = False
    told: dict[str, Setting] = {}
    for line in _without_documents(_continued(lines)):
        unsure = False
        for words, end in _commands(line.text):
            plain, depth = _nested(words, depth)
            exports = _exports_all(plain, before=exports)
            for event in _command(plain, line, exports=exports):
                yield _settled(event, told, sure=depth == 0 and not unsure)
            unsure = end == "||"


def _settled(event: Event, told: dict[str, Setting], *, sure: bool) -> Event:
    """Return a setting with whether it counts; `export NAME` hands on what was told."""
    if isinstance(event, Sourced):
        return replace(event, counts=sure)
    if not isinstance(event, Setting):
        return event
    counts = event.counts
    if event.kind == "export":
        event = told.get(event.name, replace(event, kind="set"))
        counts = True
    told[event.name] = event
    return replace(event, counts=counts and sure)


def dotenv_events(lines: Sequence[str]) -> Iterator[Event]:
    """Yield what a file of `NAME=value` sets."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith("#"):
            continue
        name, sign, rest = text.removeprefix("export ").partition("=")
        if sign and is_name(name.strip()):
            yield _setting(_Line(number, line), name.strip(), _unquoted(rest))


def systemd_events(lines: Sequence[str]) -> Iterator[Event]:
    """Yield what a unit sets, and then what it starts: its order means nothing."""
    launches: list[Event] = []
    for line in _continued(lines):
        key, sign, rest = line.text.partition("=")
        if not sign or line.text.lstrip().startswith(("#", ";")):
            continue
        match key.strip():
            case "Environment":
                for word in _split(rest):
                    name, _, value = word.partition("=")
                    known = None if "%" in value else value
                    yield _setting(line, name, known)
            case "EnvironmentFile" | "PassEnvironment":
                yield Unseen(line=line.number, column=1)
            case "ExecStart":
                words = _split(rest.lstrip(" -@:+!"))
                launches += launch_in(words, line=line.number, column=1)
            case _:
                continue
    yield from launches


def words_of(command: str) -> list[str]:
    """Return the words of one command of a shell."""
    return [word for words, _ in _commands(command) for word in words]


def _exports_all(words: Sequence[str], *, before: bool) -> bool:
    """Return whether all that is set from this command on is exported (`set -a`)."""
    if words[:1] != ["set"]:
        return before
    for flag, value in (("-", True), ("+", False)):
        letters = any(w[:1] == flag and "a" in w[1:] for w in words[1:])
        if letters or (f"{flag}o" in words and "allexport" in words):
            return value
    return before


def _command(
    words: Sequence[str], line: _Line, *, exports: bool = False
) -> Iterator[Event]:
    """Yield what one simple command sets and starts."""
    given: dict[str, str | None] = {}
    rest = list(words)
    while rest and _is_assignment(rest[0]):
        name, _, text = rest.pop(0).partition("=")
        given[name] = _known(text)
    if not rest:
        for name, value in given.items():
            yield replace(_setting(line, name, value), counts=exports)
        return
    verb, *operands = rest
    if verb in _EXPORTS:
        for word in operands:
            name, sign, value = word.partition("=")
            if is_name(name):
                kind: Kind = "set" if sign else "export"
                yield _setting(line, name, _known(value) if sign else None, kind=kind)
    elif verb == "unset":
        for name in operands:
            yield _setting(line, name, None, kind="unset")
    elif verb in _SOURCES and operands:
        path = operands[0]
        yield Sourced(line=line.number, column=1, path=path, exports=exports)
    else:
        yield from _start(rest, line, given)


def _start(
    words: Sequence[str], line: _Line, given: dict[str, str | None]
) -> Iterator[Event]:
    """Yield a program that is started with variables of its own."""
    for word in words:
        if _is_assignment(word) and "env" in words[:2]:
            name, _, text = word.partition("=")
            given[name] = _known(text)
    for name, value in given.items():
        yield replace(_setting(line, name, value), counts=False)
    for found in launch_in(words, line=line.number, column=1):
        yield replace(found, given=given) if isinstance(found, Launch) else found


def _setting(
    line: _Line, name: str, value: str | None, *, kind: Kind = "set"
) -> Setting:
    text = line.text
    place = max(text.find(f"{name}="), 0) or max(text.find(name), 0)
    start = place + len(name) + 1
    is_default = (
        kind == "set"
        and value is None
        and text[start : start + 40]
        .strip("\"'")
        .startswith((f"${{{name}:-", f"${{{name}-", f"${{{name}:="))
    )
    return Setting(
        line=line.number,
        column=place + 1,
        name=name,
        value=value,
        kind="default" if is_default else kind,
        span=None
        if value is None or line.is_joined
        else span_of(text, start=start, value=value),
    )


def _known(value: str) -> str | None:
    return None if "$" in value or "`" in value else value


def _is_assignment(word: str) -> bool:
    name, sign, _ = word.partition("=")
    return bool(sign) and is_name(name)


def _nested(words: list[str], depth: int) -> tuple[list[str], int]:
    """Return a command without the words around it, and how deep it stands."""
    while words:
        if words[0] in _OPENERS:
            depth += 1
        elif words[0] in _CLOSERS:
            depth = max(0, depth - 1)
        elif words[0] not in _WORDS:
            break
        words = words[1:]
    return words, depth


def _commands(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the commands of a line, and what stands behind each."""
    words: list[str] = []
    for word in _split(text, marks=True):
        if set(word) <= _ENDS:
            yield words, word
            words = []
        else:
            words.append(word)
    yield words, ""


def _split(text: str, *, marks: bool = False) -> list[str]:
    """Return the words of a line; quotes that do not end are taken as they are."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()" if marks else "")
    lexer.whitespace_split = True
    lexer.commenters = "#" if marks else ""
    try:
        return list(lexer)
    except ValueError:
        return text.split()


def _unquoted(text: str) -> str | None:
    """Return the value of a line of `.env`, without quotes and comment."""
    rest = text.strip()
    if rest[:1] in {"'", '"'}:
        inner = rest[1:].partition(rest[0])[0]
        return inner if rest[0] == "'" else _known(inner)
    return _known(rest.partition(" #")[0].rstrip())


def _continued(lines: Sequence[str]) -> Iterator[_Line]:
    """Yield lines joined with those that continue them."""
    number, text = 1, ""
    for place, line in enumerate(lines, start=1):
        text += line.rstrip("\r\n")
        if text.endswith("\\") and place < len(lines):
            text = f"{text[:-1]} "
            continue
        yield _Line(number, text, is_joined=number != place)
        number, text = place + 1, ""


def _without_documents(lines: Iterator[_Line]) -> Iterator[_Line]:
    """Leave out here-documents, which are texts for others."""
    end: str | None = None
    for line in lines:
        if end is not None:
            end = None if line.text.strip() == end else end
            continue
        yield line
        before, mark, after = line.text.partition("<<")
        if mark and not after.startswith("<") and "#" not in before:
            word = after.lstrip("- ").split()
            end = word[0].strip("\"'\\") if word else None
