"""What a check of scripts found, as plain frozen data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from typing_extensions import override

from model_manager.gpu.standards._rules import Severity, StandardsRule

_FAILING: Final = frozenset({"error", "warning"})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Edit:
    """A piece of text that is replaced; lines and columns count from 1.

    The end is the place behind the last character. An edit whose end is its beginning
    puts text in.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    """The file, as it was given or found under what was given."""
    line: int
    """From 1; in a notebook, the line in the cell."""
    column: int
    """From 1, in characters."""
    rule: StandardsRule
    message: str
    """What is wrong here, in words."""
    remedy: str
    """What to do about it, in words."""
    cell: int | None = None
    """The number of the cell in a notebook, from 1."""
    edits: tuple[Edit, ...] = ()
    """What mends it; in a notebook, lines count through all cells of code."""

    @property
    def fixable(self) -> bool:
        """Whether `--fix` can mend it."""
        return bool(self.edits)

    @property
    def severity(self) -> Severity:
        """How bad it is: the rule says."""
        return self.rule.severity

    @property
    def fails(self) -> bool:
        """Whether a check with it has failed."""
        return self.severity in _FAILING

    @property
    def place(self) -> str:
        """Where it is: `12:4`, in a notebook `cell 3, 12:4`."""
        where = f"{self.line}:{self.column}"
        return where if self.cell is None else f"cell {self.cell}, {where}"

    @override
    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.path}:{self.place}: {self.rule.id} {self.message}"

    def to_dict(self) -> dict[str, object]:
        """Return the finding as plain data, ready for JSON."""
        return {
            "path": self.path,
            "cell": self.cell,
            "line": self.line,
            "column": self.column,
            "rule": self.rule.id,
            "name": self.rule.slug,
            "severity": self.severity,
            "message": self.message,
            "fix": self.remedy,
            "fixable": self.fixable,
            "edits": [asdict(edit) for edit in self.edits],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardsReport:
    """What a check of a tree found, in the order of paths and places."""

    files: int
    """How many files were looked at."""
    findings: tuple[Finding, ...] = ()
    """What is wrong; after a fix, what is still wrong."""
    fixed: tuple[Finding, ...] = ()
    """What was mended."""
    suppressed: int = 0
    """How many findings a comment with a reason lets pass."""

    @property
    def passed(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not any(finding.fails for finding in self.findings)

    @property
    def by_file(self) -> Mapping[str, tuple[Finding, ...]]:
        """The findings of every file that has any."""
        paths = dict.fromkeys(finding.path for finding in self.findings)
        return {
            path: tuple(one for one in self.findings if one.path == path)
            for path in paths
        }

    def to_dict(self) -> dict[str, object]:
        """Return the report as plain data, ready for JSON."""
        counts = Counter(finding.severity for finding in self.findings)
        return {
            "ok": self.passed,
            "files": self.files,
            "files_with_findings": len({one.path for one in self.findings}),
            "errors": counts["error"],
            "warnings": counts["warning"],
            "infos": counts["info"],
            "suppressed": self.suppressed,
            "findings": [finding.to_dict() for finding in self.findings],
            "fixed": [finding.to_dict() for finding in self.fixed],
        }
