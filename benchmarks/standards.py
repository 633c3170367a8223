"""How long the check of a tree of 10,000 scripts takes.

python benchmarks/standards.py [--files 10000] [--jobs 2] [--root FOLDER]

Without a folder one is made: 78 of 100 files know nothing of cards, 20 are Python that
imports a CUDA library (half of them good), one is a notebook, one a shell script.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from rig import print_table

from model_manager.gpu.standards import check_scripts, gpu_template

_GOOD = range(2, 12)
_WRONG = range(12, 22)
_FUNCTION = '''
def step_{number}(rows, limit={number}):
    """Return what is left of the rows after step {number}."""
    kept = [row for row in rows if len(row) > limit]
    for row in kept:
        row["total"] = sum(value for value in row.values() if isinstance(value, int))
        if row["total"] > 100:
            row["note"] = f"step {number} of {{row.get('name', 'nobody')}}"
    try:
        return sorted(kept, key=lambda row: row["total"])
    except KeyError as error:
        raise ValueError("a row has no total") from error
'''
_BAD = '''"""Trains a model."""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, width)
    def forward(self, x):
        return self.layer(x.to("cuda:1"))

def main():
    net = Net(128).cuda()
    print(net(torch.zeros(3, 128)))
'''


def plain(number: int) -> str:
    """Return Python of some 130 lines that knows nothing of cards."""
    functions = "".join(_FUNCTION.format(number=n) for n in range(12))
    return f'"""File {number}."""\n\nimport json\nimport sys\n{functions}'


def notebook(source: str) -> str:
    """Return a notebook whose one cell is a script."""
    cell: dict[str, object] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }
    data = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(data, indent=1) + "\n"


def script(number: int, body: str) -> tuple[str, str]:
    """Return the name and the text of one file of the mix."""
    match number % 100:
        case 0:
            return f"n{number}.ipynb", notebook(_BAD)
        case 1:
            return f"s{number}.sh", "export CUDA_VISIBLE_DEVICES=0\n"
        case kind if kind in _GOOD:
            return f"g{number}.py", gpu_template() + body
        case kind if kind in _WRONG:
            return f"b{number}.py", _BAD + body
        case _:
            return f"p{number}.py", plain(number)


def write_tree(root: Path, files: int) -> None:
    """Write a tree of scripts."""
    body = plain(0).partition("import sys\n")[2]
    for number in range(files):
        folder = root / f"package_{number // 100}"
        folder.mkdir(exist_ok=True)
        name, text = script(number, body)
        (folder / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--root", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        root = asked.root or Path(made)
        if asked.root is None:
            write_tree(root, asked.files)
        rows = []
        for jobs in sorted({1, asked.jobs}):
            began = time.perf_counter()
            report = check_scripts([root], jobs=jobs)
            seconds = time.perf_counter() - began
            rate = f"{report.files / seconds:,.0f}"
            found = f"{len(report.findings):,}"
            rows.append((str(jobs), f"{report.files:,}", f"{seconds:.2f}", rate, found))
    print_table(
        "Checking a tree",
        ("processes", "files", "seconds", "files/s", "findings"),
        rows,
    )


if __name__ == "__main__":
    main()
