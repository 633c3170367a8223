"""The template of new scripts: it must itself be what the check asks for."""

from __future__ import annotations

import ast

import pytest

from model_manager.gpu import CardModel, GpuPolicy
from model_manager.gpu.standards import gpu_template
from model_manager.gpu.standards._checked import check_data
from model_manager.gpu.standards._wanted import wanted_of

H200 = GpuPolicy(
    name='H200 "SXM" {141 GB}',
    cards=(
        CardModel(
            names=frozenset({"NVIDIA H200"}),
            pci_device_ids=frozenset({0x2335}),
            compute_capability=(9, 0),
            min_memory=140 * 1024**3,
        ),
    ),
    visible_devices="0",
)
POLICIES = {
    "standard": GpuPolicy(),
    "pinned": GpuPolicy(uuid="GPU-11111111-2222-3333-4444-555555555555"),
    "another card": H200,
    "few variables": GpuPolicy(device_order=None, allocator=None),
}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_new_script_keeps_the_standards(policy: GpuPolicy, plain: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    text = gpu_template(policy, name="train", plain=plain)

    compile(text, "train.py", "exec")
    checked = check_data("train.py", text.encode(), "python", wanted=wanted_of(policy))
    assert checked.findings == ()
    assert max(map(len, text.splitlines())) <= 88


def test_the_order_is_environment_validation_libraries_work() -> None:
    text = gpu_template()

    steps = [
        *("apply_gpu_environment()", "\nvalidate_rtx3090_mandatory()"),
        *("import torch", "def main()", '__name__ == "__main__"'),
    ]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert ast.get_docstring(ast.parse(text)) is not None


def test_a_plain_script_needs_nothing_of_this_library() -> None:
    assert "model_manager" not in gpu_template(plain=True)


def test_a_plain_script_refuses_a_relative_of_the_card(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = gpu_template(plain=True).partition("# 3. The card")[0]
    for name, fits in (
        ("NVIDIA GeForce RTX 3090", True),
        ("NVIDIA GeForce RTX 3090 Ti", False),
        ("NVIDIA GeForce RTX 5060 Ti", False),
    ):
        scope: dict[str, object] = {"torch": _Torch(name)}
        # Only the definitions: no library of CUDA is here.
        body = [n for n in ast.parse(text).body if not isinstance(n, ast.Import)]
        body = [n for n in body if not _sets_a_variable(n)]
        exec(compile(ast.Module(body, []), "s", "exec"), scope)  # noqa: S102 - our own text
        validate = scope["validate_rtx3090_mandatory"]
        assert callable(validate)
        if fits:
            validate()
        else:
            with pytest.raises(RuntimeError, match="only the RTX 3090"):
                validate()
    assert capsys.readouterr().out == ""


def test_a_name_cannot_break_the_script() -> None:
    for name in ('x"""\nimport os', "a\\", "", "é\n\n"):
        compile(gpu_template(name=name), "s", "exec")


class _Torch:
    def __init__(self, name: str) -> None:
        self.cuda = self
        self._name = name

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def get_device_name(self, _: int) -> str:
        return self._name


def _sets_a_variable(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
