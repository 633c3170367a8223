"""A report as SARIF 2.1.0, which code hosts and editors show beside the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from model_manager.gpu.standards._findings import Edit, Finding, StandardsReport
from model_manager.gpu.standards._rules import RULES, StandardsRule

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final[Mapping[str, str]] = MappingProxyType(
    {"error": "error", "warning": "warning", "info": "note"}
)
_PLACES: Final[Mapping[str, int]] = MappingProxyType(
    {rule.id: place for place, rule in enumerate(RULES)}
)


def sarif_of(report: StandardsReport, *, version: str) -> dict[str, object]:
    """Return a report as one run of SARIF, ready for JSON.

    Columns count characters; a place in a notebook says its cell in the message and
    counts lines in the cell.

    Args:
        report: What was found.
        version: The version of this library.
    """
    driver = {
        "name": "model-manager gpu check-scripts",
        "semanticVersion": version,
        "rules": [_rule(rule) for rule in RULES],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding) for finding in report.findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: StandardsRule) -> dict[str, object]:
    return {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.slug.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": f"{rule.summary} {rule.remedy}"},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding) -> dict[str, object]:
    where = "" if finding.cell is None else f" (cell {finding.cell})"
    result: dict[str, object] = {
        "ruleId": finding.rule.id,
        "ruleIndex": _PLACES[finding.rule.id],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}{where}. {finding.remedy}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(finding.path)},
                    "region": {
                        "startLine": finding.line,
                        "startColumn": finding.column,
                    },
                }
            }
        ],
    }
    if finding.edits and finding.cell is None:
        # In a notebook the places are those of its code, and not of its JSON.
        result["fixes"] = [_fix(finding)]
    return result


def _fix(finding: Finding) -> dict[str, object]:
    change = {
        "artifactLocation": {"uri": _uri(finding.path)},
        "replacements": [_replacement(edit) for edit in finding.edits],
    }
    return {"description": {"text": finding.remedy}, "artifactChanges": [change]}


def _replacement(edit: Edit) -> dict[str, object]:
    return {
        "deletedRegion": {
            "startLine": edit.line,
            "startColumn": edit.column,
            "endLine": edit.end_line,
            "endColumn": edit.end_column,
        },
        "insertedContent": {"text": edit.text},
    }


def _uri(path: str) -> str:
    pure = PurePath(path)
    return pure.as_uri() if pure.is_absolute() else quote(pure.as_posix())
