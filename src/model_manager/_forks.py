"""What must begin anew in a forked child, without being kept alive for it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable


def call_in_children(method: Callable[[], None]) -> None:
    """Call a bound method in every forked child, first of all, while its object lives.

    There it may take no lock that another thread can have held during the fork. What
    is registered stays for good, so it is small and holds the object weakly. Where
    there is no fork, nothing is done.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_Heir(weakref.WeakMethod(method)))


def call_around_forks(
    before: Callable[[], None], in_parent: Callable[[], None]
) -> None:
    """Call bound methods right before every fork and, in the parent, right after it.

    For what must be at rest meanwhile: locks that are not Python's are copied as they
    are, and nobody would ever open them in the child. Held weakly, as above.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_Heir(weakref.WeakMethod(before)),
            after_in_parent=_Heir(weakref.WeakMethod(in_parent)),
        )


class _Heir:
    """Calls a method if its object is still there."""

    __slots__ = ("_method",)

    def __init__(self, method: weakref.WeakMethod[Callable[[], None]]) -> None:
        self._method = method

    def __call__(self) -> None:
        method = self._method()
        if method is not None:
            method()
