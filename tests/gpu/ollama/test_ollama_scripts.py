"""The variables of a server's process, and the scripts that set them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.errors import InvalidRequestError
from model_manager.gpu import GpuPolicy
from model_manager.gpu.ollama import (
    OllamaSettings,
    ollama_environment,
    ollama_scripts,
    ollama_variables,
    write_scripts,
)
from model_manager.gpu.ollama._quoting import (
    batch_assignment,
    batch_permanent,
    powershell_assignment,
    shell_assignment,
    unit_assignment,
)
from model_manager.gpu.ollama._scripts import script_bytes

UUID = "GPU-5d1c8f3a-0b2e-4c6d-9f11-2233445566aa"
PINNED = GpuPolicy(uuid=UUID)
BASH = shutil.which("bash")
WINE = shutil.which("wine")
ANALYZE = shutil.which("systemd-analyze")
HOSTILE = (
    "/m & calc.exe",
    "/m; touch gone",
    "/m$(touch gone)",
    "/m`touch gone`",
    "/m'; touch gone; 'x",
    '/m" & calc & "x',
    "/m%PATH%",
    "/m%h",
    "/m^|more",
    "/m$HOME",
    "/m\\n",
    "/m\\",
    "/m \u00e9 \u2014 \u2019",
    "/m!PATH!",
    "/m #1",
)
text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)


class TestVariables:
    def test_the_names_of_the_rules_and_what_really_works_are_all_there(self) -> None:
        environ = ollama_environment(
            PINNED, OllamaSettings(models="D:\\modeles_llm", kv_cache_type="q8_0")
        )

        assert dict(environ) == {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": UUID,
            "OLLAMA_VULKAN": "0",
            "GGML_VK_VISIBLE_DEVICES": "-1",
            "OLLAMA_GPU_DEVICE": "1",
            "OLLAMA_NUM_GPU": "1",
            "OLLAMA_HOST": "127.0.0.1:11434",
            "OLLAMA_MODELS": "D:\\modeles_llm",
            "OLLAMA_CONTEXT_LENGTH": "8192",
            "OLLAMA_NUM_PARALLEL": "1",
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_KEEP_ALIVE": "30m",
            "OLLAMA_KV_CACHE_TYPE": "q8_0",
            "OLLAMA_NO_CLOUD": "1",
        }

    def test_without_a_uuid_the_card_is_named_by_its_place(self) -> None:
        assert ollama_environment(GpuPolicy())["CUDA_VISIBLE_DEVICES"] == "1"

    def test_names_that_nothing_reads_are_said_to_be_so(self) -> None:
        unread = {v.name for v in ollama_variables(PINNED) if not v.is_read}

        assert unread == {"OLLAMA_GPU_DEVICE", "OLLAMA_NUM_GPU"}

    def test_what_is_left_to_ollama_is_not_set(self) -> None:
        environ = ollama_environment(
            PINNED,
            OllamaSettings(
                context_length=None,
                num_parallel=None,
                max_loaded_models=None,
                keep_alive=None,
                no_cloud=False,
            ),
        )

        left = ("CONTEXT", "PARALLEL", "LOADED", "KEEP", "CLOUD", "MODELS", "KV_")
        assert not [name for name in environ if any(word in name for word in left)]

    @pytest.mark.parametrize(
        "policy",
        [
            GpuPolicy(visible_devices="0,1"),
            GpuPolicy(visible_devices=""),
            GpuPolicy(visible_devices="1 & calc"),
            GpuPolicy(uuid="GPU-1\ncalc"),
            GpuPolicy(name='RTX" & calc'),
            GpuPolicy(device_order="FASTEST_FIRST"),
            GpuPolicy(device_order=None),
        ],
    )
    def test_a_policy_that_does_not_name_one_card_is_refused(
        self, policy: GpuPolicy
    ) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            ollama_scripts(policy)

        assert caught.value.remedy


class TestSettings:
    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1:11434", "127.0.0.1", "localhost:1", "[::1]:11434", "127.9.9.9:80"],
    )
    def test_addresses_of_this_machine_are_taken(self, host: str) -> None:
        assert OllamaSettings(host=host).host == host

    @pytest.mark.parametrize(
        "host", ["0.0.0.0:11434", "192.168.1.7:11434", "[::]:11434", "box.lan"]
    )
    def test_an_address_that_others_reach_must_be_meant(self, host: str) -> None:
        with pytest.raises(InvalidRequestError, match="network"):
            OllamaSettings(host=host)

        assert OllamaSettings(host=host, expose=True).host == host

    @pytest.mark.parametrize(
        "host",
        [
            *("", ":11434", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x"),
            *("http://127.0.0.1", "127.0.0.1:1\n", "127.0.0.1:1 & calc", "[::zz]:1"),
        ],
    )
    def test_what_is_no_address_is_refused(self, host: str) -> None:
        with pytest.raises(InvalidRequestError, match="no address"):
            OllamaSettings(host=host, expose=True)

    def test_programs_reach_a_server_that_listens_everywhere_at_home(self) -> None:
        exposed = OllamaSettings(host="0.0.0.0:80", expose=True)

        assert exposed.base_url == "http://127.0.0.1:80"
        assert OllamaSettings(host="[::1]:5").base_url == "http://[::1]:5"

    @pytest.mark.parametrize(
        "folder",
        ["", "models", "./m", "~/m", "D:m", "\\m", "/a\nb", '"/m"', " /m", "/m\x00"],
    )
    def test_a_folder_that_is_not_whole_or_not_writable_is_refused(
        self, folder: str
    ) -> None:
        with pytest.raises(InvalidRequestError, match="folder"):
            OllamaSettings(models=folder)

    @pytest.mark.parametrize("keep_alive", ["", "soon", "5 m", "1h; calc", "30m\n"])
    def test_what_is_no_duration_is_refused(self, keep_alive: str) -> None:
        with pytest.raises(InvalidRequestError, match="duration"):
            OllamaSettings(keep_alive=keep_alive)

    @pytest.mark.parametrize("keep_alive", ["30m", "-1", "0", "1h30m", "1.5h", "-1s"])
    def test_durations_as_ollama_writes_them_are_taken(self, keep_alive: str) -> None:
        assert OllamaSettings(keep_alive=keep_alive).keep_alive == keep_alive

    def test_a_cache_type_that_would_break_every_load_is_refused(self) -> None:
        with pytest.raises(InvalidRequestError, match="kv_cache_type"):
            OllamaSettings(kv_cache_type="q8")

    def test_counts_begin_at_one(self) -> None:
        with pytest.raises(InvalidRequestError, match="context_length"):
            OllamaSettings(context_length=0)
        with pytest.raises(InvalidRequestError, match="num_parallel"):
            OllamaSettings(num_parallel=-1)
        with pytest.raises(InvalidRequestError, match="max_loaded_models"):
            OllamaSettings(max_loaded_models=True)


class TestScripts:
    def test_both_systems_get_the_scripts_that_the_rules_name(self) -> None:
        assert set(ollama_scripts(PINNED)) == {
            "config_env_rtx3090.bat",
            "config_env_rtx3090.sh",
            "ollama.service.d/rtx3090.conf",
            "start_monitor_rtx3090.bat",
            "start_monitor_rtx3090.sh",
            "start_ollama_rtx3090.bat",
            "start_ollama_rtx3090.ps1",
            "start_ollama_rtx3090.sh",
            "surveillance_continue_rtx3090.bat",
            "surveillance_continue_rtx3090.sh",
        }

    @pytest.mark.parametrize(
        ("folder", "kinds"),
        [("D:\\modeles_llm", {"bat", "ps1"}), ("/srv/models", {"sh", "conf"})],
    )
    def test_a_folder_is_written_only_for_the_system_it_belongs_to(
        self, folder: str, kinds: set[str]
    ) -> None:
        scripts = ollama_scripts(PINNED, OllamaSettings(models=folder))

        assert {name.rpartition(".")[2] for name in scripts} == kinds

    def test_a_folder_of_the_other_system_is_refused(self) -> None:
        with pytest.raises(InvalidRequestError, match="windows"):
            ollama_scripts(
                PINNED, OllamaSettings(models="D:\\modeles_llm"), system="linux"
            )

    def test_every_place_is_filled(self) -> None:
        for name, script in ollama_scripts(PINNED).items():
            assert not re.search(r"@[A-Z_]+@", script), name

    def test_the_batch_files_set_what_the_environment_holds(self) -> None:
        chosen = OllamaSettings(models="D:\\modèles & llm 100%\\")
        script = ollama_scripts(PINNED, chosen)["config_env_rtx3090.bat"]
        expected = dict(ollama_environment(PINNED, chosen))

        assert dict(map(read_batch, lines_like(r'set "(?!MM_)', script))) == {
            **expected,
            **dict.fromkeys(UNDONE, ""),
        }
        assert dict(map(read_setx, lines_like("setx ", script))) == expected

    def test_every_variable_that_is_set_for_good_can_be_taken_back(self) -> None:
        script = ollama_scripts(PINNED)["config_env_rtx3090.bat"]

        assert set(re.findall(r"reg delete \S+ /v (\w+) /f", script)) == set(
            ollama_environment(PINNED)
        )

    def test_powershell_sets_what_the_environment_holds(self) -> None:
        chosen = OllamaSettings(models="D:\\l'\u00e9t\u00e9 \u201924")
        script = ollama_scripts(PINNED, chosen)["start_ollama_rtx3090.ps1"]

        assert dict(map(read_powershell, lines_like(r"\$env:", script))) == (
            dict(ollama_environment(PINNED, chosen))
        )

    def test_the_unit_sets_what_the_environment_holds(self) -> None:
        chosen = OllamaSettings(models='/srv/a "b" \\ 100% %h')
        script = ollama_scripts(PINNED, chosen)["ollama.service.d/rtx3090.conf"]

        assert dict(map(read_unit, lines_like("Environment=", script))) == (
            dict(ollama_environment(PINNED, chosen))
        )
        assert f"UnsetEnvironment={' '.join(UNDONE)}\n" in script

    def test_values_do_not_stand_outside_of_assignments(self) -> None:
        """A folder in a comment or a message could become code there."""
        for folder in ("D:\\zzz", "/zzz"):
            for script in ollama_scripts(
                PINNED, OllamaSettings(models=folder)
            ).values():
                lines = [line for line in script.splitlines() if "zzz" in line]
                assert all("OLLAMA_MODELS" in line for line in lines)


UNDONE = (
    "OLLAMA_SCHED_SPREAD",
    "OLLAMA_LLM_LIBRARY",
    "LLAMA_ARG_DEVICE",
    "LLAMA_ARG_N_GPU_LAYERS",
    "LLAMA_ARG_SPLIT_MODE",
    "LLAMA_ARG_TENSOR_SPLIT",
    "LLAMA_ARG_MAIN_GPU",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
)


def lines_like(beginning: str, script: str) -> list[str]:
    return re.findall(rf"^{beginning}.*$", script, re.MULTILINE)


def read_batch(line: str) -> tuple[str, str]:
    """Read `set "NAME=value"` as cmd does: up to the last quote, `%%` for `%`."""
    match = re.fullmatch(r'set "([^=]+)=([^"]*)"', line)
    assert match is not None, line
    assert "%" not in match[2].replace("%%", ""), line
    return match[1], match[2].replace("%%", "%")


def read_setx(line: str) -> tuple[str, str]:
    """Read an argument as Windows programs do: backslashes before a quote pair up."""
    match = re.match(r'setx (\w+) "([^"]*?)(\\*)"', line)
    assert match is not None, line
    assert len(match[3]) % 2 == 0, line
    return match[1], match[2].replace("%%", "%") + match[3][::2]


def read_powershell(line: str) -> tuple[str, str]:
    quotes = "'\u2018\u2019\u201a\u201b"
    match = re.fullmatch(
        rf"\$env:(\w+) = '((?:[^{quotes}]|([{quotes}])\3)*)'", line, re.DOTALL
    )
    assert match is not None, line
    return match[1], re.sub(rf"([{quotes}])\1", r"\1", match[2])


def read_unit(line: str) -> tuple[str, str]:
    match = re.fullmatch(r'Environment="(\w+)=((?:[^"\\]|\\["\\])*)"', line)
    assert match is not None, line
    value = re.sub(r'\\(["\\])', r"\1", match[2])
    assert "%" not in value.replace("%%", "")
    return match[1], value.replace("%%", "%")


class TestQuoting:
    @given(text)
    def test_batch_files_hold_the_same_text_or_refuse(self, value: str) -> None:
        if re.search(r'["!]', value):
            with pytest.raises(InvalidRequestError, match="batch"):
                batch_assignment("X", value)
        else:
            assert read_batch(batch_assignment("X", value)) == ("X", value)
            assert read_setx(batch_permanent("X", value)) == ("X", value)

    @given(text)
    def test_powershell_holds_the_same_text(self, value: str) -> None:
        assert read_powershell(powershell_assignment("X", value)) == ("X", value)

    @given(text)
    def test_units_hold_the_same_text(self, value: str) -> None:
        assert read_unit(unit_assignment("X", value)) == ("X", value)

    @pytest.mark.parametrize(
        "quote",
        [
            batch_assignment,
            batch_permanent,
            powershell_assignment,
            shell_assignment,
            unit_assignment,
        ],
    )
    def test_no_format_lets_a_second_line_begin(self, quote: object) -> None:
        assert callable(quote)
        for value in ("a\nb", "a\rb", "a\x00b", "a\x1bb"):
            with pytest.raises(InvalidRequestError, match="safely"):
                quote("X", value)

    @pytest.mark.skipif(BASH is None, reason="there is no bash")
    def test_bash_reads_back_whatever_was_written(self, tmp_path: Path) -> None:
        for number, value in enumerate(HOSTILE):
            assert bash_reads(tmp_path, value, number) == value
        assert not list(tmp_path.rglob("gone"))

    @pytest.mark.skipif(BASH is None, reason="there is no bash")
    @settings(max_examples=20, deadline=None)
    @given(text)
    def test_bash_reads_back_any_text(
        self, tmp_path_factory: pytest.TempPathFactory, value: str
    ) -> None:
        folder = tmp_path_factory.mktemp("bash")
        chosen = OllamaSettings(models=f"/m{value}x")

        assert bash_reads(folder, f"/m{value}x", 0) == chosen.models

    @pytest.mark.skipif(WINE is None, reason="there is no cmd: no Windows, no Wine")
    @pytest.mark.parametrize(
        "folder",
        ["D:\\m & calc", "D:\\m%PATH%", "D:\\m^|more", "D:\\m\\", "D:\\(m) 'x' $(y)"],
    )
    def test_cmd_reads_back_whatever_was_written(
        self, tmp_path: Path, folder: str
    ) -> None:
        chosen = OllamaSettings(models=folder)
        write_scripts(tmp_path, ollama_scripts(PINNED, chosen))
        (tmp_path / "look.bat").write_bytes(
            b"@echo off\r\ncall config_env_rtx3090.bat\r\n"
            b"echo code %errorlevel%\r\nset OLLAMA_\r\nset CUDA_\r\nset GGML_\r\n"
        )

        out = cmd(tmp_path, "look.bat", OLLAMA_SCHED_SPREAD="1")

        expected = ollama_environment(PINNED, chosen)
        seen = dict(line.split("=", 1) for line in out if "=" in line)
        assert seen == dict(expected)
        assert "code 0" in out


def bash_reads(folder: Path, models: str, number: int) -> str:
    """Return the folder as bash has it after reading the file for Linux."""
    scripts = ollama_scripts(PINNED, OllamaSettings(models=models))
    target = folder / str(number)
    write_scripts(target, scripts)
    assert BASH is not None
    done = subprocess.run(  # noqa: S603 - a script of ours
        [
            *(BASH, "--norc", "-c"),
            "source ./config_env_rtx3090.sh && printf '%s' \"$OLLAMA_MODELS\"",
        ],
        cwd=target,
        capture_output=True,
        check=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == b""
    return done.stdout.decode()


def cmd(folder: Path, *words: str, **environ: str) -> list[str]:
    """Run a batch file with Wine's cmd and return its lines."""
    assert WINE is not None
    done = subprocess.run(  # noqa: S603 - a script of ours
        [WINE, "cmd", "/c", *words],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "WINEDEBUG": "-all", **environ},
    )
    return done.stdout.decode("utf-8", "replace").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scripts(tmp_path / "scripts", ollama_scripts(PINNED))
    return tmp_path / "scripts"


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.skipif(BASH is None, reason="there is no bash")
class TestLinux:
    def run(
        self, script: Path, *words: str, path: Path, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        assert BASH is not None
        (path / "bin").mkdir(exist_ok=True)
        return subprocess.run(  # noqa: S603 - a script of ours
            [BASH, str(script), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={"PATH": f"{path / 'bin'}:/usr/bin:/bin", **environ},
        )

    def test_every_script_is_read_without_a_complaint(self, folder: Path) -> None:
        assert BASH is not None
        for script in folder.glob("*.sh"):
            done = subprocess.run(  # noqa: S603 - a script of ours
                [BASH, "-n", str(script)], capture_output=True, check=False, timeout=30
            )
            assert (done.returncode, done.stderr) == (0, b""), script.name

    def test_ollama_is_started_with_the_environment_alone(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "bin").mkdir()
        program(tmp_path / "bin" / "nvidia-smi", "echo NVIDIA GeForce RTX 3090")
        program(tmp_path / "bin" / "ollama", 'echo "$@"; env')
        write_scripts(
            folder,
            ollama_scripts(PINNED, OllamaSettings(host="127.0.0.1:1")),
            overwrite=True,
        )

        done = self.run(
            folder / "start_ollama_rtx3090.sh", path=tmp_path, OLLAMA_SCHED_SPREAD="1"
        )

        lines = done.stdout.splitlines()
        assert done.returncode == 0, done.stderr
        assert lines[1] == "serve"
        assert f"CUDA_VISIBLE_DEVICES={UUID}" in lines
        assert "OLLAMA_VULKAN=0" in lines
        assert not [line for line in lines if "SPREAD" in line]

    @pytest.mark.parametrize(
        ("card", "words"),
        [
            ("NVIDIA GeForce RTX 5060 Ti", "is 'NVIDIA GeForce RTX 5060 Ti', not the"),
            ("NVIDIA GeForce RTX 3090 Ti", "not the RTX 3090"),
            ("No devices were found", "not the RTX 3090"),
        ],
    )
    def test_another_card_at_that_place_stops_it(
        self, folder: Path, tmp_path: Path, card: str, words: str
    ) -> None:
        (tmp_path / "bin").mkdir()
        program(tmp_path / "bin" / "nvidia-smi", f"echo {card}")
        program(tmp_path / "bin" / "ollama", f"touch {tmp_path}/started")

        done = self.run(folder / "start_ollama_rtx3090.sh", path=tmp_path)

        assert done.returncode == 1
        assert words in done.stderr
        assert not (tmp_path / "started").exists()

    def test_a_missing_ollama_is_told(self, folder: Path, tmp_path: Path) -> None:
        done = self.run(folder / "start_ollama_rtx3090.sh", path=tmp_path)

        assert (done.returncode, "ollama is not on PATH" in done.stderr) == (1, True)

    def test_the_variables_alone_say_that_they_must_be_sourced(
        self, folder: Path, tmp_path: Path
    ) -> None:
        done = self.run(folder / "config_env_rtx3090.sh", path=tmp_path)

        assert (done.returncode, "source" in done.stderr) == (2, True)

    def test_a_missing_package_is_told(self, folder: Path, tmp_path: Path) -> None:
        for name in ("start_monitor_rtx3090.sh", "surveillance_continue_rtx3090.sh"):
            done = self.run(folder / name, path=tmp_path)
            assert done.returncode == 1
            assert "pip install 'model-manager[cli]'" in done.stderr

    def survey(self, folder: Path, path: Path, manager: str) -> tuple[str, str]:
        """Run two rounds, and return what was shown and what was kept."""
        (path / "bin").mkdir()
        program(path / "bin" / "model-manager", manager)
        program(path / "bin" / "sleep", "exit 0")
        # The third round is never told: nobody knows the time any more.
        program(
            path / "bin" / "date",
            f"echo x >> {path}/rounds; echo now; test $(wc -l < {path}/rounds) -lt 3",
        )
        log = path / "alerts.log"

        done = self.run(
            folder / "surveillance_continue_rtx3090.sh", "5", str(log), path=path
        )

        assert done.stderr == ""
        return done.stdout, log.read_text(encoding="utf-8") if log.exists() else ""

    def test_the_survey_tells_of_a_wrong_server_and_keeps_it(
        self, folder: Path, tmp_path: Path
    ) -> None:
        shown, kept = self.survey(
            folder, tmp_path, 'echo "seen: $*"; test "$2" != check-server'
        )

        told = "now ALERT\nseen: gpu check-server http://127.0.0.1:11434\n"
        assert shown == kept == told * 2

    def test_the_survey_tells_of_alerts_about_the_card(
        self, folder: Path, tmp_path: Path
    ) -> None:
        shown, kept = self.survey(
            folder, tmp_path, "echo '10:00  1 RTX 3090'; echo '10:01  ALERT heat: 95'"
        )

        assert shown == kept == "now ALERT\n10:01  ALERT heat: 95\n" * 2

    def test_the_survey_tells_that_no_card_can_be_read(
        self, folder: Path, tmp_path: Path
    ) -> None:
        shown, kept = self.survey(
            folder, tmp_path, 'test "$2" = check-server || { echo no driver; exit 3; }'
        )

        assert shown == kept == "now ALERT\nno driver\n" * 2

    def test_the_survey_keeps_nothing_where_all_is_well(
        self, folder: Path, tmp_path: Path
    ) -> None:
        shown, kept = self.survey(folder, tmp_path, "echo 10:00  1 RTX 3090")

        assert (shown, kept) == ("now ok\n" * 2, "")

    @pytest.mark.skipif(ANALYZE is None, reason="there is no systemd")
    def test_systemd_takes_the_drop_in(self, tmp_path: Path) -> None:
        assert ANALYZE is not None
        scripts = ollama_scripts(
            PINNED, OllamaSettings(models='/srv/a "b" \\ 100% %h é')
        )
        write_scripts(tmp_path, scripts)
        unit = tmp_path / "ollama.service"
        unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")

        done = subprocess.run(  # noqa: S603 - a unit of ours
            [ANALYZE, "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        )

        assert "rtx3090.conf" not in done.stderr, done.stderr


class TestWritten:
    def test_windows_reads_crlf_and_linux_runs_what_it_gets(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_dir():
                continue
            content = path.read_bytes()
            if path.suffix in {".bat", ".ps1"}:
                assert content.count(b"\n") == content.count(b"\r\n"), path.name
                assert content.isascii()
            else:
                assert b"\r" not in content, path.name
            if os.name == "posix":
                runs = bool(path.stat().st_mode & stat.S_IXUSR)
                assert runs == (path.suffix == ".sh"), path.name

    def test_letters_beyond_ascii_are_marked_as_each_program_needs(self) -> None:
        scripts = ollama_scripts(PINNED, OllamaSettings(models="D:\\modèles"))
        batch = script_bytes("a.bat", scripts["config_env_rtx3090.bat"])
        powershell = script_bytes("a.ps1", scripts["start_ollama_rtx3090.ps1"])

        first = batch.index("modèles".encode())
        assert batch[: batch.index(b"chcp 65001")].isascii()
        assert batch.index(b"chcp 65001") < first
        assert batch.rindex(b"chcp %MM_CODEPAGE%") > first
        assert powershell.startswith(b"\xef\xbb\xbf")

    def test_what_is_there_is_kept_and_nothing_is_written(self, tmp_path: Path) -> None:
        mine = tmp_path / "start_ollama_rtx3090.sh"
        mine.write_text("mine", encoding="utf-8")

        with pytest.raises(InvalidRequestError, match="start_ollama_rtx3090"):
            write_scripts(tmp_path, ollama_scripts(PINNED))

        assert [path.name for path in tmp_path.iterdir()] == [mine.name]
        assert mine.read_text(encoding="utf-8") == "mine"

    def test_what_is_there_is_replaced_when_asked(self, tmp_path: Path) -> None:
        mine = tmp_path / "start_ollama_rtx3090.sh"
        mine.write_text("mine", encoding="utf-8")

        written = write_scripts(tmp_path, ollama_scripts(PINNED), overwrite=True)

        assert mine.read_text(encoding="utf-8").startswith("#!")
        there = {path for path in tmp_path.rglob("*") if path.is_file()}
        assert there == set(written)

    def test_a_failure_on_the_way_leaves_all_as_it_was(self, tmp_path: Path) -> None:
        """The last script cannot be moved to its place: a folder full of files is."""
        scripts = dict(ollama_scripts(PINNED))
        mine = tmp_path / "config_env_rtx3090.bat"
        mine.write_text("mine", encoding="utf-8")
        (tmp_path / "blocked").write_text("a file", encoding="utf-8")
        broken: Mapping[str, str] = {**scripts, "blocked/last.sh": ""}

        with pytest.raises(InvalidRequestError, match="cannot be written"):
            write_scripts(tmp_path, broken, overwrite=True)

        assert {path.name for path in tmp_path.iterdir()} == {mine.name, "blocked"}
        assert mine.read_text(encoding="utf-8") == "mine"

    def test_a_move_that_fails_is_undone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scripts = ollama_scripts(replace(PINNED))
        mine = tmp_path / "config_env_rtx3090.bat"
        mine.write_text("mine", encoding="utf-8")
        real = Path.replace

        def fails_late(self: Path, target: Path) -> Path:
            if target.name.endswith(".conf"):
                raise PermissionError(13, "Permission denied")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", fails_late)
        with pytest.raises(InvalidRequestError, match="Permission denied"):
            write_scripts(tmp_path, scripts, overwrite=True)

        assert [path.name for path in tmp_path.iterdir()] == [mine.name]
        assert mine.read_text(encoding="utf-8") == "mine"
