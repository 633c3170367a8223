"""This machine, as the guard sees it."""

from __future__ import annotations

import os

from model_manager.gpu._cuda import Cuda
from model_manager.gpu._machine import Machine
from model_manager.gpu._nvml import shared_nvml
from model_manager.gpu._system import System


def this_machine() -> Machine:
    """Return this machine and this process, ready to be asked."""
    return Machine(nvml=shared_nvml(), cuda=Cuda(), system=System(), environ=os.environ)
