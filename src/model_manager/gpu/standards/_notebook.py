"""Reads a notebook as one program: its cells of code, one below the other.

What is not Python keeps its place as blanks, so that every place in the joined text is
one place in one cell, and a change of the text is a change of one cell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from model_manager.gpu.standards._findings import Edit
from model_manager.gpu.standards._parse import parse
from model_manager.gpu.standards._source import Source, UndecodableError

_PYTHON_CELLS: Final = frozenset(
    {"time", "timeit", "capture", "prun", "python", "python3", "memit", "mprun"}
)
"""Magics of a cell whose rest is Python of this kernel."""
_SHELL_CELLS: Final = frozenset({"bash", "sh", "script", "system", "sx", "!"})
_ENV: Final = ("%env ", "%set_env ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of code in the joined text."""

    number: int
    """Among all cells of the notebook, from 1."""
    first: int
    """Its first line in the joined text."""
    place: int
    """Its place in the notebook's list."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """A notebook of Python."""

    data: dict[str, Any]
    cells: tuple[Cell, ...]
    source: Source
    """Its Python, with everything else blanked."""
    magic: Mapping[int, tuple[str, str | None]]
    """Variables that `%env` sets, by line of the joined text."""
    shell: Source
    """What goes to a shell, on the same lines."""
    written: str = ""
    """The file's text."""
    layout: dict[str, Any] = field(default_factory=dict)
    """How the file is written, where a change can keep that; else empty."""

    def cell_at(self, line: int) -> Cell:
        """Return the cell that holds a line of the joined text."""
        found = [cell for cell in self.cells if cell.first <= line]
        return found[-1] if found else self.cells[0]

    def edited(self, edits: Sequence[Edit]) -> str:
        """Return the file's text after edits of the joined text."""
        data = json.loads(self.written)
        for cell in self.cells:
            own = [_moved(e, cell.first) for e in edits if self.cell_at(e.line) is cell]
            if own:
                text = Source(text=cell.text).edited(own)
                old = data["cells"][cell.place]["source"]
                new = text if isinstance(old, str) else text.splitlines(keepends=True)
                data["cells"][cell.place]["source"] = new
        return _dumped(data, self.layout)


def notebook_of(text: str) -> Notebook | None:
    """Read a notebook; `None` where it is not one of Python.

    Raises:
        UndecodableError: It is not a notebook.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"it is not JSON: {error}"
        raise UndecodableError(message) from None
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        message = "it is not a notebook of format 4"
        raise UndecodableError(message)
    if _language(data) not in {"python", ""}:
        return None
    return _joined(data, text)


def _joined(data: dict[str, Any], written: str) -> Notebook:
    cells: list[Cell] = []
    python: list[str] = []
    shell: list[str] = []
    magic: dict[int, tuple[str, str | None]] = {}
    for place, raw in enumerate(data["cells"]):
        text = _source_of(raw)
        if text is None:
            continue
        first = len(python) + 1
        cells.append(Cell(number=place + 1, first=first, place=place, text=text))
        reader = _CellReader(text)
        for line, name_and_value in reader.magic.items():
            magic[first + line] = name_and_value
        python += reader.python
        shell += reader.shell
    source = Source(text="".join(python), floors=tuple(cell.first for cell in cells))
    return Notebook(
        data=data,
        cells=tuple(cells),
        source=source,
        magic=magic,
        shell=Source(text="".join(shell)),
        written=written,
        layout=_layout_of(data, written),
    )


class _CellReader:
    """Parts a cell into Python and what goes to a shell."""

    def __init__(self, text: str) -> None:
        self.python: list[str] = []
        self.shell: list[str] = []
        self.magic: dict[int, tuple[str, str | None]] = {}
        lines = Source(text=text).lines or [""]
        if lines[-1] == lines[-1].rstrip("\r\n"):
            lines[-1] += "\n"
        head = lines[0].lstrip()
        kind = _word_behind(head, "%%") if head.startswith("%%") else ""
        if kind and kind not in _PYTHON_CELLS:
            self._foreign(lines, is_shell=kind in _SHELL_CELLS)
            return
        if not kind and _is_python(text):
            self.python += lines
            self.shell += [line[len(line.rstrip("\r\n")) :] for line in lines]
            return
        goes_on = False
        for place, line in enumerate(lines):
            if goes_on:
                self._foreign([line], is_shell=False)
            else:
                self._line(line, place, is_head=bool(kind) and place == 0)
            was_magic = goes_on or line.lstrip().startswith(("%", "!"))
            goes_on = was_magic and line.rstrip().endswith("\\")

    def _foreign(self, lines: Sequence[str], *, is_shell: bool) -> None:
        for place, line in enumerate(lines):
            end = line[len(line.rstrip("\r\n")) :]
            self.python.append(_hidden(line, "#"))
            self.shell.append(line if is_shell and place else end)

    def _line(self, line: str, place: int, *, is_head: bool) -> None:
        text = line.strip()
        end = line[len(line.rstrip("\r\n")) :]
        if is_head:
            self.python.append(_hidden(line, "#"))
            self.shell.append(end)
        elif _is_magic(text) or _asks(text):
            self._magic_line(line, text, place)
        else:
            before, value, sign = _assigned(line)
            self.python.append(_hidden(line, "0", keep=before) if sign else line)
            self.shell.append(f"{value}{end}" if sign == "!" else end)

    def _magic_line(self, line: str, text: str, place: int) -> None:
        end = line[len(line.rstrip("\r\n")) :]
        indent = line[: len(line) - len(line.lstrip())]
        self.python.append(_hidden(line, "0", keep=indent))
        self.shell.append(text.lstrip("!") + end if text.startswith("!") else end)
        if text.startswith(_ENV):
            rest = text.partition(" ")[2].strip()
            name, sign, value = rest.partition("=" if "=" in rest else " ")
            if sign:
                known = None if value.strip().startswith(("$", "{")) else value.strip()
                self.magic[place] = (name.strip(), known)


def _is_python(text: str) -> bool:
    """Return whether a cell is Python as it stands."""
    if not any(line.lstrip()[:1] in {"%", "!", "?"} for line in text.splitlines()):
        return "?" not in text and "!" not in text and "%" not in text
    try:
        parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _is_magic(text: str) -> bool:
    """Return whether a line is an order to the notebook; `% name` goes on a sum."""
    return text.startswith(("!", "?")) or (text[:1] == "%" and text[1:2].isalpha())


def _asks(text: str) -> bool:
    """Return whether a line asks for help: `name?`."""
    name = text.rstrip("?")
    return name != text and name.replace(".", "").isidentifier()


def _assigned(line: str) -> tuple[str, str, str]:
    """Return `name = `, the command behind it, and its sign, of `name = !ls`."""
    name, sign, rest = line.partition("=")
    value = rest.strip()
    if not sign or value[:1] not in {"!", "%"} or not value[1:2].isalpha():
        return "", "", ""
    if not all(part.strip().isidentifier() for part in name.split(",")):
        return "", "", ""
    return line[: line.index(value[0], len(name))], value[1:], value[0]


def _hidden(line: str, mark: str, *, keep: str = "") -> str:
    """Return a line as long as it was, with a mark in the place of its words."""
    body = line.rstrip("\r\n")
    rest = len(body) - len(keep)
    return keep + (mark + " " * (rest - 1) if rest > 0 else "") + line[len(body) :]


def _word_behind(text: str, sign: str) -> str:
    words = text.removeprefix(sign).split()
    return words[0] if words else ""


def _source_of(cell: object) -> str | None:
    """Return the text of a cell of code; `None` for any other."""
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source", "")
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def _language(data: dict[str, Any]) -> str:
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    for section, key in (("language_info", "name"), ("kernelspec", "language")):
        inner = metadata.get(section)
        name = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(name, str):
            return name.lower()
    return ""


def _layout_of(data: dict[str, Any], written: str) -> dict[str, Any]:
    """Return how a notebook is written, if writing it again gives the same text."""
    for indent, plain, end, newline in product(
        (1, 2, 4, None), (False, True), ("\n", ""), ("\n", "\r\n")
    ):
        layout = {
            "indent": indent,
            "ensure_ascii": plain,
            "end": end,
            "newline": newline,
        }
        if _dumped(data, layout) == written:
            return layout
    return {}


def _dumped(data: dict[str, Any], layout: Mapping[str, Any]) -> str:
    text = json.dumps(
        data, indent=layout["indent"], ensure_ascii=layout["ensure_ascii"]
    )
    return f"{text}{layout['end']}".replace("\n", layout["newline"])


def _moved(edit: Edit, first: int) -> Edit:
    by = first - 1
    return Edit(
        line=edit.line - by,
        column=edit.column,
        end_line=edit.end_line - by,
        end_column=edit.end_column,
        text=edit.text,
    )
