"""Judges machines, one a line of standard input, each in a fresh child of its own.

Runs with the stand-ins on its library path. A child has loaded neither NVML nor CUDA,
so what it reads is what a new program would: the machine of its line, under the
variables of its line. It answers with the guard's verdict, and with the cards that the
stand-in of CUDA really shows.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from dataclasses import replace
from typing import Any

from model_manager.gpu import check_gpu, this_machine
from model_manager.gpu._cuda_probe import count_devices, read_devices


class Quiet:
    """A system without PyTorch, whatever is installed here."""

    def torch(self) -> None:
        """Return that there is none."""

    def cards_on_bus(self) -> None:
        """Return that the bus cannot be looked at."""

    def is_wsl(self) -> bool:
        """Return that this is no WSL."""
        return False


def judge(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the guard's verdict and CUDA's own cards under the line's variables."""
    for name in list(os.environ):
        if name.startswith(("CUDA_", "PYTORCH_")):
            del os.environ[name]
    os.environ |= asked["environ"]
    os.environ["STANDIN_MACHINE"] = asked["machine"]
    machine = replace(this_machine(), system=Quiet())
    verdict = check_gpu(machine=machine, ask_cuda=asked["ask_cuda"])
    library = ctypes.CDLL("libcuda.so.1")
    shown = []
    if not library.cuInit(0):
        _, count = count_devices(library)
        shown = [device["uuid"] for device in read_devices(library, count)]
    return {"passed": verdict.passed, "text": str(verdict), "shown": shown}


def main() -> None:
    """Answer each line with a line."""
    # Read before the first child, so that each need not.
    importlib.import_module("pynvml")
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            with os.fdopen(writer, "w", encoding="utf-8") as out:
                json.dump(judge(json.loads(line)), out)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as answer:
            sys.stdout.write(answer.read() + "\n")
        os.waitpid(child, 0)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
