"""What the doors promise: sorted, complete, documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import model_manager
import model_manager.gpu

DOORS = [
    "model_manager",
    "model_manager.errors",
    "model_manager.sync",
    *(
        f"model_manager.{room.name}"
        for room in pkgutil.iter_modules(model_manager.__path__)
        if room.ispkg and not room.name.startswith("_")
    ),
    *(
        part.name
        for part in pkgutil.iter_modules(
            model_manager.gpu.__path__, "model_manager.gpu."
        )
        if part.ispkg
    ),
]


@pytest.mark.parametrize("door", DOORS)
def test_a_doors_names_are_sorted_and_real(door: str) -> None:
    module = importlib.import_module(door)

    assert list(module.__all__) == sorted(module.__all__)
    assert not [name for name in module.__all__ if not hasattr(module, name)]


@pytest.mark.parametrize("door", DOORS)
def test_every_public_class_and_function_is_documented(door: str) -> None:
    module = importlib.import_module(door)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{door}.{name}"


def test_the_library_tells_its_public_names() -> None:
    assert "ModelManager" in model_manager.__all__
    assert len(model_manager.__all__) <= 35
