"""`gpu check-scripts` and `gpu template`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from model_manager.cli import _gpu_scripts
from model_manager.cli._app import CommandLine
from model_manager.cli._options import ConfigPath
from model_manager.cli._session import Notes, Session

app = typer.Typer(cls=CommandLine, rich_markup_mode="rich")
group = typer.Typer()


@app.callback()
def _begin(context: typer.Context, *, config: ConfigPath = None) -> None:
    notes = Notes(verbose=False)
    context.call_on_close(notes.close)
    context.obj = Session(config=config, verbose=False, notes=notes)


group.command("check-scripts", epilog=_gpu_scripts.CHECK_SCRIPTS_EXAMPLES)(
    _gpu_scripts.check_scripts
)
group.command("template", epilog=_gpu_scripts.TEMPLATE_EXAMPLES)(_gpu_scripts.template)
app.add_typer(group, name="gpu")


def run(*arguments: str, columns: int = 80) -> Any:
    environ = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["gpu", *arguments], env=environ)


def put(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def unwrapped(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_a_clean_tree_is_said_to_be_so() -> None:
    put("a.py", "x = 1\n")

    done = run("check-scripts")

    assert done.exit_code == 0
    assert done.stdout == "ok: 1 file, nothing to mend\n"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_findings_are_shown_by_file_at_any_width(columns: int) -> None:
    put("src/a.py", "import torch\nx = 'cuda:1'\n")
    put("src/start.bat", "set CUDA_VISIBLE_DEVICES=0\n")
    put("src/b.py", "x = 1\n")

    done = run("check-scripts", "src", columns=columns)

    assert done.exit_code == 3
    assert max(map(len, done.stdout.splitlines())) <= columns
    lines = done.stdout.replace("\\", "/").splitlines()
    assert lines.index("src/a.py") < lines.index("src/start.bat")
    assert "src/b.py" not in lines
    text = unwrapped(done.stdout)
    assert "1:1 error GPU001 environment-missing: torch is imported and" in text
    assert "2:5 error GPU020 other-device: cuda:1 is another card" in text
    assert "Set it to 1." in text
    assert "3 files, 2 with findings: 3 errors 3 can be mended with --fix" in text


def test_as_json_it_is_for_programs() -> None:
    put("a.py", "import torch  # gpu-standards: ignore[GPU001] processor only\n")

    done = run("check-scripts", "--json", "a.py")

    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (data["ok"], data["files"], data["suppressed"]) == (True, 1, 1)


def test_as_sarif_it_is_for_code_hosts() -> None:
    put("a.py", "import torch\n")

    done = run("check-scripts", "--sarif", "a.py")

    assert done.exit_code == 3
    (run_of_it,) = json.loads(done.stdout)["runs"]
    assert run_of_it["results"][0]["ruleId"] == "GPU001"


def test_fixing_says_what_was_mended_and_what_is_left() -> None:
    path = put("a.py", "import torch, sys\ntorch.cuda.set_device(sys.argv[1])\n")

    first = run("check-scripts", "--fix", "a.py")
    second = run("check-scripts", "--fix", "a.py")

    assert first.exit_code == second.exit_code == 3
    assert "mended: 2 findings in 1 file" in unwrapped(first.stdout)
    assert "GPU021" in first.stdout
    assert "mended" not in second.stdout
    assert path.read_text(encoding="utf-8").startswith("import os\n\nos.environ[")


def test_a_path_that_is_not_there_is_an_error_with_a_remedy() -> None:
    done = run("check-scripts", "nowhere")

    assert done.exit_code == 6
    assert "no file or folder 'nowhere'" in done.stderr
    assert "Try: " in done.stderr


def test_json_and_sarif_exclude_each_other() -> None:
    assert run("check-scripts", "--json", "--sarif").exit_code == 6


def test_the_configuration_says_which_card_is_meant() -> None:
    settings = {
        "version": "1.1.0",
        "agent_models": {"a": {"local": "m"}},
        "model_providers": {"ollama": {"models": {"m": {}}}},
        "gpu_settings": {"cuda_visible_devices": "0"},
    }
    put("models_config.json", json.dumps(settings))
    put("start.sh", "export CUDA_VISIBLE_DEVICES=0\n")

    assert run("check-scripts", "-c", "models_config.json", "start.sh").exit_code == 0
    text = run("template", "-c", "models_config.json").stdout
    assert 'os.environ["CUDA_VISIBLE_DEVICES"] = "0"' in text


def test_the_rules_can_be_listed() -> None:
    shown = run("check-scripts", "--list-rules", columns=120)
    data = json.loads(run("check-scripts", "--list-rules", "--json").stdout)

    assert shown.exit_code == 0
    assert "environment-missing" in shown.stdout
    assert {"id", "name", "severity", "summary", "fix"} == set(data[0])


def test_the_help_shows_how_a_line_is_let_pass() -> None:
    assert "ignore[other-device]" in run("check-scripts", "--help").stdout


def test_a_template_is_printed_or_written_and_keeps_the_standards() -> None:
    printed = run("template")
    written = run("template", "train.py")

    assert printed.exit_code == written.exit_code == 0
    assert written.stdout == ""
    text = Path("train.py").read_text(encoding="utf-8")
    assert text == printed.stdout.replace("gpu_script", "train")
    assert run("check-scripts", "train.py").exit_code == 0


def test_a_template_overwrites_nothing_unless_told_to() -> None:
    path = put("train.py", "mine\n")

    refused = run("template", "train.py")

    assert refused.exit_code == 6
    assert "--force" in refused.stderr
    assert path.read_text(encoding="utf-8") == "mine\n"
    assert run("template", "--force", "--plain", "train.py").exit_code == 0
    assert "os.environ" in path.read_text(encoding="utf-8")


def test_a_template_that_cannot_be_written_is_an_error_that_says_so() -> None:
    done = run("template", "nowhere/train.py")

    assert done.exit_code == 6
    assert "cannot be written" in done.stderr
