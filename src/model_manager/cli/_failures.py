"""How a command ends when it does not go well: two lines and an exit code."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from rich.text import Text

from model_manager.cli._screen import console
from model_manager.errors import (
    AllCandidatesFailedError,
    BadRequestError,
    CallTimeoutError,
    ConfigError,
    ContentFilterError,
    ContextWindowError,
    GpuError,
    InvalidRequestError,
    NoCandidateError,
    ProviderError,
    StreamBrokenError,
    UnknownAgentError,
)
from model_manager.types import AttemptRecord

UNEXPECTED = 1
CONFIGURATION = 3
NOBODY = 4
FAILED = 5
INVALID = 6
INTERRUPTED = 130
READER_LEFT = 141
"""What a shell reports for a program that ends because its pipe was closed."""

EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        0: "it worked",
        1: "something unexpected",
        2: "the command was written wrongly",
        3: "the configuration is missing or wrong, or the card may not be used",
        4: "nobody may answer, e.g. because the work must stay on this machine",
        5: "everybody who may answer failed, time was up, or the answer broke off",
        6: "the call itself is wrong: unknown agent or model, refused request",
        130: "interrupted",
        141: "the reader of the output went away",
    }
)
"""What scripts can rely on."""

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, CONFIGURATION),
    (GpuError, CONFIGURATION),
    (NoCandidateError, NOBODY),
    (AllCandidatesFailedError, FAILED),
    (CallTimeoutError, FAILED),
    (StreamBrokenError, FAILED),
    (UnknownAgentError, INVALID),
    (InvalidRequestError, INVALID),
    (BadRequestError, INVALID),
    (ContentFilterError, INVALID),
    (ContextWindowError, INVALID),
    (ProviderError, FAILED),
)
_OUTPUT_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_DETAILS = "Run again with 'model-manager --verbose' to see every attempt."


def tell(error: BaseException, *, verbose: bool) -> int:
    """Print an error to stderr, as what happened and what to do; return its code."""
    code = _code_of(error)
    usage = _usage_of(error)
    if usage is not None and not usage[0].strip():
        return code  # A group without a command: its help was printed instead.
    what, *others = _lines(error, code)
    remedy = others.pop()
    if len(getattr(error, "attempts", ())) > 1 and not verbose:
        remedy = f"{remedy} {_DETAILS}"
    screen = console(stderr=True)
    screen.print(Text.assemble(("Error: ", "bold red"), what), soft_wrap=True)
    for line in others:
        screen.print(Text(f"  - {line}"), soft_wrap=True)
    screen.print(Text.assemble(("Try: ", "bold"), remedy), soft_wrap=True)
    if verbose:
        for line in _more(error, code):
            screen.print(Text(line, style="dim"), soft_wrap=True)
    return code


def _code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if _usage_of(error) is not None:
        return int(getattr(error, "exit_code", 2))
    found = (code for kind, code in _CODES if isinstance(error, kind))
    return next(found, UNEXPECTED)


def _usage_of(error: BaseException) -> tuple[str, str] | None:
    """Return what was wrong with the arguments, and of which command.

    By shape, because typer keeps the class of these errors to itself.
    """
    message = getattr(error, "format_message", None)
    if not callable(message):
        return None
    command = getattr(getattr(error, "ctx", None), "command_path", None)
    return str(message()), str(command or "model-manager")


def _lines(error: BaseException, code: int) -> Iterator[str]:
    if isinstance(error, KeyboardInterrupt):
        yield "interrupted before the work was done."
        yield "run the command again; nothing more is sent."
        return
    usage = _usage_of(error)
    if usage is not None:
        message, command = usage
        yield _one_line(message)
        yield f"{command} --help"
        return
    if isinstance(error, OSError) and error.errno in _OUTPUT_FAULTS:
        yield f"the output cannot be written: {os.strerror(error.errno or 0).lower()}."
        yield "make room there, or write it elsewhere."
        return
    what = getattr(error, "what", None)
    if what is None and code == UNEXPECTED:
        yield f"unexpected {type(error).__name__}."
        yield "run again with 'model-manager --verbose' to see where it came from."
        return
    first, _, listed = str(error if what is None else what).strip().partition("\n")
    problems = list(getattr(error, "problems", ()))
    if listed and len(problems) == 1:
        first, listed = f"{first.rstrip('.')}: {problems[0]}", ""
    yield _one_line(first if problems else f"{first} {listed}")
    if listed:
        yield from (_one_line(str(problem)) for problem in problems)
    yield _one_line(getattr(error, "remedy", "")) or "see docs/errors.md."


def story_of(attempts: Iterable[AttemptRecord]) -> Iterator[str]:
    """Yield a line for every attempt: who, how long, what happened, what was done."""
    for attempt in attempts:
        reason = attempt.error.what if attempt.error is not None else attempt.outcome
        yield (
            f"  {attempt.number or '-'}. {attempt.candidate.label},"
            f" {attempt.seconds:.2f} s:"
            f" {_one_line(str(reason))} ({attempt.decision or 'the last one'})"
        )


def _more(error: BaseException, code: int) -> Iterator[str]:
    yield from story_of(getattr(error, "attempts", ()))
    if code == UNEXPECTED:
        # Frames only: an exception's own words might repeat a prompt or an answer.
        for frame in traceback.extract_tb(error.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
