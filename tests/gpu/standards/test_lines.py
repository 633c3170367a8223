"""Scripts of shells, `.env` files and units: what they set, and what they start."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_manager.gpu import GpuPolicy
from model_manager.gpu.standards import check_scripts
from model_manager.gpu.standards._checked import FileFormat, check_data, format_of
from model_manager.gpu.standards._wanted import wanted_of

WANTED = wanted_of(GpuPolicy())
SET_SH = "export CUDA_VISIBLE_DEVICES=1 CUDA_DEVICE_ORDER=PCI_BUS_ID OLLAMA_VULKAN=0\n"
SET_BAT = (
    "set CUDA_VISIBLE_DEVICES=1\nset CUDA_DEVICE_ORDER=PCI_BUS_ID\n"
    "set OLLAMA_VULKAN=0\n"
)
SET_PS = (
    "$env:CUDA_VISIBLE_DEVICES = '1'\n$env:CUDA_DEVICE_ORDER = \"PCI_BUS_ID\"\n"
    "$Env:OLLAMA_VULKAN = 0\n"
)
ORDER = "CUDA_DEVICE_ORDER=PCI_BUS_ID"

CASES: dict[str, tuple[FileFormat, str, str]] = {
    "shell: right": ("shell", f"#!/bin/sh\n{SET_SH}exec ollama serve\n", ""),
    "shell: right, in quotes": ("shell", "export CUDA_VISIBLE_DEVICES='1'\n", ""),
    "shell: exported later": (
        "shell",
        (
            f"CUDA_VISIBLE_DEVICES=1\nexport CUDA_VISIBLE_DEVICES\nexport {ORDER}\n"
            "OLLAMA_VULKAN=0 ollama serve\n"
        ),
        "",
    ),
    "shell: for one program": (
        "shell",
        f"OLLAMA_VULKAN=0 CUDA_VISIBLE_DEVICES=1 {ORDER} ollama serve\n",
        "",
    ),
    "shell: by env": (
        "shell",
        f"env OLLAMA_VULKAN=0 CUDA_VISIBLE_DEVICES=1 {ORDER} ollama serve\n",
        "",
    ),
    "shell: over two lines": (
        "shell",
        f"export CUDA_VISIBLE_DEVICES=1 \\\n  {ORDER} OLLAMA_VULKAN=0\nollama serve\n",
        "",
    ),
    "shell: a comment": ("shell", "# export CUDA_VISIBLE_DEVICES=0\n", ""),
    "shell: a text for others": (
        "shell",
        "cat <<'END' > x\nCUDA_VISIBLE_DEVICES=0\nEND\n",
        "",
    ),
    "shell: not the server": ("shell", "ollama list # CUDA_\n", ""),
    "shell: wrong": ("shell", "export CUDA_VISIBLE_DEVICES=0\n", "GPU004"),
    "shell: wrong for one program": (
        "shell",
        "CUDA_VISIBLE_DEVICES=0,1 python x.py\n",
        "GPU004",
    ),
    "shell: wrong behind another command": (
        "shell",
        "cd /x && export CUDA_VISIBLE_DEVICES=2; ls\n",
        "GPU004",
    ),
    "shell: wrong order": ("shell", "export CUDA_DEVICE_ORDER=X\n", "GPU004"),
    "shell: unknown": ("shell", 'export CUDA_VISIBLE_DEVICES="$1"\n', "GPU005"),
    "shell: a default": (
        "shell",
        'export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-1}"\n',
        "GPU006",
    ),
    "shell: removed": ("shell", "unset CUDA_VISIBLE_DEVICES\n", "GPU008"),
    "shell: ignored": ("shell", "export OLLAMA_NUM_GPU=1\n", "GPU030"),
    "shell: started without": ("shell", "ollama serve\n", "GPU031 GPU032"),
    "shell: started before": ("shell", f"ollama serve &\n{SET_SH}", "GPU031 GPU032"),
    "shell: not exported": (
        "shell",
        f"CUDA_VISIBLE_DEVICES=1\nexport {ORDER} OLLAMA_VULKAN=0\nollama serve\n",
        "GPU031",
    ),
    "shell: set under a condition": (
        "shell",
        f"if [ -e x ]; then\n{SET_SH}fi\nollama serve\n",
        "GPU031 GPU032",
    ),
    "shell: set for another program": (
        "shell",
        f"export {ORDER} OLLAMA_VULKAN=0\nCUDA_VISIBLE_DEVICES=1 ls\nollama serve\n",
        "GPU031",
    ),
    "shell: Vulkan open": (
        "shell",
        f"export CUDA_VISIBLE_DEVICES=1 {ORDER}\nnohup /usr/bin/ollama serve\n",
        "GPU032",
    ),
    "shell: a launcher": ("shell", "torchrun train.py\n", "GPU031"),
    "shell: a module": ("shell", "python3.11 -m vllm.entrypoints.x\n", "GPU031"),
    "shell: quotes without end": ("shell", "echo 'CUDA_ \nls\n", ""),
    "shell: with a reason": (
        "shell",
        "export CUDA_VISIBLE_DEVICES=0 # gpu-standards: ignore[GPU004] other host\n",
        "",
    ),
    "shell: with no reason": (
        "shell",
        "export CUDA_VISIBLE_DEVICES=0 # gpu-standards: ignore[GPU004]\n",
        "GPU004 GPU040",
    ),
    "batch: right": ("batch", f"@echo off\r\n{SET_BAT}ollama serve\r\n", ""),
    "batch: right, in quotes": ("batch", '@set "CUDA_VISIBLE_DEVICES=1"\n', ""),
    "batch: a remark": (
        "batch",
        "REM set CUDA_VISIBLE_DEVICES=0\n:: set CUDA_VISIBLE_DEVICES=0\n",
        "",
    ),
    "batch: wrong": ("batch", "SET CUDA_VISIBLE_DEVICES=0\n", "GPU004"),
    "batch: wrong, small letters": (
        "batch",
        "set cuda_visible_devices=0,CUDA_\n",
        "GPU004",
    ),
    "batch: wrong for later": ("batch", 'setx CUDA_VISIBLE_DEVICES "0" /M\n', "GPU004"),
    # Without quotes the space is part of the value, or of the name.
    "batch: a space behind": ("batch", "set CUDA_VISIBLE_DEVICES=1 \r\n", "GPU004"),
    "batch: a space before &&": (
        "batch",
        "set CUDA_VISIBLE_DEVICES=1 && python x.py\r\n",
        "GPU004",
    ),
    "batch: no space before &&": (
        "batch",
        "set CUDA_VISIBLE_DEVICES=1&& python x.py\r\n",
        "",
    ),
    "batch: a space in quotes": ("batch", 'set "CUDA_VISIBLE_DEVICES=1 "\n', "GPU004"),
    "batch: spaces around": ("batch", "set CUDA_VISIBLE_DEVICES = 1\r\n", "GPU004"),
    "batch: a space before =": ("batch", "set CUDA_VISIBLE_DEVICES =1\r\n", "GPU004"),
    "shell: a space": ("shell", "export CUDA_VISIBLE_DEVICES='1 '\n", "GPU004"),
    "shell: a container with the card": (
        "shell",
        (
            "docker run --rm --gpus device=1 img\n"
            "docker run --gpus='\"device=1\"' img\ndocker run img\ndocker ps\n"
        ),
        "",
    ),
    "shell: a container with all cards": (
        "shell",
        "sudo docker run -d --gpus all -p 11434:11434 ollama/ollama\n",
        "GPU020",
    ),
    "shell: a container with one card, any": (
        "shell",
        "podman run --gpus 1 img\n",
        "GPU020",
    ),
    "shell: a container with another card": (
        "shell",
        "docker run --gpus '\"device=0,1\"' img\n",
        "GPU020",
    ),
    "shell: a container with who knows": (
        "shell",
        'docker run --gpus "device=$CARD" img\n',
        "GPU021",
    ),
    "batch: a container with all cards": (
        "batch",
        "docker run --gpus=all img\n",
        "GPU020",
    ),
    "powershell: a container with all cards": (
        "powershell",
        "docker run --gpus all img\n",
        "GPU020",
    ),
    "batch: unknown": ("batch", "set CUDA_VISIBLE_DEVICES=%1\n", "GPU005"),
    "batch: emptied": ("batch", "set CUDA_VISIBLE_DEVICES=\n", "GPU008"),
    "batch: ignored": ("batch", "set OLLAMA_GPU_DEVICE=1\n", "GPU030"),
    "batch: started without": (
        "batch",
        'start "Ollama" /B "C:\\Ollama\\ollama.exe" serve\n',
        "GPU031 GPU032",
    ),
    "batch: set for later only": (
        "batch",
        SET_BAT.replace("set CUDA_VISIBLE_DEVICES=", "setx CUDA_VISIBLE_DEVICES ")
        + "ollama serve\n",
        "GPU031",
    ),
    "batch: set under a condition": (
        "batch",
        SET_BAT.replace("set CUDA_V", "if exist x set CUDA_V") + "ollama serve\n",
        "GPU031",
    ),
    "batch: with a reason": (
        "batch",
        (
            "REM gpu-standards: ignore[environment-wrong-value] a test\n"
            "set CUDA_VISIBLE_DEVICES=0\n"
        ),
        "",
    ),
    "powershell: right": ("powershell", f"{SET_PS}& ollama serve\n", ""),
    "powershell: right, by call": (
        "powershell",
        "[Environment]::SetEnvironmentVariable('CUDA_VISIBLE_DEVICES', '1')\n",
        "",
    ),
    "powershell: a comment": (
        "powershell",
        "# $env:CUDA_VISIBLE_DEVICES = '0'\n<#\n$env:CUDA_VISIBLE_DEVICES = '0'\n#>\n",
        "",
    ),
    "powershell: a question": (
        "powershell",
        "if ($env:CUDA_VISIBLE_DEVICES -eq '0') { exit 1 }\n",
        "",
    ),
    "powershell: wrong": ("powershell", '$Env:CUDA_VISIBLE_DEVICES="0"\n', "GPU004"),
    "powershell: wrong, by call": (
        "powershell",
        (
            '[System.Environment]::SetEnvironmentVariable("CUDA_VISIBLE_DEVICES",'
            ' "0,1", "User")\n'
        ),
        "GPU004",
    ),
    "powershell: unknown": (
        "powershell",
        "$env:CUDA_VISIBLE_DEVICES = $gpu\n",
        "GPU005",
    ),
    "powershell: removed": (
        "powershell",
        "Remove-Item Env:CUDA_VISIBLE_DEVICES\n",
        "GPU008",
    ),
    "powershell: started without": (
        "powershell",
        'Start-Process -FilePath "ollama" -ArgumentList "serve"\n',
        "GPU031 GPU032",
    ),
    "dotenv: right": ("dotenv", 'CUDA_VISIBLE_DEVICES="1" # why\n', ""),
    "dotenv: a comment": ("dotenv", "# CUDA_VISIBLE_DEVICES=0\n", ""),
    "dotenv: wrong": ("dotenv", "export CUDA_VISIBLE_DEVICES=0 # why\n", "GPU004"),
    "dotenv: unknown": ("dotenv", "CUDA_VISIBLE_DEVICES=${GPU}\n", "GPU005"),
    "dotenv: ignored": ("dotenv", "OLLAMA_GPU_DEVICE=1\n", "GPU030"),
    "systemd: right, in any order": (
        "systemd",
        (
            "[Service]\nExecStart=/usr/local/bin/ollama serve\n"
            f'Environment="CUDA_VISIBLE_DEVICES=1" "{ORDER}" OLLAMA_VULKAN=0\n'
        ),
        "",
    ),
    "systemd: a drop-in": (
        "systemd",
        "[Service]\nEnvironment=CUDA_VISIBLE_DEVICES=1\n",
        "",
    ),
    "systemd: wrong": ("systemd", 'Environment="CUDA_VISIBLE_DEVICES=0"\n', "GPU004"),
    "systemd: started without": (
        "systemd",
        "ExecStart=ollama serve\n",
        "GPU031 GPU032",
    ),
    "systemd: in another file": (
        "systemd",
        "EnvironmentFile=/etc/gpu.env\nExecStart=/usr/bin/ollama serve\n",
        "GPU005",
    ),
    "another program's settings": ("systemd", "listen = CUDA_VISIBLE_DEVICES\n", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_a_script_breaks_the_rules_that_it_breaks(name: str) -> None:
    kind, text, rules = CASES[name]

    checked = check_data("s", text.encode(), kind, wanted=WANTED)

    assert {finding.rule.id for finding in checked.findings} == set(rules.split())


def test_a_finding_names_the_place_of_the_variable() -> None:
    text = b"@echo off\r\n  set CUDA_VISIBLE_DEVICES=0\r\n"

    (finding,) = check_data("s", text, "batch", wanted=WANTED).findings

    assert (finding.line, finding.column) == (2, 7)
    assert finding.remedy == "Set it to 1."


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("start_ollama_rtx3090.bat", "batch"),
        ("x.CMD", "batch"),
        ("x.ps1", "powershell"),
        ("x.sh", "shell"),
        (".env", "dotenv"),
        (".env.local", "dotenv"),
        ("gpu.env", "dotenv"),
        ("ollama.service", "systemd"),
        ("override.conf", "systemd"),
        ("x.py", "python"),
        ("x.ipynb", "notebook"),
        ("x.pyc", None),
        ("README.md", None),
    ],
)
def test_the_name_says_how_a_file_is_read(name: str, kind: str | None) -> None:
    assert format_of(name) == kind


def test_the_first_line_says_how_a_file_without_an_end_is_read() -> None:
    assert format_of("run", b"#!/usr/bin/env -S python3 -u\n") == "python"
    assert format_of("run", b"#!/bin/bash\n") == "shell"
    assert format_of("run", b"#!/usr/bin/perl\n") is None
    assert format_of("run.txt", b"#!/bin/bash\n") is None


@pytest.mark.parametrize(
    ("script", "rules"),
    [
        ("import torch\n", ["GPU031"]),
        ("import json  # torch\n", []),
        ("import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'\nimport torch\n", []),
        ("print 'torch'\n", []),
    ],
)
def test_a_python_script_that_sets_nothing_itself_needs_it_from_who_starts_it(
    tmp_path: Path, script: str, rules: list[str]
) -> None:
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    start = tmp_path / "start.bat"
    start.write_text("python %~dp0train.py\npython other.py\n", encoding="utf-8")

    report = check_scripts([start])

    assert [finding.rule.id for finding in report.findings] == rules


@pytest.mark.parametrize("end", ["", " /m", " >nul", " /M >nul 2>&1"])
def test_what_follows_the_value_of_setx_is_none_of_it(tmp_path: Path, end: str) -> None:
    script = tmp_path / "set.bat"
    script.write_text(
        f'setx CUDA_VISIBLE_DEVICES "1"{end}\nsetx CUDA_DEVICE_ORDER PCI_BUS_ID{end}\n',
        encoding="ascii",
    )

    assert not check_scripts([script]).findings
