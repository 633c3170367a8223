"""Scripts that take their variables from another script beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_manager.gpu import GpuPolicy
from model_manager.gpu.ollama import ollama_scripts, write_scripts
from model_manager.gpu.standards import StandardsReport, check_scripts

EXPORTED = (
    "export CUDA_VISIBLE_DEVICES=1\nexport CUDA_DEVICE_ORDER=PCI_BUS_ID\n"
    "export OLLAMA_VULKAN=0\n"
)
PLAIN = EXPORTED.replace("export ", "")
BATCH = PLAIN.replace("CUDA_", "set CUDA_").replace("OLLAMA_", "set OLLAMA_")
POWER = (
    '$env:CUDA_VISIBLE_DEVICES = "1"\n$env:CUDA_DEVICE_ORDER = "PCI_BUS_ID"\n'
    "$env:OLLAMA_VULKAN = 0\n"
)
UNKNOWN = ["GPU005"]
HERE = 'here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"\n'


def found(folder: Path, start: str, **others: str) -> StandardsReport:
    """Write scripts, and check the first one alone."""
    for name, text in others.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    name = next(n for n in ("sh", "bat", "ps1") if f"env_{n}" in others or n == "ps1")
    path = folder / f"start.{name}"
    path.write_text(start, encoding="utf-8")
    return check_scripts([path])


def rules(report: StandardsReport) -> list[str]:
    return [finding.rule.id for finding in report.findings]


@pytest.mark.parametrize(
    "first",
    [
        "source env.sh",
        ". ./env.sh",
        'source "$(dirname "$0")/env.sh"',
        'source "$(dirname "${BASH_SOURCE[0]}")/env.sh" || exit 1',
        f'{HERE}source "$here/env.sh"',
        'DIR=$(dirname "$0")\n. "${DIR}/env.sh"',
    ],
)
def test_what_a_script_beside_it_exports_counts(tmp_path: Path, first: str) -> None:
    report = found(tmp_path, f"{first}\nollama serve\n", env_sh=EXPORTED)

    assert rules(report) == []


@pytest.mark.parametrize(
    ("first", "inner"),
    [
        ("source other.sh", EXPORTED),
        ("source ../env.sh", EXPORTED),
        ('source "$HOME/env.sh"', EXPORTED),
        ('here=/elsewhere\nsource "$here/env.sh"', EXPORTED),
        ('up="$(dirname "$(dirname "$0")")"\nsource "$up/env.sh"', EXPORTED),
        ("[ -f env.sh ] || source env.sh", EXPORTED),
        ("if [ -f env.sh ]; then source env.sh; fi", EXPORTED),
        ("source env.sh", "source env.sh\n"),
        ("source env.sh", f"source elsewhere.sh\n{PLAIN}"),
    ],
)
def test_what_cannot_be_told_to_be_run_is_a_finding(
    tmp_path: Path, first: str, inner: str
) -> None:
    report = found(tmp_path, f"{first}\nollama serve\n", env_sh=inner)

    assert rules(report) == UNKNOWN
    assert "OLLAMA_VULKAN" in report.findings[0].message


def test_a_script_that_is_only_started_sets_nothing(tmp_path: Path) -> None:
    report = found(tmp_path, "./env.sh\nbash env.sh\nollama serve\n", env_sh=EXPORTED)

    assert rules(report) == ["GPU031", "GPU032"]


def test_what_is_not_exported_counts_after_set_a_only(tmp_path: Path) -> None:
    plain = found(tmp_path, "source env.sh\nollama serve\n", env_sh=PLAIN)
    allexport = found(
        tmp_path, "set -a\n. ./env.sh\nset +a\nollama serve\n", env_sh=PLAIN
    )
    too_late = found(
        tmp_path, "set -a; set +a; . ./env.sh\nollama serve\n", env_sh=PLAIN
    )
    by_name = found(
        tmp_path, "set -o allexport\n. ./env.sh\nollama serve\n", env_sh=PLAIN
    )

    assert rules(plain) == rules(too_late) == ["GPU031", "GPU032"]
    assert rules(allexport) == rules(by_name) == []


def test_a_wrong_value_of_the_other_script_is_told_where_it_is_taken(
    tmp_path: Path,
) -> None:
    wrong = EXPORTED.replace("DEVICES=1", "DEVICES=0")
    asked = EXPORTED.replace("DEVICES=1", 'DEVICES="$1"')

    (finding,) = found(tmp_path, "\n. ./env.sh\nollama serve\n", env_sh=wrong).findings
    unknown = found(tmp_path, ". ./env.sh\nollama serve\n", env_sh=asked)

    assert (finding.rule.id, finding.line) == ("GPU004", 2)
    assert "./env.sh sets CUDA_VISIBLE_DEVICES to '0', not '1'" in finding.message
    assert rules(unknown) == UNKNOWN


def test_what_is_set_after_it_counts_more(tmp_path: Path) -> None:
    wrong = EXPORTED.replace("DEVICES=1", "DEVICES=0")
    mended = ". ./env.sh\nexport CUDA_VISIBLE_DEVICES=1\nollama serve\n"
    undone = ". ./env.sh\nunset CUDA_VISIBLE_DEVICES\nollama serve\n"

    assert rules(found(tmp_path, mended, env_sh=wrong)) == ["GPU004"]
    assert rules(found(tmp_path, undone, env_sh=EXPORTED)) == ["GPU008", "GPU031"]


@pytest.mark.parametrize(
    ("first", "inner", "expected"),
    [
        ("call env.bat", BATCH, []),
        ('@call "%~dp0env.bat"', BATCH, []),
        ('CALL "%~dp0env.bat" quiet', BATCH, []),
        ("call %~dp0env.bat", f"setlocal\n{BATCH}", UNKNOWN),
        ("if exist env.bat call env.bat", BATCH, ["GPU031", "GPU032"]),
        ("call %OTHER%env.bat", BATCH, UNKNOWN),
        ("call :env", BATCH, ["GPU031", "GPU032"]),
    ],
)
def test_a_batch_file_takes_what_it_calls(
    tmp_path: Path, first: str, inner: str, expected: list[str]
) -> None:
    report = found(tmp_path, f"{first}\nollama serve\n", env_bat=inner)

    assert rules(report) == expected


@pytest.mark.parametrize(
    ("first", "inner", "expected"),
    [
        (". .\\env.ps1", POWER, []),
        ('. "$PSScriptRoot\\env.ps1"', POWER, []),
        ("& $PSScriptRoot/env.ps1", POWER, []),
        (".\\env.ps1", POWER, []),
        ("if ($x) { . .\\env.ps1 }", POWER, ["GPU031", "GPU032"]),
        (". $Other\\env.ps1", POWER, UNKNOWN),
    ],
)
def test_a_script_of_powershell_takes_what_it_runs(
    tmp_path: Path, first: str, inner: str, expected: list[str]
) -> None:
    report = found(tmp_path, f"{first}\nollama serve\n", env_ps1=inner)

    assert rules(report) == expected


def test_the_scripts_that_we_write_keep_the_standards(tmp_path: Path) -> None:
    policy = GpuPolicy()
    write_scripts(tmp_path, ollama_scripts(policy))

    report = check_scripts([tmp_path], policy)

    assert report.files > 0
    assert report.passed, str(report)
