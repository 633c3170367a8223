"""What all errors share: what happened, and what to do about it."""

from __future__ import annotations

from typing_extensions import override


def _rebuild(
    cls: type[ModelManagerError], args: tuple[object, ...]
) -> ModelManagerError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ModelManagerError(Exception):
    """Base of all; catch it to catch everything that this library raises."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        """Join what happened and what to do into one message."""
        self.what = message
        """What happened, without the advice."""
        self.remedy = remedy
        """What to do about it."""
        super().__init__(f"{message} {remedy}".rstrip())

    @override
    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the attributes, so that errors cross processes whole."""
        return _rebuild, (type(self), self.args), self.__dict__.copy()
