"""What tests of the cards share: the driver's libraries, stood in for."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import standins


@pytest.fixture(scope="session")
def standin_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stand-ins for NVML and CUDA, for `LD_LIBRARY_PATH`."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the stand-ins for the driver's libraries are built on Linux only")
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to build stand-ins for the driver's libraries")
    return standins.build(tmp_path_factory.mktemp("standins"))
