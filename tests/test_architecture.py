"""The limits that keep the house liveable; loosening one is a decision, not an edit."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "model_manager"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_COMPLEXITY = 10
MAX_POSITIONAL = 3
DRAWERS = {"utils", "helpers", "common", "base", "core", "misc"}
BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)
REASONS = (("# noqa", " - "), ("# type: ignore", "] "))
"""A suppression, and what stands between it and its reason."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[Function]:
    return (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def body_lines(function: Function) -> int:
    """Count the lines of the body, the docstring left out: prose is not complexity."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def complexity(function: Function) -> int:
    """Count McCabe's decisions; the linter counts them too, by the same limit."""
    return 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(function))


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_fits_on_a_few_screens(module: Path) -> None:
    lines = len(module.read_text(encoding="utf-8").splitlines())

    assert lines <= MAX_MODULE_LINES


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_functions_are_short_simple_and_keyword_only(module: Path) -> None:
    for function in functions(parse(module)):
        where = f"{name_of(module)}:{function.lineno} {function.name}"
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args]
        named = [a for a in positional if a.arg not in {"self", "cls"}]
        if function.name not in {"__aexit__", "__exit__"}:
            assert len(named) <= MAX_POSITIONAL, f"{where}: positional parameters"
        assert body_lines(function) <= MAX_FUNCTION_LINES, f"{where}: too long"
        assert complexity(function) <= MAX_COMPLEXITY, f"{where}: too complex"


def test_no_module_is_a_drawer_without_a_label() -> None:
    assert not [m for m in MODULES if m.stem.strip("_") in DRAWERS]


def test_the_facade_only_hands_over() -> None:
    source = SOURCE / "_manager.py"
    tree = parse(source)

    assert len(source.read_text(encoding="utf-8").splitlines()) <= 300
    assert not [
        n for n in ast.walk(tree) if isinstance(n, ast.Try | ast.For | ast.While)
    ]


def test_vendors_are_named_in_their_own_rooms_only() -> None:
    """A vendor's name outside `providers/` is a branch that belongs inside."""
    allowed = {"providers", "config", "testing", "cli"}
    for module in MODULES:
        room = module.relative_to(SOURCE).parts[0]
        if room in allowed:
            continue
        for node in ast.walk(parse(module)):
            if isinstance(node, ast.Compare):
                texts = [
                    c.value
                    for c in [node.left, *node.comparators]
                    if isinstance(c, ast.Constant)
                ]
                assert not {"anthropic", "openai", "ollama"} & set(texts), module


def imported_by(module: Path) -> Iterator[str]:
    """Yield the modules of ours that a module imports, with what it takes of them."""
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_what_is_behind_a_door_is_imported_from_inside_only(module: Path) -> None:
    """A name with a line before it belongs to the room that it lies in."""
    own = module.relative_to(SOURCE).parts[0]
    for name in imported_by(module):
        top, room, *inside = [*name.split("."), ""]
        if top == "model_manager" and room != own:
            private = [
                one for one in inside if one.startswith("_") and one != "__all__"
            ]
            assert not private, f"{name_of(module)}: {name}"


def test_every_suppression_says_why() -> None:
    for module in [*MODULES, *Path(__file__).parent.rglob("*.py")]:
        if module == Path(__file__):
            continue
        for number, line in enumerate(
            module.read_text(encoding="utf-8").splitlines(), start=1
        ):
            for mark, before_reason in REASONS:
                if mark in line:
                    reason = line.split(mark, 1)[1].partition(before_reason)[2]
                    assert reason.strip(), f"{module.name}:{number}: {mark} needs why"


def test_every_room_says_its_rule_at_the_door() -> None:
    for door in SOURCE.rglob("__init__.py"):
        assert ast.get_docstring(parse(door)), door
