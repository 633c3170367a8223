"""What can be mended without a person: as edits that keep everything else."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from model_manager.gpu._variables import ALLOCATOR_NAMES, with_setting
from model_manager.gpu.standards._findings import Edit
from model_manager.gpu.standards._source import Source
from model_manager.gpu.standards._trace import Named, Node, Write
from model_manager.gpu.standards._uses import VALIDATION
from model_manager.gpu.standards._wanted import Wanted

_QUOTES: Final = ("'", '"')


class Mender:
    """Makes the edits for one file of Python."""

    def __init__(self, source: Source, tree: ast.Module) -> None:
        """Look at the file once."""
        self._source = source
        self._body = tree.body
        self._tree = tree

    @cached_property
    def _statements(self) -> dict[int, ast.Expr]:
        """The statements that are one expression, by that."""
        return {
            id(node.value): node
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Expr)
        }

    def settings(self, wanted: Sequence[Wanted]) -> tuple[Edit, ...]:
        """Return the edit that sets variables at the top of the file."""
        line = self._top()
        if line is None or not wanted:
            return ()
        rows = [f'os.environ["{one.name}"] = "{one.value}"\n' for one in wanted]
        text = "".join(["import os\n\n", *rows, "\n"])
        return (self._source.insert_above(line, text),)

    def validation(self, *, after: int | None) -> tuple[Edit, ...]:
        """Return the edit that validates the card below a statement of the module.

        Without a statement, it is done at the top. Where the file has a validation of
        its own, it is called below its definition.
        """
        own = [
            place
            for place, node in enumerate(self._body)
            if isinstance(node, ast.FunctionDef) and node.name == VALIDATION
        ]
        call = f"{VALIDATION}()\n"
        text = f"from model_manager.gpu import {VALIDATION}\n\n{call}"
        if own:
            after, text = own[-1], f"\n{call}"
        line = self._top() if after is None else self._end_line(after)
        if line is None:
            return ()
        if after is None:
            return (self._source.insert_above(line, f"{text}\n"),)
        return (self._source.insert_below(line, f"\n{text}"),)

    def value(self, write: Write, wanted: Wanted) -> tuple[Edit, ...]:
        """Return the edit that puts the right value in the place of a literal."""
        node = write.value
        if not isinstance(node, ast.Constant) or not self._is_plain(node):
            return ()
        right = wanted.value
        if write.name in ALLOCATOR_NAMES and isinstance(node.value, str):
            for setting in wanted.value.split(","):
                right = with_setting(node.value, setting)
        segment = self._source.segment(node)
        quote = segment[0] if segment[:1] in _QUOTES else '"'
        return (self._source.replace(node, f"{quote}{right}{quote}"),)

    def assignment(self, node: Node) -> tuple[Edit, ...]:
        """Return the edit that makes `os.environ[name] = value` of a call."""
        statement = self._statements.get(id(node))
        if statement is None or not isinstance(node, ast.Call):
            return ()
        if not isinstance(node.func, ast.Attribute) or len(node.args) != len("kv"):
            return ()
        owner = self._source.segment(node.func.value)
        if node.func.attr == "putenv":
            owner = f"{owner}.environ"
        name, value = map(self._source.segment, node.args)
        if "\n" in name + value or "\r" in name + value:
            return ()
        return (self._source.replace(node, f"{owner}[{name}] = {value}"),)

    def device(self, named: Named) -> tuple[Edit, ...]:
        """Return the edit that names the first card."""
        node = named.node
        if named.new is None:
            return ()
        if not isinstance(node, ast.Constant):
            return (self._source.replace(node, named.new),)
        if not isinstance(node.value, str):
            return (self._source.replace(node, named.new),)
        segment = self._source.segment(node)
        if segment.count(node.value) != 1:
            return ()
        return (self._source.replace(node, segment.replace(node.value, named.new)),)

    def _is_plain(self, node: ast.Constant) -> bool:
        """Return whether a literal is one token on one line."""
        segment = self._source.segment(node)
        if node.lineno != node.end_lineno or not isinstance(node.value, str | int):
            return False
        return not isinstance(node.value, str) or segment[1:-1] == node.value

    def _top(self) -> int | None:
        """Return the line before which the first statement of a file may be put.

        It stands below the docstring and the `__future__` imports, and above comments
        that belong to what follows.
        """
        place = int(bool(self._body) and _is_text(self._body[0]))
        while place < len(self._body) and _is_future(self._body[place]):
            place += 1
        if place >= len(self._body):
            return None
        line = first_line(self._body[place])
        above = self._body[place - 1].end_lineno or 0 if place else 0
        if line <= above or not self._source.lines[line - 1][:1].strip():
            return None
        return self._above_comments(line, above)

    def _above_comments(self, line: int, above: int) -> int:
        """Return the line where the comments right above a line begin."""
        lines = self._source.lines
        begin = line
        while begin - 1 > above and lines[begin - 2].lstrip().startswith("#"):
            begin -= 1
        # Comments at the very top are those of the file: its encoding, its licence.
        is_header = begin == 1 or bool(self._source.floors)
        return line if is_header else begin

    def _end_line(self, place: int) -> int | None:
        """Return the line that a statement of the module ends, if it ends one."""
        line, column = self._source.end(self._body[place])
        rest = self._source.lines[line - 1][column - 1 :].strip()
        return line if not rest or rest.startswith("#") else None


def first_line(statement: ast.stmt) -> int:
    """Return the line where a statement begins, its decorators counted."""
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.lineno
    return min([statement.lineno, *(node.lineno for node in statement.decorator_list)])


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement is a text that stands alone, as a docstring does."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
