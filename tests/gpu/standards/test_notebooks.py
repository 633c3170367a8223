"""Notebooks: cells in their order, magics, and places that a reader finds."""

from __future__ import annotations

import json

import pytest

from model_manager.gpu import GpuPolicy
from model_manager.gpu.standards import Finding
from model_manager.gpu.standards._checked import check_data
from model_manager.gpu.standards._wanted import wanted_of

MAGIC = (
    "%env CUDA_VISIBLE_DEVICES=1\n%env CUDA_DEVICE_ORDER PCI_BUS_ID\n"
    "%set_env PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:1024"
)

APPLY = "apply_gpu_environment()\nimport torch"


def notebook(*cells: str, language: str = "python", **more: object) -> bytes:
    made = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "source": cell}
        for cell in cells
    ]
    text = {"cell_type": "markdown", "metadata": {}, "source": "import torch"}
    metadata = {"kernelspec": {"language": language}}
    return json.dumps(
        {"cells": [text, *made], "metadata": metadata, "nbformat": 4, **more}
    ).encode()


def found(data: bytes) -> tuple[Finding, ...]:
    return check_data(
        "n.ipynb", data, "notebook", wanted=wanted_of(GpuPolicy())
    ).findings


def rules(*cells: str) -> list[str]:
    return [finding.rule.id for finding in found(notebook(*cells))]


def test_a_place_is_the_cell_and_the_line_in_it() -> None:
    (finding,) = found(notebook("x = 1\ny = 2", "# one\n\nimport torch"))

    assert (finding.cell, finding.line, finding.column) == (3, 3, 1)
    assert finding.place == "cell 3, 3:1"


@pytest.mark.parametrize(
    "cells",
    [
        (MAGIC, "import torch"),
        (f"!pip install x\n{MAGIC}\nimport torch",),
        ("%%time\nx = 1", MAGIC, "%%capture out\nimport torch"),
        (
            "from model_manager.gpu import apply_gpu_environment as a\na()",
            "import torch",
        ),
        ("%%html\n<b>import torch</b>", "%%writefile x.py\nimport torch"),
        ("x = !ls torch\ny = %who\nprint?\n?print", "x = ('a %s torch'\n     % x)"),
        ("!echo \\\n  torch\nx = 1",),
        ("x = await f()  # torch",),
        ("%%bash\nexport CUDA_VISIBLE_DEVICES=1",),
        ("", "# torch"),
        (),
    ],
)
def test_a_good_notebook_passes(cells: tuple[str, ...]) -> None:
    assert rules(*cells) == []


@pytest.mark.parametrize(
    ("cells", "broken"),
    [
        (("import torch", MAGIC), ["GPU002"] * 3),
        ((MAGIC.replace("=1\n", "=0\n"), "import torch"), ["GPU004"]),
        ((MAGIC.replace("=1\n", "=$gpu\n"), "import torch"), ["GPU005"]),
        (("!export CUDA_VISIBLE_DEVICES=1", "import torch"), ["GPU001"]),
        (("%%bash\nexport CUDA_VISIBLE_DEVICES=0",), ["GPU004"]),
        (("!CUDA_VISIBLE_DEVICES=0 python train.py",), ["GPU004"]),
        (("%env CUDA_VISIBLE_DEVICES", "import torch"), ["GPU001"]),
        ((MAGIC, "import torch\nx = 'cuda:1'"), ["GPU020"]),
        ((MAGIC, "import torch\ntorch.zeros(1).cuda()"), ["GPU010"]),
        (("def f(:", "import torch"), ["GPU090"]),
    ],
)
def test_a_bad_notebook_is_found(cells: tuple[str, ...], broken: list[str]) -> None:
    assert rules(*cells) == broken


def test_a_cell_that_is_no_python_is_told_of_by_its_place() -> None:
    (finding,) = found(notebook("import torch", "x = 1\nprint 'x'"))

    assert finding.rule.id == "GPU090"
    assert (finding.cell, finding.line) == (3, 2)


def test_a_line_is_let_pass_for_a_reason() -> None:
    cell = "import torch  # gpu-standards: ignore[GPU001] set by the hub"

    assert rules(cell) == []


def test_a_notebook_of_another_language_is_none_of_ours() -> None:
    assert found(notebook("import torch", language="julia")) == ()


@pytest.mark.parametrize(
    "data",
    [b"torch {", b'["torch"]', b'{"worksheets": "torch"}', b"[" * 100_000 + b"torch"],
)
def test_what_is_no_notebook_is_not_passed(data: bytes) -> None:
    assert [finding.rule.id for finding in found(data)] == ["GPU090"]


def test_odd_cells_are_left_aside() -> None:
    data = json.loads(notebook("import torch"))
    data["cells"] += ["x", {"cell_type": "code"}, {"cell_type": "code", "source": 3}]

    assert [f.rule.id for f in found(json.dumps(data).encode())] == ["GPU001"]
