"""Checks one file, whatever it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from model_manager.gpu.standards import _rules, _suppress
from model_manager.gpu.standards._context import TooMuchError
from model_manager.gpu.standards._findings import Finding
from model_manager.gpu.standards._judge import faults_of
from model_manager.gpu.standards._libraries import PREFILTER
from model_manager.gpu.standards._lines import FORMATS, LineFormat
from model_manager.gpu.standards._notebook import Notebook, notebook_of
from model_manager.gpu.standards._parse import parse
from model_manager.gpu.standards._program import program_of
from model_manager.gpu.standards._scripts import script_faults
from model_manager.gpu.standards._source import (
    Source,
    UndecodableError,
    plain_source,
    python_source,
)
from model_manager.gpu.standards._suppress import Suppression
from model_manager.gpu.standards._wanted import Wanted

FileFormat: TypeAlias = Literal["python", "notebook"] | LineFormat
_Wanted: TypeAlias = tuple[Wanted, ...]

_PYTHON: Final = frozenset({".py", ".pyw"})
_NOTEBOOK: Final = ".ipynb"
_MAX_TEXT: Final = 2 * 1024**2
"""Characters of Python that are parsed; no script that a person wrote is longer."""
_LINE_WORDS: Final = (*(word.lower() for word in PREFILTER), b".py")
"""What a script of lines must have one of; it may start one of Python."""
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_SHEBANGS: Final[tuple[tuple[bytes, FileFormat], ...]] = (
    (b"python", "python"),
    (b"bash", "shell"),
    (b"/sh", "shell"),
    (b" sh", "shell"),
    (b"zsh", "shell"),
)
_TOO_MUCH: Final = "it is too large or too entangled to be followed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check of one file came to."""

    findings: tuple[Finding, ...] = ()
    suppressed: int = 0
    source: Source | None = None
    """The text that edits are of; `None` where there is nothing to edit."""
    notebook: Notebook | None = None


def format_of(name: str, head: bytes = b"") -> FileFormat | None:
    """Return how a file is read, by its name and its first bytes; `None` if not."""
    path = Path(name)
    suffix = path.suffix.lower()
    if path.name == ".env" or path.name.startswith(".env."):
        return "dotenv"
    if suffix in _PYTHON:
        return "python"
    if suffix == _NOTEBOOK:
        return "notebook"
    if suffix in FORMATS:
        return FORMATS[suffix]
    if not suffix and head.startswith(b"#!"):
        line = head.partition(b"\n")[0].replace(b"\t", b" ")
        return next((kind for word, kind in _SHEBANGS if word in line), None)
    return None


def check_data(path: str, data: bytes, kind: FileFormat, *, wanted: _Wanted) -> Checked:
    """Check the bytes of one file; nothing in them can make this raise."""
    if not data.startswith(_WIDE_MARKS) and not _may_break(data, kind):
        return Checked()
    try:
        return _check(path, data, kind, wanted=wanted)
    except UndecodableError as error:
        return not_checked(path, str(error))
    except SyntaxError as error:
        why = f"it is not Python {_rules.PYTHON}: {error.msg}"
        return not_checked(path, why, line=error.lineno or 1, column=error.offset or 1)
    except (RecursionError, MemoryError, TooMuchError):
        return not_checked(path, _TOO_MUCH)
    except ValueError as error:
        return not_checked(path, f"it cannot be parsed: {error}")


def _may_break(data: bytes, kind: FileFormat) -> bool:
    """Return whether a file has a word without which no rule can be broken."""
    if kind in {"python", "notebook"}:
        return any(word in data for word in PREFILTER)
    # Windows does not tell small letters from great ones.
    low = data.lower()
    return any(word in low for word in _LINE_WORDS)


def not_checked(path: str, why: str, *, line: int = 1, column: int = 1) -> Checked:
    """Return that a file could not be checked."""
    rule = _rules.NOT_CHECKED
    finding = Finding(
        path=path,
        line=max(line, 1),
        column=max(column, 1),
        rule=rule,
        message=" ".join(why.split()).rstrip("."),
        remedy=rule.remedy,
    )
    return Checked(findings=(finding,))


def _check(path: str, data: bytes, kind: FileFormat, *, wanted: _Wanted) -> Checked:
    if kind == "python":
        return _python(path, python_source(data), wanted)
    source = plain_source(data)
    if kind == "notebook":
        return _notebook(path, source, wanted)
    lines, folder = source.lines, Path(path).parent
    found = [
        Finding(
            path=path,
            line=fault.line,
            column=fault.column,
            rule=fault.rule,
            message=fault.message,
            remedy=fault.remedy or fault.rule.remedy,
            edits=fault.edits,
        )
        for fault in script_faults(lines, kind, wanted, folder=folder)
    ]
    checked = _judged(path, found, _suppress.in_lines(lines))
    return replace(checked, source=source)


def _python(path: str, source: Source, wanted: _Wanted) -> Checked:
    found = _in_python(path, source, wanted=wanted)
    checked = _judged(path, found, _suppress.in_python(source.text))
    return replace(checked, source=source)


def _in_python(
    path: str,
    source: Source,
    *,
    wanted: _Wanted,
    notebook: Notebook | None = None,
) -> list[Finding]:
    if len(source.text) > _MAX_TEXT:
        raise TooMuchError
    magic = {} if notebook is None else notebook.magic
    program = program_of(parse(source.text), magic)
    return [
        Finding(
            path=path,
            line=fault.node.lineno,
            column=source.column(fault.node.lineno, fault.node.col_offset),
            rule=fault.rule,
            message=fault.message,
            remedy=fault.remedy or fault.rule.remedy,
            edits=fault.edits,
        )
        for fault in faults_of(program, source, wanted)
    ]


def _notebook(path: str, written: Source, wanted: _Wanted) -> Checked:
    notebook = notebook_of(written.text)
    if notebook is None or not notebook.cells:
        return Checked()
    source = notebook.source
    try:
        found = _in_python(path, source, wanted=wanted, notebook=notebook)
    except SyntaxError as error:
        why = f"a cell is not Python {_rules.PYTHON}: {error.msg}"
        line, column = error.lineno or 1, error.offset or 1
        failed = not_checked(path, why, line=line, column=column)
        return Checked(findings=tuple(_in_cell(f, notebook) for f in failed.findings))
    found += [
        Finding(
            path=path,
            line=fault.line,
            column=fault.column,
            rule=fault.rule,
            message=fault.message,
            remedy=fault.remedy or fault.rule.remedy,
        )
        for fault in script_faults(notebook.shell.lines, "shell", wanted, folder=None)
    ]
    if not notebook.layout:
        found = [replace(finding, edits=()) for finding in found]
    checked = _judged(path, found, _suppress.in_python(source.text))
    findings = tuple(_in_cell(finding, notebook) for finding in checked.findings)
    return replace(checked, findings=findings, source=written, notebook=notebook)


def _in_cell(finding: Finding, notebook: Notebook) -> Finding:
    cell = notebook.cell_at(finding.line)
    return replace(finding, line=finding.line - cell.first + 1, cell=cell.number)


def _judged(
    path: str, found: Sequence[Finding], suppressions: Sequence[Suppression]
) -> Checked:
    """Take out what a comment lets pass, and put the rest in order."""
    rule = _rules.SUPPRESSION
    kept = [
        finding
        for finding in found
        if not any(one.covers(finding.rule.id, finding.line) for one in suppressions)
    ]
    wrong = [
        Finding(
            path=path,
            line=line,
            column=column,
            rule=rule,
            message=words,
            remedy=rule.remedy,
        )
        for line, column, words in _suppress.problems(suppressions)
    ]
    ordered = sorted([*kept, *wrong], key=lambda f: (f.line, f.column, f.rule.id))
    return Checked(
        findings=tuple(dict.fromkeys(ordered)), suppressed=len(found) - len(kept)
    )
