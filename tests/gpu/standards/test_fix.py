"""Mending: what changes, what stays, and that it is done once."""

from __future__ import annotations

import ast
import codecs
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.gpu import GpuPolicy
from model_manager.gpu.standards import check_scripts, fix_scripts
from model_manager.gpu.standards._checked import FileFormat, check_data
from model_manager.gpu.standards._fix import Mended, mended
from model_manager.gpu.standards._wanted import wanted_of

WANTED = wanted_of(GpuPolicy())
BLOCK = """\
import os

os.environ["CUDA_VISIBLE_DEVICES"] = "1"
os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:1024"

"""
CALL = """\
from model_manager.gpu import validate_rtx3090_mandatory

validate_rtx3090_mandatory()

"""


def fix(data: bytes, kind: FileFormat = "python") -> Mended:
    return mended("s.py", data, kind, wanted=WANTED)


def fixed(text: str, kind: FileFormat = "python") -> str:
    """Return a text mended, after a look that mending again changes nothing."""
    done = fix(text.encode(), kind)
    assert done.data is not None
    assert fix(done.data, kind).data is None
    return done.data.decode()


def test_the_variables_are_set_at_the_top() -> None:
    assert fixed("import torch\n") == BLOCK + "import torch\n"


def test_docstring_future_and_header_stay_above() -> None:
    head = (
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Licence.\n"
        '"""What it does."""\n\nfrom __future__ import annotations\n\n'
    )

    assert (
        fixed(f"{head}# CUDA\nimport torch\n") == f"{head}{BLOCK}# CUDA\nimport torch\n"
    )


def test_a_header_without_docstring_stays_above() -> None:
    assert (
        fixed("#!/usr/bin/env python\nimport torch\n")
        == f"#!/usr/bin/env python\n{BLOCK}import torch\n"
    )


def test_only_what_is_missing_is_set() -> None:
    start = 'import os\nos.environ["CUDA_VISIBLE_DEVICES"] = "1"\nimport torch\n'

    done = fixed(start)

    assert done.count("CUDA_VISIBLE_DEVICES") == 1
    assert done.endswith(start)


def test_the_card_is_validated_below_the_settings() -> None:
    done = fixed(f"{BLOCK}import torch\ntorch.zeros(1).cuda()\n")

    assert done.index("PYTORCH_CUDA_ALLOC_CONF") < done.index(CALL.strip())
    assert done.index(CALL.strip()) < done.index("import torch\n")


def test_variables_and_validation_come_together_and_in_order() -> None:
    assert (
        fixed("import torch\ntorch.zeros(1).cuda()\n")
        == BLOCK + CALL + "import torch\ntorch.zeros(1).cuda()\n"
    )


def test_a_validation_of_the_file_s_own_is_called_where_it_ends() -> None:
    own = (
        "import torch\n\n\ndef validate_rtx3090_mandatory():\n"
        "    if not torch.cuda.is_available():\n        raise RuntimeError\n"
    )

    done = fixed(f"{BLOCK}{own}\n\ntorch.zeros(1).cuda()\n")

    assert f"{own}\n\nvalidate_rtx3090_mandatory()\n" in done
    assert "model_manager" not in done


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 'cuda:1'  # why\n", "x = 'cuda:0'  # why\n"),
        ('x = """cuda:2"""\n', 'x = """cuda:0"""\n'),
        ("m.to('cuda').cuda(1)\n", "m.to('cuda').cuda(0)\n"),
        ("o = {'main_gpu': 1}\n", "o = {'main_gpu': 0}\n"),
        (
            "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '0'  # é\n",
            "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'  # é\n",
        ),
        (
            'é = 1; import os; os.environ["CUDA_DEVICE_ORDER"] = "FASTEST_FIRST"\n',
            'é = 1; import os; os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"\n',
        ),
        (
            "import os\nos.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'backend:native'\n",
            (
                "import os\nos.environ['PYTORCH_CUDA_ALLOC_CONF'] ="
                " 'backend:native,max_split_size_mb:1024'\n"
            ),
        ),
        (
            "import os\nos.environ.setdefault('CUDA_VISIBLE_DEVICES', '1')\n",
            "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'\n",
        ),
        (
            "import os\nos.putenv('CUDA_VISIBLE_DEVICES', '0')\n",
            "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'\n",
        ),
        (
            "import os as o\nC = {'CUDA_VISIBLE_DEVICES': '2'}\no.environ.update(C)\n",
            "import os as o\nC = {'CUDA_VISIBLE_DEVICES': '1'}\no.environ.update(C)\n",
        ),
    ],
)
def test_a_value_is_changed_where_it_stands(before: str, after: str) -> None:
    assert fixed(before) == after


@pytest.mark.parametrize(
    "text",
    [
        # What another place may depend on is for a person.
        "import os\nGPU = '0'\nos.environ['CUDA_VISIBLE_DEVICES'] = GPU\nprint(GPU)\n",
        "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = ('0'\n    ',1')\n",
        "import os\nx = [os.environ.setdefault('CUDA_VISIBLE_DEVICES', '1')]\n",
        "import os\nos.environ.pop('CUDA_VISIBLE_DEVICES')\n",
        '"""Doc."""; import torch\n',
        "import torch\nprint 'two'\n",
    ],
)
def test_what_needs_a_person_is_left_alone(text: str) -> None:
    assert fix(text.encode()).data is None


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("encoding", "mark", "cookie"),
    [
        ("utf-8", b"", ""),
        ("utf-8", codecs.BOM_UTF8, ""),
        ("latin-1", b"", "# -*- coding: latin-1 -*-\n"),
        ("cp1252", b"", "#!/usr/bin/python\n# coding: cp1252\n"),
        ("utf-8", codecs.BOM_UTF8, "# coding: utf-8\n"),
    ],
)
def test_encoding_mark_and_line_ends_stay(
    encoding: str, mark: bytes, cookie: str, newline: str
) -> None:
    body = '"""Entraîne."""\n# Déjà\nimport torch\nx = "cuda:1"  # à côté\n'
    data = mark + (cookie + body).replace("\n", newline).encode(encoding)

    done = fix(data).data

    assert done is not None
    assert done.startswith(mark)
    text = done[len(mark) :].decode(encoding)
    assert "# à côté" in text
    assert "Déjà" in text
    assert text.startswith(cookie.replace("\n", newline))
    assert text.count(newline) == text.replace("\r\n", "\n").replace("\r", "\n").count(
        "\n"
    )
    ast.parse(done)
    assert fix(done).data is None


def test_a_file_without_a_last_line_end_is_mended() -> None:
    done = fixed(f"{BLOCK}import torch; torch.zeros(1).cuda()".replace("\n\n", "\n"))

    ast.parse(done)
    assert CALL.splitlines()[-2] in done


_PIECES = (
    "import torch\n",
    "from torch import nn\n",
    "import os\n",
    "import os as o; o.putenv('CUDA_DEVICE_ORDER', 'PCI_BUS_ID')\n",
    "import sys\n",
    "from transformers import pipeline\n",
    "# a comment, é\n",
    "\n",
    "x = 'cuda:1'\n",
    "def f(m):\n    import cupy\n    return m.cuda(1)\n",
    "class A:\n    d = 'cuda:2'\n    def run(self):\n        import torch\n",
    "if len(__name__) > 3:\n    import torch\n",
    "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
    "if __name__ == '__main__':\n    import torch\n    torch.zeros(1).cuda()\n",
    "pipeline('x', device=1)\n",
    "torch.zeros(3).to('cuda:1')\n",
    "f(1)\n",
    "@f\ndef g():\n    pass\n",
    "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '0'\n",
    "import os\nos.environ.setdefault('CUDA_VISIBLE_DEVICES', '0')\n",
    "import os\nos.environ.update(CUDA_DEVICE_ORDER='FASTEST_FIRST')\n",
    "import os\nos.environ.pop('CUDA_VISIBLE_DEVICES', None)\n",
    "import os\nif 1 > 2:\n    os.environ['CUDA_VISIBLE_DEVICES'] = '1'\n",
    "s = '''\nimport torch\n'''\n",
    "z = 1; y = 'cuda:1'\n",
)
_HEADS = ("", '"""Doc."""\n', "#!/bin/python\n", "from __future__ import annotations\n")
_scripts = st.tuples(
    st.sampled_from(_HEADS), st.lists(st.sampled_from(_PIECES), max_size=8)
).map(lambda parts: parts[0] + "".join(parts[1]))


@given(text=_scripts, newline=st.sampled_from(["\n", "\r\n"]))
def test_mending_is_safe_is_better_and_is_done_once(text: str, newline: str) -> None:
    data = text.replace("\n", newline).encode()
    before = check_data("s.py", data, "python", wanted=WANTED).findings

    done = fix(data)

    after = done.data if done.data is not None else data
    ast.parse(after)
    assert fix(after).data is None
    assert len(done.checked.findings) + len(done.fixed) == len(before)
    assert (done.data is None) == (not done.fixed)
    # Nothing that was there goes: no comment, no other statement.
    assert after.decode().count("# a comment, é") == text.count("# a comment, é")
    kept = {ast.dump(node) for node in ast.parse(after).body}
    untouched = ("import sys\n", "from torch import nn\n")
    for line in untouched:
        if line in text and "'''" not in text:
            assert ast.dump(ast.parse(line).body[0]) in kept


@given(text=_scripts)
def test_after_mending_the_variables_are_right_wherever_that_is_mechanical(
    text: str,
) -> None:
    done = fix(text.encode())

    left = {finding.rule.id for finding in done.checked.findings if finding.fixable}
    assert not left or "pop(" in text


def notebook(*cells: str, indent: int | None = 1) -> str:
    made: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": cell.splitlines(keepends=True),
        }
        for cell in cells
    ]
    data = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(data, indent=indent, ensure_ascii=False) + "\n"


def test_a_notebook_is_mended_in_its_cells_and_nothing_else_changes() -> None:
    text = notebook("%pip install torch", "%%time\nimport torch\nx = 'cuda:1'", "# é")

    done = json.loads(fixed(text, "notebook"))

    cells = ["".join(cell["source"]) for cell in done["cells"]]
    assert cells == [
        BLOCK + "%pip install torch",
        "%%time\nimport torch\nx = 'cuda:0'",
        "# é",
    ]
    assert fixed(text, "notebook").count("\n") > text.count("\n")


def test_a_notebook_s_validation_stays_in_the_cell_of_the_settings() -> None:
    text = notebook(BLOCK.strip(), "%%bash\nls", "import torch\ntorch.zeros(1).cuda()")

    done = json.loads(fixed(text, "notebook"))

    cells = ["".join(cell["source"]) for cell in done["cells"]]
    assert cells[0] == f"{BLOCK}{CALL}".strip()
    assert cells[1] == "%%bash\nls"


def test_a_notebook_whose_layout_cannot_be_kept_is_not_touched() -> None:
    text = notebook("import torch").replace('"cells": [', '"cells":   [')

    done = fix(text.encode(), "notebook")

    assert done.data is None
    assert [finding.fixable for finding in done.checked.findings] == [False]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("shell", "export CUDA_VISIBLE_DEVICES='0' # x\n", "='1' # x\n"),
        ("batch", 'set "CUDA_VISIBLE_DEVICES=0"\r\n', '=1"\r\n'),
        ("powershell", '$env:CUDA_VISIBLE_DEVICES = "0,1"\n', ' = "1"\n'),
        ("dotenv", "CUDA_VISIBLE_DEVICES=0\n", "=1\n"),
        ("systemd", 'Environment="CUDA_VISIBLE_DEVICES=0"\n', '=1"\n'),
    ],
)
def test_a_wrong_value_in_a_script_is_changed(
    kind: FileFormat, before: str, after: str
) -> None:
    assert fixed(before, kind).endswith(f"CUDA_VISIBLE_DEVICES{after}")


def test_a_script_in_wide_letters_stays_so() -> None:
    data = codecs.BOM_UTF16_LE + "$env:CUDA_VISIBLE_DEVICES = '0'\r\n".encode(
        "utf-16-le"
    )

    done = fix(data, "powershell").data

    assert done == data.replace(b"'\x000\x00'", b"'\x001\x00'")


def test_a_file_on_disk_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    path = tmp_path / "real.py"
    path.write_text("import torch\n", encoding="utf-8")
    path.chmod(0o755)
    link = tmp_path / "link.py"
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("this system lets nobody make links")

    report = fix_scripts([link])

    assert report.passed
    assert [finding.rule.id for finding in report.fixed] == ["GPU001"]
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == BLOCK + "import torch\n"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.py", "real.py"]
    assert check_scripts([tmp_path]).passed


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="needs a user who may not write everything",
)
def test_a_file_that_may_not_be_written_is_told_of_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("import torch\n", encoding="utf-8")
    path.chmod(0o444)

    report = fix_scripts([path])

    assert [f.rule.id for f in report.findings] == ["GPU090", "GPU001"]
    assert path.read_text(encoding="utf-8") == "import torch\n"


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.py"
    path.write_text("import torch\n", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    report = fix_scripts([path])

    assert not report.passed
    assert not report.fixed
    assert "No space left" in report.findings[0].message
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]
    assert path.read_text(encoding="utf-8") == "import torch\n"
