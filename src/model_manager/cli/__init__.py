"""The command line: it parses, calls and prints, and decides nothing else."""

from model_manager.cli._main import main

__all__ = ["main"]
