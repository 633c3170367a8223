"""`gpu check-scripts` and `gpu template`: the standards of the cards, in files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from model_manager.cli._failures import CONFIGURATION
from model_manager.cli._gpu_policy import policy_in_force
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import TIE, Column, note, say, table, write_json
from model_manager.errors import InvalidRequestError
from model_manager.gpu.standards import (
    Finding,
    StandardsReport,
    fix_scripts,
    gpu_template,
    sarif_of,
    standards_rules,
)
from model_manager.gpu.standards import check_scripts as judge

CHECK_SCRIPTS_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu check-scripts src notebooks start.bat
  model-manager gpu check-scripts --fix train.py
  model-manager gpu check-scripts --sarif . > standards.sarif
  model-manager gpu check-scripts --list-rules

Exit code 3 says that scripts break the standards or cannot be checked;
0 that there is neither an error nor a warning. A line that breaks a rule
for a reason says so:

  device = "cuda:1"  # gpu-standards: ignore\\[other-device] the test rig
"""
TEMPLATE_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu template train.py
  model-manager gpu template --plain > train.py
"""
Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Files and folders; without them this folder.",
        show_default=False,
    ),
]
Fix = Annotated[
    bool, typer.Option("--fix", help="Mend in the files what needs no person.")
]
AsSarif = Annotated[
    bool, typer.Option("--sarif", help="Print SARIF 2.1.0, for code hosts and editors.")
]
ListRules = Annotated[
    bool, typer.Option("--list-rules", help="Show every rule and what it asks for.")
]
Excludes = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave out names or paths like this; may be given again.",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        help="Processes for many files; without it one a processor.",
        show_default=False,
    ),
]
NewFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="Where to write it; without it it is printed."),
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Need nothing of model_manager in the script.")
]
_STYLES: Final = {"error": "red", "warning": "yellow", "info": "dim"}
_MARKS: Final = {"error": "error", "warning": "warn", "info": "info"}


def check_scripts(
    context: typer.Context,
    paths: Paths = None,
    *,
    fix: Fix = False,
    as_json: AsJson = False,
    as_sarif: AsSarif = False,
    list_rules: ListRules = False,
    exclude: Excludes = None,
    jobs: Jobs = None,
    config: ConfigPath = None,
) -> None:
    """Say which scripts break the standards of the cards; nothing is run."""
    if list_rules:
        _print_rules(as_json=as_json)
        return
    if as_json and as_sarif:
        message = "--json and --sarif exclude each other."
        raise InvalidRequestError(message, remedy="Give one of them.")
    work = fix_scripts if fix else judge
    report = work(
        paths or [Path()],
        policy_in_force(context, config),
        excludes=exclude or (),
        jobs=jobs or os.cpu_count() or 1,
    )
    if as_json:
        write_json(report.to_dict())
    elif as_sarif:
        write_json(sarif_of(report, version=version("model-manager")))
    else:
        _print(report)
    raise typer.Exit(0 if report.passed else CONFIGURATION)


def template(
    context: typer.Context,
    file: NewFile = None,
    *,
    plain: Plain = False,
    force: Force = False,
    config: ConfigPath = None,
) -> None:
    """Begin a new script for the card, in the order that the standards ask for."""
    policy = policy_in_force(context, config)
    if file is None:
        sys.stdout.write(gpu_template(policy, plain=plain))
        return
    text = gpu_template(policy, plain=plain, name=file.stem)
    try:
        with file.open("w" if force else "x", encoding="utf-8", newline="\n") as out:
            out.write(text)
    except FileExistsError:
        what, remedy = "there is a file already", "Name another one, or give --force."
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        remedy = "Name a file in a folder where you may write."
    else:
        note(f"written: {file}", label="ok")
        return
    message = f"{file} cannot be written: {what}."
    raise InvalidRequestError(message, remedy=remedy)


def _print(report: StandardsReport) -> None:
    for path, findings in report.by_file.items():
        say(path, style="bold")
        for finding in findings:
            _print_finding(finding)
        say()
    say(_summary(report), style="green" if report.passed else "bold red")
    for line in _more(report):
        say(line)


def _print_finding(finding: Finding) -> None:
    place = finding.place.replace(" ", TIE)
    mark = _MARKS[finding.severity]
    rule = f"{finding.rule.id}{TIE}{finding.rule.slug}"
    text = f"{TIE * 2}{place} {mark} {rule}: {finding.message}."
    say(text, style=_STYLES[finding.severity], hang="      ")
    say(f"{TIE * 6}{finding.remedy}", hang="      ")


def _summary(report: StandardsReport) -> str:
    files = _count(report.files, "file")
    if not report.findings:
        return f"ok: {files}, nothing to mend"
    counts = [
        _count(sum(one.severity == level for one in report.findings), word)
        for level, word in (
            ("error", "error"),
            ("warning", "warning"),
            ("info", "remark"),
        )
        if any(one.severity == level for one in report.findings)
    ]
    start = "ok: " if report.passed else ""
    return f"{start}{files}, {len(report.by_file)} with findings: {', '.join(counts)}"


def _more(report: StandardsReport) -> Iterator[str]:
    if report.fixed:
        changed = len({finding.path for finding in report.fixed})
        findings = _count(len(report.fixed), "finding")
        yield f"mended: {findings} in {_count(changed, 'file')}"
    left = sum(finding.fixable for finding in report.findings)
    if left and not report.fixed:
        yield f"{left} can be mended with --fix"
    if report.suppressed:
        yield f"{_count(report.suppressed, 'finding')} suppressed by a comment"


def _print_rules(*, as_json: bool) -> None:
    rules = standards_rules()
    if as_json:
        write_json(
            [
                {
                    "id": rule.id,
                    "name": rule.slug,
                    "severity": rule.severity,
                    "summary": rule.summary,
                    "fix": rule.remedy,
                }
                for rule in rules
            ]
        )
        return
    rows: Sequence[Sequence[str]] = [
        (rule.id, rule.slug, rule.severity, f"{rule.summary} {rule.remedy}")
        for rule in rules
    ]
    table(*map(Column, ("rule", "name", "severity", "what it says")), rows=rows)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")
