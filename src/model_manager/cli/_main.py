"""The entry point, which works without the packages that the commands need."""

from __future__ import annotations

import io
import sys

_NEEDED = {"rich", "typer"}


def main() -> None:
    """Run the command line and exit with its code; see `model-manager --help`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A model may answer with letters that this terminal does not have.
            stream.reconfigure(errors="replace")
    try:
        # Late, because the extra may be missing; the library works without it.
        from model_manager.cli._app import app  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        print(
            f"Error: the command line needs the package {missing!r}, which is not"
            " installed.\nTry: pip install 'model-manager[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    app(prog_name="model-manager")
