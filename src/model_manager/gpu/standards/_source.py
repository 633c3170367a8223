"""A file's text with its places: what is needed to show and to change it exactly."""

from __future__ import annotations

import codecs
import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from model_manager.gpu.standards._findings import Edit
from model_manager.gpu.standards._trace import Node

_WIDE: Final = (
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)


class UndecodableError(Exception):
    """Raised when bytes are not text; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The text of a file, and how it was written down."""

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""
    """The byte order mark that the file begins with."""
    floors: Sequence[int] = field(default=())
    """Lines that begin a cell, where the text is that of a notebook."""

    @cached_property
    def lines(self) -> list[str]:
        """The lines with their ends, parted as Python parts them."""
        return list(io.StringIO(self.text, newline=""))

    @cached_property
    def newline(self) -> str:
        """What ends the first line; a line feed where there is none."""
        first = self.lines[0] if self.lines else ""
        return next((end for end in ("\r\n", "\n", "\r") if first.endswith(end)), "\n")

    def column(self, line: int, offset: int) -> int:
        """Return the column, from 1, of a place that `ast` counts in UTF-8 bytes."""
        if line > len(self.lines):
            return 1
        text = self.lines[line - 1]
        if text.isascii():
            return offset + 1
        return (
            len(
                text.encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore")
            )
            + 1
        )

    def start(self, node: Node) -> tuple[int, int]:
        """Return line and column where a node begins."""
        return node.lineno, self.column(node.lineno, node.col_offset)

    def end(self, node: Node) -> tuple[int, int]:
        """Return line and column behind the end of a node."""
        line = node.end_lineno or node.lineno
        return line, self.column(line, node.end_col_offset or 0)

    def segment(self, node: Node) -> str:
        """Return the text of a node."""
        begin, end = self.offset(*self.start(node)), self.offset(*self.end(node))
        return self.text[begin:end]

    def replace(self, node: Node, text: str) -> Edit:
        """Return the edit that puts a text in the place of a node."""
        line, column = self.start(node)
        end_line, end_column = self.end(node)
        return Edit(
            line=line,
            column=column,
            end_line=end_line,
            end_column=end_column,
            text=text,
        )

    def insert_above(self, line: int, text: str) -> Edit:
        """Return the edit that puts whole lines in above a line."""
        return self._at(line, 1, text)

    def insert_below(self, line: int, text: str) -> Edit:
        """Return the edit that puts whole lines in below a line, in the same cell."""
        last = line >= len(self.lines) or line + 1 in self.floors
        if not last:
            return self._at(line + 1, 1, text)
        body = self.lines[line - 1].rstrip("\r\n")
        is_open = not self.floors and body == self.lines[line - 1]
        if is_open or self.floors:
            return self._at(line, len(body) + 1, f"\n{text.rstrip()}")
        return self._at(line, len(self.lines[line - 1]) + 1, text)

    def _at(self, line: int, column: int, text: str) -> Edit:
        return Edit(
            line=line,
            column=column,
            end_line=line,
            end_column=column,
            text=text.replace("\n", self.newline),
        )

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line))
        return starts

    def offset(self, line: int, column: int) -> int:
        """Return where a place is in the text."""
        return min(
            self._starts[min(line, len(self._starts)) - 1] + column - 1, len(self.text)
        )

    def edited(self, edits: Sequence[Edit]) -> str:
        """Return the text after edits; of two that meet, the first one is made."""
        parts: list[str] = []
        done = 0
        for edit in sorted(dict.fromkeys(edits), key=lambda e: (e.line, e.column)):
            begin = self.offset(edit.line, edit.column)
            end = self.offset(edit.end_line, edit.end_column)
            if begin < done:
                continue
            parts += [self.text[done:begin], edit.text]
            done = end
        return "".join([*parts, self.text[done:]])

    def encoded(self, text: str) -> bytes:
        """Return a changed text as the file's bytes.

        Raises:
            UnicodeEncodeError: The file's encoding does not have a letter of it.
        """
        return self.mark + text.encode(self.encoding)


def python_source(data: bytes) -> Source:
    """Decode a Python file as Python does: by its mark, its coding line, or as UTF-8.

    Raises:
        UndecodableError: It is not text in that encoding, or nobody knows the encoding.
    """
    # Python also ends lines where old Macs did, and the tokenizer here does not.
    plain_ends = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(plain_ends).readline)
    except SyntaxError as error:
        raise UndecodableError(str(error.msg)) from None
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    plain = "utf-8" if encoding == "utf-8-sig" else encoding
    return Source(text=_decoded(data[len(mark) :], plain), encoding=plain, mark=mark)


def plain_source(data: bytes) -> Source:
    """Decode a file of lines: by its mark, as UTF-8, or as the old Windows text."""
    for mark, encoding in _WIDE:
        if data.startswith(mark):
            text = _decoded(data[len(mark) :], encoding)
            return Source(text=text, encoding=encoding, mark=mark)
    try:
        return Source(text=data.decode("utf-8"))
    except UnicodeDecodeError:
        # Every byte is a letter there, so nothing of it is lost.
        return Source(text=data.decode("latin-1"), encoding="latin-1")


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        reason = getattr(error, "reason", str(error))
        message = f"it is not {encoding}: {reason}"
        raise UndecodableError(message) from None
