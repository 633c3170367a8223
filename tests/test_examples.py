"""Every example runs as its readers run it: in a process of its own, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9]*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MAX_LINES = 60
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MODEL_MANAGER_CONFIG")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _KEYS:
        monkeypatch.delenv(name, raising=False)


def name_of(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_an_example_runs_and_leaves_nothing_open(script: Path, tmp_path: Path) -> None:
    ended = subprocess.run(  # noqa: S603 - our own interpreter and our own file
        # With warnings as errors: whoever copies it starts without resource leaks.
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        text=True,
        encoding="utf-8",
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    assert "ResourceWarning" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_an_example_is_short_and_asks_one_question(script: Path) -> None:
    text = script.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= MAX_LINES
    assert text.splitlines()[0].endswith("?")
    assert "def main()" in text


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    cells = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]  # untyped
    client = NotebookClient(
        cells,
        timeout=60,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )

    client.execute()

    shown = [out for cell in cells.cells for out in cell.get("outputs", ())]
    assert any("text/html" in out.get("data", {}) for out in shown)
    assert not [out for out in shown if out.output_type == "error"]


def test_there_are_examples() -> None:
    assert len(SCRIPTS) == 11
    assert NOTEBOOKS
