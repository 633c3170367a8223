"""Gives a method of the manager a second owner, its name and signature kept."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def adopt(
    wrapper: Callable[P, R], method: Callable[..., object], *, filled_in: int = 0
) -> Callable[P, R]:
    """Dress `wrapper` as `method`, so that editors and notebooks show what it takes.

    Args:
        wrapper: What is called.
        method: What it stands for.
        filled_in: How many parameters after `self` the wrapper fills in itself.
    """
    functools.update_wrapper(wrapper, method)
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    kept = [parameters[0], *parameters[1 + filled_in :]]
    vars(wrapper)["__signature__"] = signature.replace(parameters=kept)
    return wrapper
