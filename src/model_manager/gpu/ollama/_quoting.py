"""Values written so that a shell reads back the same text and never a command; pure.

Each function takes a value without control characters (`OllamaSettings` lets none in)
and refuses what its format has no way to write.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from model_manager.errors import InvalidRequestError

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# PowerShell takes each of these for an apostrophe: the straight one and four curved.
_APOSTROPHES: Final = re.compile("(['\u2018\u2019\u201a\u201b])")


def batch_assignment(name: str, value: str) -> str:
    """Return `set "NAME=value"` for a batch file.

    Between the quotes only `%` has a meaning, which doubling takes away. A quote would
    end them, and `!` means a variable wherever the window was opened with `/V:ON`.
    """
    return f'set "{name}={_in_batch_quotes(name, value)}"'


def batch_permanent(name: str, value: str) -> str:
    """Return `setx NAME "value"` for a batch file.

    `setx` is a program, which takes a backslash before a quote for part of the value:
    those at the end are doubled.
    """
    quoted = _in_batch_quotes(name, value)
    ending = quoted[len(quoted.rstrip("\\")) :]
    return f'setx {name} "{quoted}{ending}"'


def powershell_assignment(name: str, value: str) -> str:
    """Return `$env:NAME = 'value'`; between apostrophes nothing else has a meaning."""
    _refuse(name, value, _CONTROL, system="a PowerShell script")
    quoted = _APOSTROPHES.sub(r"\1\1", value)
    return f"$env:{name} = '{quoted}'"


def shell_assignment(name: str, value: str) -> str:
    """Return `export NAME='value'` for bash and its relatives."""
    _refuse(name, value, _CONTROL, system="a shell script")
    return f"export {name}={shlex.quote(value)}"


def unit_assignment(name: str, value: str) -> str:
    r"""Return `Environment="NAME=value"` for a unit of systemd.

    Between quotes `\` and `"` are escaped, and `%`, which begins systemd's own
    placeholders, is doubled (`systemd.syntax(7)`, `systemd.unit(5)`).
    """
    _refuse(name, value, _CONTROL, system="a unit of systemd")
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'Environment="{name}={quoted}"'


def _in_batch_quotes(name: str, value: str) -> str:
    unwritable = re.compile(_CONTROL.pattern + '|["!]')
    _refuse(name, value, unwritable, system="a batch file")
    return value.replace("%", "%%")


def _refuse(name: str, value: str, unwritable: re.Pattern[str], *, system: str) -> None:
    match = unwritable.search(value)
    if match is None:
        return
    message = f"{name} holds {match[0]!r}, which {system} cannot write safely."
    raise InvalidRequestError(message, remedy="Rename what it names.")
