"""The scripts for Windows: batch files and PowerShell; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.ollama._quoting import (
    batch_assignment,
    batch_permanent,
    powershell_assignment,
)
from model_manager.gpu.ollama._settings import OllamaSettings
from model_manager.gpu.ollama._template import facts_of, filled, lines_of, names_of
from model_manager.gpu.ollama._variables import UNDOING, OllamaVariable

CONFIG: Final = r"""
@echo off
rem Sets the variables that keep Ollama on the @CARD@.
rem
rem   config_env_@SLUG@.bat             in this window, for what is started from it
rem   config_env_@SLUG@.bat /permanent  for your user as well, from the next start on
rem   config_env_@SLUG@.bat /forget     takes back what /permanent has set
rem
rem Ollama reads them when it starts: restart it after a change. The Ollama app beside
rem the clock starts a server of its own, which gets the permanent ones alone. Those
rem hold for all your CUDA programs, not only for Ollama.
rem
rem Written by 'model-manager gpu scripts'. Run that again when the card is replaced.
@OPEN@
@VARIABLES@

rem These would undo the above.
@UNDOING@

set "MM_CODE=0"
if "%~1"=="" goto done
if /i "%~1"=="/permanent" goto permanent
if /i "%~1"=="/forget" goto forget
echo ERROR: unknown option. Use /permanent, /forget, or none. 1>&2
set "MM_CODE=2"
goto done

:permanent
@PERMANENT@
echo Set for your user. Restart Ollama, and open new windows.
goto done

:forget
@FORGET@
echo Taken back. Restart Ollama, and open new windows.
goto done

:failed
echo ERROR: a variable could not be set for your user. 1>&2
set "MM_CODE=1"

:done
@CLOSE@
set "MM_CODE=" & exit /b %MM_CODE%
"""

START: Final = r"""
@echo off
rem Starts Ollama on the @CARD@ alone, with the variables of
rem config_env_@SLUG@.bat, which must lie beside this file.
setlocal EnableExtensions DisableDelayedExpansion

if not exist "%~dp0config_env_@SLUG@.bat" (
    echo ERROR: config_env_@SLUG@.bat is not beside this file. 1>&2
    goto failed
)
call "%~dp0config_env_@SLUG@.bat"
if errorlevel 1 goto failed

set "MM_FOUND="
for %%f in (ollama.exe) do set "MM_FOUND=%%~$PATH:f"
if not defined MM_FOUND (
    echo ERROR: ollama.exe is not on PATH. 1>&2
    echo Install Ollama, or add its folder to PATH, and open a new window. 1>&2
    goto failed
)

rem CUDA would quietly take the CPU if the card were missing.
set "MM_FOUND="
for %%f in (nvidia-smi.exe) do set "MM_FOUND=%%~$PATH:f"
if not defined MM_FOUND (
    echo ERROR: nvidia-smi.exe is not on PATH, so the card cannot be checked. 1>&2
    echo Install the NVIDIA driver. 1>&2
    goto failed
)
set "MM_CARD=none"
for /f "delims=" %%n in ('nvidia-smi.exe --id^=@DEVICE@ --query-gpu^=name --format^=csv^,noheader 2^>nul') do set "MM_CARD=%%n"
@CARD_TESTS@
echo ERROR: card @DEVICE@ is "%MM_CARD%", not the @CARD@. 1>&2
echo See 'nvidia-smi -L', then run 'model-manager gpu scripts' again. 1>&2
goto failed

:card_found
netstat -an | findstr /r /c:":@PORT@ *0\.0\.0\.0:0 " /c:":@PORT@ *\[::\]:0 " >nul
if not errorlevel 1 (
    echo ERROR: port @PORT@ is taken: a server runs already. 1>&2
    echo Quit the Ollama app beside the clock, or check what runs: 1>&2
    echo   model-manager gpu check-server @URL@ 1>&2
    goto failed
)

echo Ollama starts on "%MM_CARD%". End it with Ctrl+C.
ollama.exe serve
set "MM_CODE=%errorlevel%"
if "%MM_CODE%"=="0" exit /b 0
echo ERROR: Ollama ended with code %MM_CODE%. 1>&2
call :linger
exit /b %MM_CODE%

:failed
call :linger
exit /b 1

:linger
rem A window that was opened by a double click stays long enough to be read.
timeout /t 15 2>nul
exit /b 0
"""  # noqa: E501 - cmd has no way to break a quoted command

MONITOR: Final = r"""
@echo off
rem Shows the cards as they are now, until Ctrl+C. Options go to 'gpu watch'.
setlocal EnableExtensions DisableDelayedExpansion
set "MM_FOUND="
for %%f in (model-manager.exe) do set "MM_FOUND=%%~$PATH:f"
if not defined MM_FOUND (
    echo ERROR: model-manager.exe is not on PATH. 1>&2
    echo Install it with: pip install "model-manager[cli]" 1>&2
    timeout /t 15 2>nul
    exit /b 1
)
model-manager.exe gpu watch %*
exit /b %errorlevel%
"""

SURVEY: Final = r"""
@echo off
rem Watches the card and checks the Ollama server, again and again, until Ctrl+C. What
rem is wrong is shown and added to a file.
rem
rem   surveillance_continue_@SLUG@.bat [SECONDS] [FILE]
rem
rem The card is read every 5 seconds, the server checked every SECONDS, 60 otherwise.
rem FILE is surveillance_@SLUG@.log otherwise.
setlocal EnableExtensions DisableDelayedExpansion
set "MM_FOUND="
for %%f in (model-manager.exe) do set "MM_FOUND=%%~$PATH:f"
if not defined MM_FOUND (
    echo ERROR: model-manager.exe is not on PATH. 1>&2
    echo Install it with: pip install "model-manager[cli]" 1>&2
    timeout /t 15 2>nul
    exit /b 1
)
set "MM_EVERY=60"
if not "%~1"=="" set /a "MM_EVERY=%~1" 2>nul
if %MM_EVERY% LSS 5 set "MM_EVERY=5"
set "MM_FILE=surveillance_@SLUG@.log"
if not "%~2"=="" set "MM_FILE=%~2"
set "MM_SEEN=%TEMP%\surveillance_@SLUG@_%RANDOM%"

:again
model-manager.exe gpu watch --interval 5 --for %MM_EVERY% > "%MM_SEEN%.cards" 2>&1
if errorlevel 1 goto no_cards
set "MM_CODE=0"
findstr /c:"  ALERT " "%MM_SEEN%.cards" > "%MM_SEEN%.wrong"
if not errorlevel 1 set "MM_CODE=1"
goto server

:no_cards
set "MM_CODE=1"
copy /y "%MM_SEEN%.cards" "%MM_SEEN%.wrong" >nul
timeout /t %MM_EVERY% /nobreak >nul 2>&1
if errorlevel 1 ping -n %MM_EVERY% 127.0.0.1 >nul

:server
model-manager.exe gpu check-server @URL@ > "%MM_SEEN%.server" 2>&1
if errorlevel 1 (
    set "MM_CODE=1"
    type "%MM_SEEN%.server" >> "%MM_SEEN%.wrong"
)
if "%MM_CODE%"=="0" (
    echo %DATE% %TIME% ok
    goto again
)
echo %DATE% %TIME% ALERT
type "%MM_SEEN%.wrong"
>> "%MM_FILE%" echo %DATE% %TIME% ALERT
type "%MM_SEEN%.wrong" >> "%MM_FILE%"
if errorlevel 1 echo ERROR: the alert cannot be written to a file. 1>&2
goto again
"""

POWERSHELL: Final = r"""
# Starts Ollama on the @CARD@ alone. If scripts may not run on this machine:
#   powershell -ExecutionPolicy Bypass -File start_ollama_@SLUG@.ps1
# Written by 'model-manager gpu scripts'. Run that again when the card is replaced.
$ErrorActionPreference = 'Stop'

function Stop-Because([string] $What, [string] $Remedy) {
    [Console]::Error.WriteLine("ERROR: $What")
    [Console]::Error.WriteLine($Remedy)
    exit 1
}

@VARIABLES@

# These would undo the above.
foreach ($name in @UNDOING@) {
    Remove-Item -Path "Env:$name" -ErrorAction SilentlyContinue
}

if (-not (Get-Command ollama.exe -CommandType Application -ErrorAction SilentlyContinue)) {
    Stop-Because 'ollama.exe is not on PATH.' 'Install Ollama, or add its folder to PATH.'
}
if (-not (Get-Command nvidia-smi.exe -CommandType Application -ErrorAction SilentlyContinue)) {
    Stop-Because 'nvidia-smi.exe is not on PATH, so the card cannot be checked.' 'Install the NVIDIA driver.'
}

# CUDA would quietly take the CPU if the card were missing.
$card = [string] (& nvidia-smi.exe '--id=@DEVICE@' '--query-gpu=name' '--format=csv,noheader' | Select-Object -First 1)
if (@NAMES@ -cnotcontains $card.Trim()) {
    Stop-Because "card @DEVICE@ is '$card', not the @CARD@." "See 'nvidia-smi -L', then run 'model-manager gpu scripts' again."
}

$network = [System.Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties()
if (@($network.GetActiveTcpListeners() | Where-Object { $_.Port -eq @PORT@ }).Count -gt 0) {
    Stop-Because 'port @PORT@ is taken: a server runs already.' 'Quit the Ollama app beside the clock, or: model-manager gpu check-server @URL@'
}

Write-Host "Ollama starts on $card. End it with Ctrl+C."
& ollama.exe serve
$code = $LASTEXITCODE
if ($code -ne 0) {
    [Console]::Error.WriteLine("ERROR: Ollama ended with code $code.")
}
exit $code
"""  # noqa: E501 - a message stands in one line

_OPEN: Final = """
rem This file is UTF-8, for the letters in it.
for /f "tokens=2 delims=:." %%c in ('chcp') do set "MM_CODEPAGE=%%c"
chcp 65001 >nul
"""
_CLOSE: Final = """chcp %MM_CODEPAGE% >nul
set "MM_CODEPAGE="
"""


def windows_scripts(
    policy: GpuPolicy, settings: OllamaSettings, variables: Sequence[OllamaVariable]
) -> dict[str, str]:
    """Return the scripts for Windows: name to text."""
    facts = facts_of(policy, settings)
    slug = facts["SLUG"]
    return {
        f"config_env_{slug}.bat": filled(CONFIG, facts | _settings(variables)),
        f"start_ollama_{slug}.bat": filled(START, facts | _card_tests(policy)),
        f"start_monitor_{slug}.bat": filled(MONITOR, facts),
        f"surveillance_continue_{slug}.bat": filled(SURVEY, facts),
        f"start_ollama_{slug}.ps1": filled(
            POWERSHELL, facts | _powershell(policy, variables)
        ),
    }


def _settings(variables: Sequence[OllamaVariable]) -> dict[str, str]:
    permanent = [
        line
        for variable in variables
        for line in (
            f"{batch_permanent(variable.name, variable.value)} >nul",
            "if errorlevel 1 goto failed",
        )
    ]
    key = r"HKCU\Environment"
    forget = [f"reg delete {key} /v {v.name} /f >nul 2>&1" for v in variables]
    is_plain = all(variable.value.isascii() for variable in variables)
    return {
        "OPEN": "" if is_plain else _OPEN,
        "CLOSE": "" if is_plain else _CLOSE,
        "VARIABLES": lines_of(variables, "rem", batch_assignment),
        "UNDOING": "\n".join(f'set "{name}="' for name in UNDOING),
        "PERMANENT": "\n".join(permanent),
        "FORGET": "\n".join(forget),
    }


def _card_tests(policy: GpuPolicy) -> dict[str, str]:
    tests = [f'if "%MM_CARD%"=="{name}" goto card_found' for name in names_of(policy)]
    return {"CARD_TESTS": "\n".join(tests)}


def _powershell(
    policy: GpuPolicy, variables: Sequence[OllamaVariable]
) -> dict[str, str]:
    return {
        "VARIABLES": lines_of(variables, "#", powershell_assignment),
        "UNDOING": _array(UNDOING),
        "NAMES": _array(names_of(policy)),
    }


def _array(words: Sequence[str]) -> str:
    return "@(" + ", ".join(f"'{word}'" for word in words) + ")"
