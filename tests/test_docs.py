"""What the documentation says is true: its code runs, its lists are complete."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

import model_manager.errors
from model_manager.cli._app import app
from model_manager.cli._failures import EXIT_CODES
from model_manager.resilience import verdict_on

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md"]
_FENCED = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MODEL_MANAGER_CONFIG")


@dataclass(frozen=True)
class Block:
    """A fenced block; with a title it is a file of that name."""

    language: str
    title: str | None
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCED.finditer(text):
        title = _TITLE.search(match[2])
        line = text[: match.start()].count("\n") + 1
        found.append(Block(match[1], title[1] if title else None, match[3], line))
    return found


def name_of(page: Path) -> str:
    return page.name


def pages_with(language: str) -> list[Path]:
    return [p for p in PAGES if any(b.language == language for b in blocks_of(p))]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in an empty folder, without keys; the plugin forbids the network."""
    for name in _KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: Block, page: Path, *, names: dict[str, Any]) -> Iterator[Any]:
    """Run a block; yield what is to be awaited, if anything."""
    # As many empty lines before it as in the page, so that a traceback names the place.
    source = "\n" * block.line + block.code
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        yield eval(code, names)  # noqa: S307 - our own documentation
    else:
        exec(code, names)  # noqa: S102 - our own documentation


def run_tests(file: str) -> None:
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("page", pages_with("python"), ids=name_of)
def test_the_code_of_a_page_runs_in_order_and_offline(
    page: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks_of(page):
            if block.title is not None:
                (offline / block.title).write_text(block.code, encoding="utf-8")
                if block.title.startswith("test_"):
                    run_tests(block.title)
            elif block.language == "python":
                for awaited in run(block, page, names=names):
                    runner.run(awaited)
    capsys.readouterr()


@pytest.mark.parametrize("page", pages_with("json"), ids=name_of)
def test_json_in_a_page_is_json(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "json":
            json.loads(block.code)


def test_the_readme_is_short_and_has_two_set_up_commands() -> None:
    text = README.read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if "pip install" in line]

    assert len(text.splitlines()) <= 120
    assert len(commands) == 2
    assert all("-m venv" in command for command in commands)
    assert "model-manager demo" in commands[0]
    assert commands[1].endswith("pytest")


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        place, _, heading = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{page.name}: {target}"
        if heading:
            assert heading in headings_of(file), f"{page.name}: {target}"


def headings_of(page: Path) -> set[str]:
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in titles
    }


def test_the_page_on_errors_names_every_error_and_no_other() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    spoken_of = set(re.findall(r"`(\w+Error)`", text))

    assert named == set(model_manager.errors.__all__)
    assert not {n for n in spoken_of - named if not hasattr(builtins, n)}


def test_the_table_of_decisions_is_the_one_in_force() -> None:
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (`\w+Error`.*?)" + r" \| (.*?)" * 4 + r" \|$", text, re.MULTILINE
    )
    told = {
        name: tuple(words)
        for cell, *words in rows
        for name in re.findall(r"\w+Error", cell)
    }
    again_words = {"never": "no", "at_once": "at once", "as_told": "as told"}
    then_words = {
        "anyone": "the next",
        "larger_window": "a larger window",
        "nobody": "nobody",
    }
    fault_words = {0.0: "no", 0.5: "half", 1.0: "yes"}
    rest_words = {
        "none": "nothing",
        "cooldown": "the model, as told",
        "suspend_model": "the model",
        "suspend_endpoint": "the endpoint",
    }
    provider_error = model_manager.errors.ProviderError
    expected = {}
    for name in model_manager.errors.__all__:
        cls = getattr(model_manager.errors, name)
        if issubclass(cls, provider_error) and cls is not provider_error:
            verdict = verdict_on(cls("it failed."))
            expected[name] = (
                again_words[verdict.retry],
                then_words[verdict.fallback],
                fault_words[verdict.fault],
                rest_words[verdict.rest],
            )

    assert told == expected


def commands_in(page: Path) -> Iterator[list[str]]:
    for block in blocks_of(page):
        for line in block.code.splitlines() if block.language == "bash" else ():
            for part in re.split(r"\|\||&&|\|", line):
                words = shlex.split(part, comments=True)
                if words and words[0].endswith("model-manager"):
                    yield list(itertools.takewhile(lambda word: word != ">", words))[1:]


@pytest.mark.parametrize("page", pages_with("bash"), ids=name_of)
def test_commands_in_a_page_exist_with_their_options(page: Path) -> None:
    for words in commands_in(page):
        command: Any = typer.main.get_command(app)
        for word in words:
            command = getattr(command, "commands", {}).get(word, command)
        known = {name for option in command.params for name in option.opts}
        used = {word for word in words if re.match(r"--?\w", word)}

        # Some groups do something by themselves, `usage` for one.
        alone = getattr(command, "invoke_without_command", True)
        assert alone, f"{words}: not a command"
        assert used <= known, f"{words}: {used - known}"


def test_the_page_on_the_command_line_is_complete() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    codes = re.findall(r"^\| (\d+) \| (.*?) \|$", text, re.MULTILINE)
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        for inner in getattr(command, "commands", {"": None}):
            assert f"`model-manager {name} {inner}".rstrip() in text

    assert {int(code): words for code, words in codes} == dict(EXIT_CODES)
