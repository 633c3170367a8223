"""Trees of files: what is found, what cannot be read, and that nothing crashes."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.errors import InvalidRequestError
from model_manager.gpu import GpuPolicy
from model_manager.gpu.standards import StandardsReport, check_scripts
from model_manager.gpu.standards._checked import FileFormat, check_data
from model_manager.gpu.standards._lines import FORMATS
from model_manager.gpu.standards._wanted import wanted_of

WANTED = wanted_of(GpuPolicy())
BAD = "import torch\n"


def put(folder: Path, *names: str, text: str = BAD) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def found(report: StandardsReport, root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in report.by_file]


def rules(data: bytes) -> list[str]:
    checked = check_data("s.py", data, "python", wanted=WANTED)
    return [finding.rule.id for finding in checked.findings]


def test_scripts_are_found_in_the_order_of_their_paths(tmp_path: Path) -> None:
    put(tmp_path, "b.py", "a/z.py", "a/b/c.pyw", "c.txt", "tool.md")
    put(tmp_path, "run", text="#!/usr/bin/env python3\nimport torch\n")
    put(tmp_path, "start.sh", ".env", text="CUDA_VISIBLE_DEVICES=0\n")

    report = check_scripts([tmp_path])

    assert found(report, tmp_path) == [
        *(".env", "a/b/c.pyw", "a/z.py", "b.py", "run", "start.sh"),
    ]
    assert report.files == 6
    assert not report.passed


def test_what_others_wrote_and_what_was_built_is_left_out(tmp_path: Path) -> None:
    put(
        tmp_path,
        ".venv/lib/a.py",
        "node_modules/b.py",
        "build/c.py",
        "x/__pycache__/d.py",
    )
    put(tmp_path, ".git/hooks/e.py", "lib/site-packages/f.py", "mine/g.py")

    assert found(check_scripts([tmp_path]), tmp_path) == ["mine/g.py"]


@pytest.mark.parametrize(
    "pattern", ["gen", "*_old.py", "src/gen", "src/g*", "src/gen/"]
)
def test_more_is_left_out_by_pattern(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "src/gen/a_old.py", "src/b.py")

    assert found(check_scripts([tmp_path], excludes=[pattern]), tmp_path) == [
        "src/b.py"
    ]


def test_a_file_that_is_named_is_checked_wherever_it_lies(tmp_path: Path) -> None:
    put(tmp_path, "build/a.py")

    assert not check_scripts([tmp_path / "build" / "a.py"]).passed


def test_a_file_that_is_named_twice_is_checked_once(tmp_path: Path) -> None:
    put(tmp_path, "a.py")

    report = check_scripts([tmp_path, tmp_path / "a.py", tmp_path / "." / "a.py"])

    assert report.files == 1


def test_a_path_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"no file or folder .*nowhere"):
        check_scripts([tmp_path / "nowhere"])


def test_a_named_file_of_no_known_kind_is_told_of(tmp_path: Path) -> None:
    put(tmp_path, "data.csv")

    (finding,) = check_scripts([tmp_path / "data.csv"]).findings

    assert finding.rule.slug == "not-checked"


def test_links_that_go_round_or_nowhere_end(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    try:
        (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "self.py").symlink_to(tmp_path / "self.py")
        (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    except OSError:
        pytest.skip("this system lets nobody make links")

    report = check_scripts([tmp_path])

    assert found(report, tmp_path) == ["a.py", "gone.py", "self.py"]
    assert [f.rule.id for f in report.findings] == ["GPU001", "GPU090", "GPU090"]


@pytest.mark.skipif(os.name != "posix", reason="there are no pipes of this kind")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")

    report = check_scripts([tmp_path, tmp_path / "pipe.py"])

    assert [f.message for f in report.findings] == ["it is not a regular file"]


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0,
    reason="needs a user who may not read everything",
)
def test_what_may_not_be_read_is_not_passed(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "closed/b.py")
    (tmp_path / "a.py").chmod(0)
    (tmp_path / "closed").chmod(0)

    report = check_scripts([tmp_path])
    (tmp_path / "closed").chmod(0o700)

    assert [f.rule.id for f in report.findings] == ["GPU090", "GPU090"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"import torch\nprint 'x'\n", id="python 2"),
        pytest.param(b"import torch\n\0", id="null byte"),
        pytest.param(b"import torch # \xff\n", id="not utf-8"),
        pytest.param(b"# coding: nothing\nimport torch\n", id="unknown encoding"),
        pytest.param(b"# coding: ascii\nimport torch # \xe9\n", id="wrong encoding"),
        pytest.param(b"import torch\nx = " + b"(" * 5000 + b")" * 5000, id="nested"),
        pytest.param(b"import torch\nx = " + b"-" * 100_000 + b"1", id="minus"),
        pytest.param(b"import torch\nx = 1" + b"+1" * 100_000, id="sum"),
        pytest.param(b"import torch\nx = a" + b".b" * 100_000, id="attributes"),
        pytest.param(b"import torch\n" + b"x = 1\n" * 400_000, id="huge"),
        pytest.param(b"import torch\n  x = 1\n", id="indented"),
        pytest.param(
            codecs.BOM_UTF16_LE + "import torch".encode("utf-16-le"), id="wide"
        ),
    ],
)
def test_what_cannot_be_parsed_is_told_of_and_not_passed(data: bytes) -> None:
    assert rules(data) == ["GPU090"]


def test_what_has_none_of_the_words_is_not_even_parsed() -> None:
    assert rules(b"print 'Python 2, and no card'\n") == []


def test_other_encodings_are_read_as_python_reads_them() -> None:
    text = '# coding: latin-1\nimport torch  # \xe9\nx = "\xe9"; y = "cuda:1"\n'

    checked = check_data("s.py", text.encode("latin-1"), "python", wanted=WANTED)

    assert [(f.rule.id, f.line, f.column) for f in checked.findings] == [
        ("GPU001", 2, 1),
        ("GPU020", 3, 14),
    ]


def test_a_tree_of_calls_is_followed_once_and_not_a_million_times() -> None:
    calls = "".join(
        f"def f{n}(x):\n    f{n + 1}(x)\n    f{n + 1}(x)\n" for n in range(20)
    )

    assert rules(f"{calls}def f20(x):\n    import torch\nf0(1)\n".encode()) == [
        "GPU001"
    ]


def test_functions_that_call_each_other_end() -> None:
    text = "def a():\n    b()\ndef b():\n    a()\n    import torch\na()\n"

    assert rules(text.encode()) == ["GPU001"]


def test_a_long_chain_of_conditions_is_followed() -> None:
    chain = "".join(f"elif x == {n}:\n    y = {n}\n" for n in range(150))

    assert rules(f"if x:\n    y = 0\n{chain}import torch\n".encode()) == ["GPU001"]


@given(data=st.binary(max_size=200))
def test_no_bytes_make_the_check_raise(data: bytes) -> None:
    kinds: list[FileFormat] = ["python", "notebook", *FORMATS.values()]
    for kind in kinds:
        check_data("s", b"torch " + data, kind, wanted=WANTED)


_WORDS = st.sampled_from(
    [
        *("import torch", "x = 1", "if x:", "else:", "try:", "except E:", "finally:"),
        *("def f(a, b=1, *c, **d):", "class A(B):", "for a in b:", "while True:"),
        *("with a as b:", "return", "break", "continue", "raise", "pass", "f()"),
        *("    ", "        ", "\n", "x.cuda()", "os.environ[a] = b", "import os"),
        *("os.environ.update(a)", "del os.environ[x]", "async def g():", "await g()"),
        *("yield 1", "match x:", "case [a, *b]:", "@f", "lambda: 0", "(a := 1)"),
        *(
            "a, (b, *c) = d",
            "x: int = 3",
            "global x",
            "[i for i in x if i]",
            "f'{x!r:>3}'",
        ),
        *("{**a, 'b': 1}", "a[b:c] = d", "x @= y", "__import__(y)", "torch.device(*a)"),
    ]
)


@given(words=st.lists(_WORDS, max_size=40))
def test_no_python_makes_the_check_raise(words: list[str]) -> None:
    text = "import torch\n" + "".join(w if w.isspace() else f"{w}\n" for w in words)

    check_data("s.py", text.encode(), "python", wanted=WANTED)


def test_many_files_come_to_the_same_in_one_process_and_in_several(
    tmp_path: Path,
) -> None:
    put(tmp_path, *(f"p{n % 7}/m{n}.py" for n in range(420)))
    put(tmp_path, "p1/m1.py", text="x = 1\n")

    alone = check_scripts([tmp_path], jobs=1)
    together = check_scripts([tmp_path], jobs=2)

    assert together == alone
    assert len(together.findings) == 419


def test_the_policy_decides_which_values_are_right(tmp_path: Path) -> None:
    uuid = "GPU-11111111-2222-3333-4444-555555555555"
    text = f"import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '{uuid}'\nimport torch\n"
    put(tmp_path, "a.py", text=text)
    pinned = GpuPolicy(uuid=uuid, device_order=None, allocator=None)
    loose = GpuPolicy(device_order=None, allocator=None)

    assert check_scripts([tmp_path], pinned).passed
    assert not check_scripts([tmp_path], loose).passed
