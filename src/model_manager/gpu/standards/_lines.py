"""What scripts of other languages say of the environment, read line by line.

A script for a shell is not followed as Python is: a setting counts from its line on,
unless it stands under a condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

LineFormat: TypeAlias = Literal["batch", "powershell", "shell", "dotenv", "systemd"]
Kind: TypeAlias = Literal["set", "default", "unset", "export"]
"""What happens to a variable; `export` of a shell hands on what it is."""

FORMATS: Final[Mapping[str, LineFormat]] = MappingProxyType(
    {
        ".bat": "batch",
        ".cmd": "batch",
        ".ps1": "powershell",
        ".psm1": "powershell",
        ".sh": "shell",
        ".bash": "shell",
        ".zsh": "shell",
        ".env": "dotenv",
        ".service": "systemd",
        ".conf": "systemd",
    }
)
"""The ends of names, and how such files are read."""

_PYTHONS: Final = ("python", "pythonw", "py", "pypy")
_LAUNCHERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "torchrun": "torch",
        "accelerate": "accelerate",
        "deepspeed": "deepspeed",
        "vllm": "vllm",
    }
)
"""Programs that come with a CUDA library, and the library."""
_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl"})
"""What starts containers and knows `--gpus`."""
SERVER: Final = "ollama"
"""The server of local models, which uses every card that it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A variable that a script sets, or takes away."""

    line: int
    column: int
    """Where the name stands, from 1."""
    name: str
    value: str | None
    """`None`: only a run can tell."""
    kind: Kind = "set"
    span: tuple[int, int] | None = None
    """The columns of the value without its quotes, the last one behind it."""
    counts: bool = True
    """Whether programs below this line certainly get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A program that a script starts and that may use the card."""

    line: int
    column: int
    program: str
    """`ollama serve`, `torchrun`, or the path of a Python script."""
    module: str | None = None
    """The module, where it is `python -m MODULE`."""
    given: Mapping[str, str | None] = field(default_factory=dict)
    """Variables that stand before it and are for it alone."""

    @property
    def is_server(self) -> bool:
        """Whether it is the server of local models."""
        return self.program.startswith(SERVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A place where variables come from another file."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A place where another script of the same kind is run for what it sets."""

    line: int
    column: int
    path: str
    """As it is written there."""
    exports: bool = False
    """Whether all that it sets is for programs too, as after `set -a` of a shell."""
    counts: bool = True
    """Whether it is certainly run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that a script starts and gives cards."""

    line: int
    column: int
    program: str
    gpus: str
    """What `--gpus` says: `all`, a number, or `device=` and names of cards."""


Event: TypeAlias = Setting | Launch | Unseen | Sourced | Container


def launch_in(
    words: Sequence[str], *, line: int, column: int
) -> Iterator[Launch | Container]:
    """Yield the program that a command starts, where it may use the card."""
    for place, word in enumerate(words):
        name = _program(word)
        rest = words[place + 1 :]
        if name in _CONTAINERS:
            for gpus in _gpus_of(rest):
                yield Container(line=line, column=column, program=name, gpus=gpus)
            return
        if name == SERVER and "serve" in rest[:1]:
            yield Launch(line=line, column=column, program=f"{SERVER} serve")
            return
        if name in _LAUNCHERS and rest:
            yield Launch(
                line=line, column=column, program=name, module=_LAUNCHERS[name]
            )
            return
        if name.rstrip("0123456789.") in _PYTHONS:
            yield from _python(rest, line=line, column=column)
            return


def _gpus_of(words: Sequence[str]) -> Iterator[str]:
    """Yield what a container is given of the cards."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option, sign, value = word.partition("=")
        if option == "--gpus":
            yield (value if sign else after).strip("\"'")


def _python(words: Sequence[str], *, line: int, column: int) -> Iterator[Launch]:
    """Yield the script or the module that Python is given."""
    for place, word in enumerate(words):
        if word == "-m" and place + 1 < len(words):
            module = words[place + 1]
            yield Launch(line=line, column=column, program=module, module=module)
            return
        if word.endswith((".py", ".pyw")):
            yield Launch(line=line, column=column, program=word)
            return
        if not word.startswith("-"):
            return


def _program(word: str) -> str:
    """Return the name of a program without its folder and its `.exe`."""
    name = word.strip("\"'&").replace("\\", "/").rpartition("/")[2].lower()
    return name.removesuffix(".exe")


def span_of(text: str, *, start: int, value: str) -> tuple[int, int] | None:
    """Return the columns of a value that begins at a place, behind a quote or not."""
    for skip in (0, 1):
        if text.startswith(value, start + skip) and value:
            begin = start + skip + 1
            return begin, begin + len(value)
    return None


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a variable."""
    return text.isidentifier() and text.isascii()
