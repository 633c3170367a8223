"""Reports: as data, as SARIF, and the rules behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model_manager.gpu.standards import (
    Edit,
    StandardsReport,
    check_scripts,
    sarif_of,
    standards_rules,
)

TEXT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 1}},
}
REGION = {
    "type": "object",
    "required": ["startLine", "startColumn"],
    "additionalProperties": False,
    "properties": {
        name: {"type": "integer", "minimum": 1}
        for name in ("startLine", "startColumn", "endLine", "endColumn")
    },
}
ARTIFACT = {
    "type": "object",
    "required": ["uri"],
    "properties": {"uri": {"type": "string", "pattern": r"^[^\\ ]+$"}},
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "properties": {
                                                "id": {"type": "string"},
                                                "shortDescription": TEXT,
                                                "fullDescription": TEXT,
                                                "help": TEXT,
                                                "defaultConfiguration": {
                                                    "properties": {"level": LEVEL}
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message", "ruleId", "level", "locations"],
                            "properties": {
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": LEVEL,
                                "message": TEXT,
                                "locations": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "artifactLocation": ARTIFACT,
                                                    "region": REGION,
                                                },
                                            }
                                        },
                                    },
                                },
                                "fixes": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "required": ["artifactChanges"],
                                        "properties": {
                                            "description": TEXT,
                                            "artifactChanges": {
                                                "type": "array",
                                                "minItems": 1,
                                                "items": {
                                                    "required": [
                                                        "artifactLocation",
                                                        "replacements",
                                                    ],
                                                    "properties": {
                                                        "replacements": {
                                                            "type": "array",
                                                            "minItems": 1,
                                                            "items": {
                                                                "required": [
                                                                    "deletedRegion"
                                                                ],
                                                                "properties": {
                                                                    "deletedRegion": (
                                                                        REGION
                                                                    ),
                                                                },
                                                            },
                                                        },
                                                    },
                                                },
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""The main constraints of SARIF 2.1.0 on what is used of it."""


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandardsReport:
    """A report of a tree with a script, a notebook and a batch file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with space").mkdir()
    script = "# é\nimport torch\nx = 'é', 'cuda:1'\n"
    (tmp_path / "with space" / "a.py").write_text(script, encoding="utf-8")
    (tmp_path / "b.bat").write_text("set OLLAMA_NUM_GPU=1\n", encoding="utf-8")
    (tmp_path / "old.py").write_text("print 'torch'\n", encoding="utf-8")
    cell = {"cell_type": "code", "source": "import torch"}
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    return check_scripts([Path()])


def test_a_report_is_sarif_that_a_reader_takes(report: StandardsReport) -> None:
    sarif = sarif_of(report, version="1.2.3")

    jsonschema.Draft202012Validator(SARIF).validate(json.loads(json.dumps(sarif)))
    (run,) = json.loads(json.dumps(sarif))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(report.findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert levels["GPU030"] == "note"
    assert levels["GPU090"] == "warning"


def test_sarif_places_and_fixes_count_characters(report: StandardsReport) -> None:
    sarif: Any = sarif_of(report, version="1.2.3")

    results = {r["ruleId"]: r for r in sarif["runs"][0]["results"] if "fixes" in r}
    place = results["GPU020"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "with%20space/a.py"
    assert place["region"] == {"startLine": 3, "startColumn": 10}
    (change,) = results["GPU020"]["fixes"][0]["artifactChanges"]
    (replacement,) = change["replacements"]
    assert replacement["insertedContent"]["text"] == "'cuda:0'"
    assert replacement["deletedRegion"]["endColumn"] == 18


def test_a_report_is_json_with_counts(report: StandardsReport) -> None:
    data = json.loads(json.dumps(report.to_dict()))

    assert data["ok"] is False
    assert data["files"] == 4
    assert data["files_with_findings"] == 4
    assert (data["errors"], data["warnings"], data["infos"]) == (3, 1, 1)
    assert all(finding["fix"] and finding["message"] for finding in data["findings"])


def test_a_remark_alone_does_not_fail(tmp_path: Path) -> None:
    (tmp_path / "b.bat").write_text("set OLLAMA_NUM_GPU=1\n", encoding="utf-8")

    report = check_scripts([tmp_path])

    assert report.findings
    assert report.passed


def test_every_rule_has_a_number_a_name_and_words() -> None:
    rules = standards_rules()

    assert (
        len({rule.id for rule in rules}) == len({r.slug for r in rules}) == len(rules)
    )
    assert [rule.id for rule in rules] == sorted(rule.id for rule in rules)
    for rule in rules:
        assert rule.summary.endswith(".")
        assert rule.remedy.endswith(".")


def test_an_edit_says_what_it_puts_where() -> None:
    edit = Edit(line=1, column=2, end_line=1, end_column=5, text="x")

    assert (edit.line, edit.column, edit.end_column) == (1, 2, 5)
