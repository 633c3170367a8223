"""The head of a model's file: its keys and its list of tensors, never its weights.

The format is that of ggml-org/ggml, docs/gguf.md, versions 2 and 3. The head of a usual
model holds half a million strings that nobody needs here; they are stepped over, which
takes a tenth of a second and a few megabytes. Nothing in a file is believed: every
length is held against what is really there before anything is kept.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final, TypeAlias

from model_manager.errors import InvalidRequestError
from model_manager.gpu.vram._ggml import TYPE_NAMES, tensor_bytes

Tensor: TypeAlias = tuple[str, str, tuple[int, ...]]
"""Name, type and dimensions, rows first."""

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_CHUNK: Final = 1024**2
# Real heads stay far below these; together they bound what a hostile one can take.
_LONGEST_HEAD: Final = 64 * _CHUNK
_MOST_KEYS: Final = 1024
_MOST_TENSORS: Final = 65536
_LONGEST_NAME: Final = 1024
_KEPT_NUMBERS: Final = 1024
"""Numbers of a list up to which it is kept; it has one for each layer at most."""
_KEPT_TEXT: Final = 4096
_DIMENSIONS: Final = 4
_ALIGNMENT: Final = 32
_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        _BOOL: "?",
        10: "Q",
        11: "q",
        12: "d",
    }
)
"""A value's type -> its letter in `struct`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says before its weights."""

    keys: Mapping[str, object]
    tensors: tuple[Tensor, ...]
    tokens: int | None
    """Length of the list of tokens, which is not kept."""
    size: int
    """Bytes of the whole file."""


class _BrokenError(Exception):
    """Raised for what is no such file; says why."""


def read_head(path: Path) -> Head:
    """Read the head of a model's file.

    Raises:
        InvalidRequestError: It cannot be read, is no GGUF file, or a part is missing.
    """
    broken = "is not there, or no file"
    try:
        # A pipe would keep whoever opens it waiting.
        if path.is_file():
            with path.open("rb") as file:
                return _Reader(file).head()
    except OSError as error:
        broken = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
    except _BrokenError as error:
        broken = str(error)
    message = f"the model file {path} {broken}."
    remedy = "Give the path of a whole GGUF file; a download may have been cut off."
    raise InvalidRequestError(message, remedy=remedy)


class _Reader:
    """Reads on through a file, piece by piece, and no further than the head."""

    def __init__(self, file: BinaryIO) -> None:
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._file = file
        self._held = bytearray()
        self._at = 0

    def head(self) -> Head:
        """Return the head.

        Raises:
            _BrokenError: This is no such file.
        """
        self._check_kind()
        tensors, keys = self._unpack("QQ")
        if tensors > _MOST_TENSORS or keys > _MOST_KEYS:
            message = f"claims {tensors} tensors and {keys} keys"
            raise _BrokenError(message)
        found: dict[str, object] = {}
        tokens = None
        for _ in range(keys):
            key = self._text(_LONGEST_NAME)
            value, length = self._value(self._unpack("I")[0])
            if key in found:
                message = f"has the key {key[:80]!r} twice"
                raise _BrokenError(message)
            found[key] = value
            if key == "tokenizer.ggml.tokens":
                tokens = length
        listed = self._tensors(tensors, alignment=found.get("general.alignment"))
        return Head(keys=found, tensors=listed, tokens=tokens, size=self._size)

    def _check_kind(self) -> None:
        if self._take(4) != _MAGIC:
            message = "is no GGUF file"
            raise _BrokenError(message)
        (version,) = self._unpack("I")
        if version not in _VERSIONS:
            is_swapped = version & 0xFFFF == 0
            kind = "of the other byte order" if is_swapped else f"of version {version}"
            message = f"is a GGUF file {kind}, which cannot be read here"
            raise _BrokenError(message)

    def _need(self, count: int) -> None:
        """Have so many bytes at hand.

        Raises:
            _BrokenError: They are not there, or the head has no end.
        """
        end = self._at + count
        if end <= len(self._held):
            return
        if end > self._size:
            message = "ends in the middle of its head"
            raise _BrokenError(message)
        if end > _LONGEST_HEAD:
            message = f"has a head of more than {_LONGEST_HEAD // _CHUNK} MiB"
            raise _BrokenError(message)
        while len(self._held) < end:
            more = self._file.read(max(_CHUNK, end - len(self._held)))
            if not more:
                message = "ends in the middle of its head"
                raise _BrokenError(message)
            self._held += more

    def _take(self, count: int) -> bytes:
        self._need(count)
        self._at += count
        return bytes(self._held[self._at - count : self._at])

    def _unpack(self, letters: str) -> tuple[int, ...]:
        return struct.unpack(f"<{letters}", self._take(struct.calcsize(f"<{letters}")))

    def _text(self, most: int) -> str:
        (length,) = self._unpack("Q")
        if length > most:
            message = f"has a name of {length} bytes"
            raise _BrokenError(message)
        return self._take(length).decode("utf-8", "replace")

    def _value(self, kind: int) -> tuple[object, int]:
        """Return a value and the length of a list; `None` for what is not kept."""
        if kind == _STRING:
            (length,) = self._unpack("Q")
            if length > _KEPT_TEXT:
                self._skip(length)
                return None, 0
            return self._take(length).decode("utf-8", "replace"), 0
        if kind == _ARRAY:
            return self._array()
        return self._number(kind)[0], 0

    def _number(self, kind: int, count: int = 1) -> tuple[float, ...]:
        letter = _NUMBERS.get(kind)
        if letter is None:
            message = f"has a value of the unknown type {kind}"
            raise _BrokenError(message)
        return struct.unpack(
            f"<{count}{letter}", self._take(count * struct.calcsize(f"<{letter}"))
        )

    def _array(self) -> tuple[object, int]:
        kind, length = self._unpack("IQ")
        if kind == _STRING:
            self._skip_texts(length)
            return None, length
        if kind not in _NUMBERS:
            message = f"has a list of the unknown type {kind}"
            raise _BrokenError(message)
        if length <= _KEPT_NUMBERS:
            return list(self._number(kind, length)), length
        self._skip(length * struct.calcsize(f"<{_NUMBERS[kind]}"))
        return None, length

    def _skip(self, count: int) -> None:
        self._need(count)
        self._at += count

    def _skip_texts(self, count: int) -> None:
        """Step over texts; each takes 8 bytes at least, so that the end is near."""
        if count * 8 > self._size:
            message = f"claims a list of {count} texts"
            raise _BrokenError(message)
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if self._at + 8 > len(self._held):
                self._need(8)
            (length,) = length_of(self._held, self._at)
            if self._at + 8 + length > len(self._held):
                self._need(8 + length)
            self._at += 8 + length

    def _tensors(self, count: int, *, alignment: object) -> tuple[Tensor, ...]:
        """Return the list of tensors, all of which lie in the file.

        Raises:
            _BrokenError: The list is broken, or weights are missing.
        """
        found: list[Tensor] = []
        end = 0
        for _ in range(count):
            tensor, place = self._tensor()
            found.append(tensor)
            end = max(end, place + (tensor_bytes(tensor[1], tensor[2]) or 0))
        step = alignment if isinstance(alignment, int) and alignment > 0 else _ALIGNMENT
        start = -(-self._at // step) * step
        if end and start + end > self._size:
            message = f"ends {start + end - self._size} bytes before its weights do"
            raise _BrokenError(message)
        if len({name for name, _, _ in found}) != len(found):
            message = "lists a tensor twice"
            raise _BrokenError(message)
        return tuple(found)

    def _tensor(self) -> tuple[Tensor, int]:
        name = self._text(_LONGEST_NAME)
        (dimensions,) = self._unpack("I")
        if not 0 < dimensions <= _DIMENSIONS:
            message = f"has a tensor of {dimensions} dimensions"
            raise _BrokenError(message)
        sizes = self._unpack(f"{dimensions}Q")
        kind, place = self._unpack("IQ")
        return (name, TYPE_NAMES.get(kind, f"number {kind}"), sizes), place
