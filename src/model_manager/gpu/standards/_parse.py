"""Parses Python that others wrote."""

from __future__ import annotations

import ast
import warnings


def parse(text: str | bytes) -> ast.Module:
    """Parse Python without telling the world what is odd about it.

    Raises:
        SyntaxError: It is not the Python of this interpreter.
        ValueError: It cannot be read at all.
        RecursionError: It is nested too deep.
        MemoryError: As RecursionError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)
