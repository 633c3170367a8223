"""The guard over machines: what it accepts, what it refuses, and with which error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from model_manager import errors
from model_manager.gpu import (
    CardModel,
    CudaPort,
    Gpu,
    GpuPolicy,
    Machine,
    NvmlPort,
    TorchFacts,
    UnreadableGpu,
    check_gpu,
    validate_rtx3090_mandatory,
)
from model_manager.testing import (
    FakeCuda,
    FakeNvml,
    FakeSystem,
    h200,
    rtx_3090,
    rtx_3090_ti,
    rtx_4090,
    rtx_5060_ti,
)

GOOD = {
    "CUDA_VISIBLE_DEVICES": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:1024",
}
MINE = rtx_3090()
SCREEN = rtx_5060_ti()
OTHER_UUID = "GPU-77777777-0000-0000-0000-000000000000"


def environment(**changes: str | None) -> dict[str, str]:
    """Return the standard's variables with some changed, or left out (`None`)."""
    merged: dict[str, str | None] = {**GOOD, **changes}
    return {name: value for name, value in merged.items() if value is not None}


@dataclass
class Box:
    """A machine of the table: its cards, what CUDA shows of them, its variables."""

    cards: tuple[Gpu, ...] = (SCREEN, MINE)
    shown: tuple[Gpu, ...] | None = (MINE,)
    """`None`: this process runs CUDA already, and it shows `running`."""
    running: tuple[Gpu, ...] | None = None
    env: Mapping[str, str] = field(default_factory=environment)
    driver: str | None = "570.133.07"
    cuda: tuple[int, int] | None = (12, 8)
    nvml_error: errors.NvmlError | None = None
    cuda_problem: str = ""
    is_cuda_known: bool = True
    unreadable: tuple[UnreadableGpu, ...] = ()
    torch: TorchFacts | None = None
    on_bus: int | None = None
    wsl: bool = False

    def machine(self) -> Machine:
        nvml = FakeNvml(
            *self.cards, driver=self.driver, cuda=self.cuda, error=self.nvml_error
        )
        nvml.unreadable = self.unreadable
        cuda = FakeCuda(
            *(self.shown or ()),
            in_process=self.running,
            problem=self.cuda_problem,
            is_known=self.is_cuda_known,
        )
        port: NvmlPort = nvml
        asked: CudaPort = cuda
        return Machine(
            nvml=port,
            cuda=asked,
            system=FakeSystem(
                torch=self.torch, cards_on_bus=self.on_bus, is_wsl=self.wsl
            ),
            environ=self.env,
        )


def torch(version: str = "2.9.1+cu128", cuda: str | None = "12.8") -> TorchFacts:
    return TorchFacts(version=version, cuda=cuda)


ACCEPTED: dict[str, Box] = {
    "the team's workstation": Box(),
    "the card named by its UUID": Box(env=environment(CUDA_VISIBLE_DEVICES=MINE.uuid)),
    "the card named by the beginning of its UUID": Box(
        env=environment(CUDA_VISIBLE_DEVICES=MINE.uuid[:12])
    ),
    "the card alone, at number 0": Box(
        cards=(replace(MINE, index=0),), env=environment(CUDA_VISIBLE_DEVICES="0")
    ),
    "the card first on the bus, and chosen there": Box(
        cards=(
            rtx_3090(bus="00000000:01:00.0"),
            replace(SCREEN, pci_bus_id="00000000:0A:00.0"),
        ),
        shown=(rtx_3090(bus="00000000:01:00.0"),),
        env=environment(CUDA_VISIBLE_DEVICES="0"),
    ),
    "NVML counts the other way round than the bus": Box(
        cards=(replace(MINE, index=0), replace(SCREEN, index=1))
    ),
    "only the allocator's new name": Box(
        env=environment(
            PYTORCH_CUDA_ALLOC_CONF=None, PYTORCH_ALLOC_CONF="max_split_size_mb:1024"
        )
    ),
    "other settings of the allocator beside it": Box(
        env=environment(
            PYTORCH_CUDA_ALLOC_CONF="backend:native, max_split_size_mb:1024"
        )
    ),
    "an old driver's name of the card": Box(
        cards=(SCREEN, replace(MINE, name="GeForce RTX 3090")),
        shown=(replace(MINE, name="GeForce RTX 3090"),),
    ),
    "PyTorch as the standard asks": Box(torch=torch("2.1.0+cu121", "12.1")),
    "Windows, where processes have no sizes": Box(
        driver="572.16", cards=(SCREEN, replace(MINE, processes=None))
    ),
    "CUDA runs in the process already, on the card": Box(running=(MINE,), shown=None),
    "WSL, named by UUID": Box(
        wsl=True, env=environment(CUDA_VISIBLE_DEVICES=MINE.uuid)
    ),
    "WSL, by number, and CUDA itself shows the card": Box(wsl=True),
    "a second card that cannot be read, and the UUID": Box(
        cards=(MINE,),
        unreadable=(UnreadableGpu(index=0, reason="lost"),),
        env=environment(CUDA_VISIBLE_DEVICES=MINE.uuid),
    ),
}

TWIN = rtx_3090(index=0, uuid=OTHER_UUID, bus="00000000:01:00.0")

REFUSED: dict[str, tuple[Box, type[errors.GpuError]]] = {
    "no variables at all": (Box(env={}), errors.DeviceOrderError),
    "no device order": (
        Box(env=environment(CUDA_DEVICE_ORDER=None)),
        errors.DeviceOrderError,
    ),
    "the fastest card first": (
        Box(env=environment(CUDA_DEVICE_ORDER="FASTEST_FIRST")),
        errors.DeviceOrderError,
    ),
    "the order in small letters": (
        Box(env=environment(CUDA_DEVICE_ORDER="pci_bus_id")),
        errors.DeviceOrderError,
    ),
    "nothing said of devices": (
        Box(env=environment(CUDA_VISIBLE_DEVICES=None)),
        errors.VisibleDevicesError,
    ),
    "an empty list of devices": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="")),
        errors.VisibleDevicesError,
    ),
    "minus one": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="-1")),
        errors.VisibleDevicesError,
    ),
    "two devices": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="1,0")),
        errors.VisibleDevicesError,
    ),
    "the same twice": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="1,1")),
        errors.VisibleDevicesError,
    ),
    "a number with a tail": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="1gpu")),
        errors.VisibleDevicesError,
    ),
    "a number with a space": (
        Box(env=environment(CUDA_VISIBLE_DEVICES=" 1")),
        errors.VisibleDevicesError,
    ),
    "a digit of another script": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="\u0661")),
        errors.VisibleDevicesError,
    ),
    "a part of a card (MIG)": (
        Box(env=environment(CUDA_VISIBLE_DEVICES="MIG-1")),
        errors.VisibleDevicesError,
    ),
    "no settings of the allocator": (
        Box(env=environment(PYTORCH_CUDA_ALLOC_CONF=None)),
        errors.AllocatorSettingsError,
    ),
    "other settings of the allocator": (
        Box(env=environment(PYTORCH_CUDA_ALLOC_CONF="max_split_size_mb:512")),
        errors.AllocatorSettingsError,
    ),
    "a longer number that begins alike": (
        Box(env=environment(PYTORCH_CUDA_ALLOC_CONF="max_split_size_mb:10240")),
        errors.AllocatorSettingsError,
    ),
    "two names that say different things": (
        Box(env=environment(PYTORCH_ALLOC_CONF="max_split_size_mb:64")),
        errors.AllocatorSettingsError,
    ),
    "no driver": (
        Box(nvml_error=errors.NvmlLibraryMissingError("it is not there.")),
        errors.NvmlLibraryMissingError,
    ),
    "a driver that is not loaded": (
        Box(nvml_error=errors.DriverNotLoadedError("it is not loaded.")),
        errors.DriverNotLoadedError,
    ),
    "a driver updated without a restart": (
        Box(nvml_error=errors.DriverMismatchError("they differ.")),
        errors.DriverMismatchError,
    ),
    "no permission": (
        Box(nvml_error=errors.NvmlPermissionError("not for you.")),
        errors.NvmlPermissionError,
    ),
    "a driver that hangs": (
        Box(nvml_error=errors.NvmlTimeoutError("no answer.")),
        errors.NvmlTimeoutError,
    ),
    "driver 535": (Box(driver="535.183.01"), errors.DriverTooOldError),
    "a driver without a version": (Box(driver=None), errors.GpuNotCheckedError),
    "CUDA 12.0": (Box(cuda=(12, 0)), errors.DriverTooOldError),
    "a 3090 Ti in its place": (
        Box(cards=(SCREEN, rtx_3090_ti()), shown=(rtx_3090_ti(),)),
        errors.RequiredGpuMissingError,
    ),
    "a 4090 in its place": (
        Box(cards=(SCREEN, rtx_4090()), shown=(rtx_4090(),)),
        errors.RequiredGpuMissingError,
    ),
    "only the forbidden card": (
        Box(
            cards=(SCREEN,), shown=(SCREEN,), env=environment(CUDA_VISIBLE_DEVICES="0")
        ),
        errors.RequiredGpuMissingError,
    ),
    "an H200": (
        Box(
            cards=(h200(),), shown=(h200(),), env=environment(CUDA_VISIBLE_DEVICES="0")
        ),
        errors.RequiredGpuMissingError,
    ),
    "a 3090 Ti that calls itself a 3090": (
        Box(
            cards=(SCREEN, replace(rtx_3090_ti(), name=MINE.name)),
            shown=(replace(rtx_3090_ti(), name=MINE.name),),
        ),
        errors.RequiredGpuMissingError,
    ),
    "a card with the right numbers and another name": (
        Box(cards=(SCREEN, replace(MINE, name="NVIDIA GeForce RTX 3090 D"))),
        errors.RequiredGpuMissingError,
    ),
    "a 3090 that tells no device id": (
        Box(cards=(SCREEN, replace(MINE, pci_device_id=None))),
        errors.RequiredGpuMissingError,
    ),
    "a 3090 with too little memory": (
        Box(cards=(SCREEN, replace(MINE, memory_total=12 * 1024**3))),
        errors.RequiredGpuMissingError,
    ),
    "no card at all": (Box(cards=(), shown=()), errors.RequiredGpuMissingError),
    "the card fell off the bus": (
        Box(
            cards=(SCREEN,),
            shown=(SCREEN,),
            unreadable=(UnreadableGpu(index=1, reason="lost"),),
            env=environment(CUDA_VISIBLE_DEVICES="0"),
        ),
        errors.GpuLostError,
    ),
    "the card at another place of the bus": (
        Box(
            cards=(
                rtx_3090(bus="00000000:01:00.0"),
                replace(SCREEN, pci_bus_id="00000000:0A:00.0"),
            ),
            shown=(SCREEN,),
        ),
        errors.WrongGpuError,
    ),
    "the forbidden card, by its UUID": (
        Box(env=environment(CUDA_VISIBLE_DEVICES=SCREEN.uuid), shown=(SCREEN,)),
        errors.WrongGpuError,
    ),
    "a driver too old to see the second card": (
        Box(driver="550.54.14", cards=(replace(MINE, index=0),), on_bus=2, shown=()),
        errors.CudaUnavailableError,
    ),
    "a UUID that no card has": (
        Box(env=environment(CUDA_VISIBLE_DEVICES=OTHER_UUID), shown=()),
        errors.CudaUnavailableError,
    ),
    "WSL, by number, and CUDA shows both": (
        Box(wsl=True, shown=(SCREEN, MINE)),
        errors.WrongGpuError,
    ),
    "CUDA itself shows the other card": (Box(shown=(SCREEN,)), errors.WrongGpuError),
    "CUDA itself shows two cards": (Box(shown=(MINE, SCREEN)), errors.WrongGpuError),
    "CUDA itself shows none": (
        Box(shown=(), cuda_problem="CUDA_ERROR_NO_DEVICE (100)"),
        errors.CudaUnavailableError,
    ),
    "CUDA could not be asked": (
        Box(shown=(), cuda_problem="it hangs", is_cuda_known=False),
        errors.GpuNotCheckedError,
    ),
    "the variables were set after CUDA was started": (
        Box(running=(SCREEN, MINE), shown=None),
        errors.CudaInitializedError,
    ),
    "PyTorch 2.0": (
        Box(torch=torch("2.0.1+cu118", "11.8")),
        errors.TorchUnsuitableError,
    ),
    "PyTorch built without CUDA": (
        Box(torch=torch("2.9.1+cpu", None)),
        errors.TorchUnsuitableError,
    ),
    "PyTorch built with CUDA 11.8": (
        Box(torch=torch("2.7.0+cu118", "11.8")),
        errors.TorchUnsuitableError,
    ),
    "a card at 95 degrees": (
        Box(cards=(SCREEN, rtx_3090(temperature=95))),
        errors.GpuUnhealthyError,
    ),
    "a card whose memory fails": (
        Box(cards=(SCREEN, replace(MINE, ecc_errors=3))),
        errors.GpuUnhealthyError,
    ),
    "a card without spare rows of memory": (
        Box(cards=(SCREEN, replace(MINE, failing_rows=True))),
        errors.GpuUnhealthyError,
    ),
    "a card whose place cannot be read": (
        Box(cards=(SCREEN, replace(MINE, pci_bus_id="?")), shown=()),
        errors.CudaUnavailableError,
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_card_is_accepted_on(name: str) -> None:
    verdict = check_gpu(machine=ACCEPTED[name].machine())

    assert verdict.passed, str(verdict)
    assert verdict.gpu is not None
    assert verdict.gpu.uuid == MINE.uuid
    assert validate_rtx3090_mandatory(machine=ACCEPTED[name].machine()) == verdict.gpu


@pytest.mark.parametrize("name", REFUSED)
def test_the_card_is_refused_with_its_own_error_on(name: str) -> None:
    box, error = REFUSED[name]

    with pytest.raises(errors.GpuError) as raised:
        validate_rtx3090_mandatory(machine=box.machine())

    assert type(raised.value) is error, str(check_gpu(machine=box.machine()))
    verdict: Any = raised.value.verdict
    assert not verdict.passed
    assert raised.value.rule == verdict.failure.rule
    assert raised.value.remedy


def test_the_page_has_a_row_for_each_of_these_machines() -> None:
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")
    table = page.partition("## Machines")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.+?) \| `?(\w+)`? \|$", table, re.MULTILINE))
    del rows["Machine"]

    expected = dict.fromkeys(ACCEPTED, "accepted")
    expected |= {name: error.__name__ for name, (_, error) in REFUSED.items()}
    assert rows == expected


def test_of_two_such_cards_the_chosen_one_is_accepted_with_a_warning() -> None:
    box = Box(cards=(TWIN, MINE))

    verdict = check_gpu(machine=box.machine())

    assert verdict.passed
    assert verdict.check("cards").status == "warning"
    assert "UUID" in verdict.check("cards").remedy


def test_of_two_such_cards_the_one_that_is_not_meant_is_refused() -> None:
    policy = GpuPolicy(uuid=OTHER_UUID)
    verdict = check_gpu(policy, machine=Box(cards=(TWIN, MINE)).machine())

    assert not verdict.passed
    failure = verdict.failure
    assert failure is not None
    assert failure.error is errors.WrongGpuError
    assert OTHER_UUID in failure.remedy


def test_a_driver_too_old_for_the_second_card_is_named_as_the_cause() -> None:
    box = REFUSED["a driver too old to see the second card"][0]
    verdict = check_gpu(machine=box.machine())

    assert "the PCI bus has 2 cards, the driver knows 1" in verdict.check("bus").seen
    assert "570" in verdict.check("bus").remedy
    assert "1 is out of range" in verdict.check("selected_card").seen
    assert MINE.uuid in verdict.check("selected_card").remedy


def test_what_was_not_checked_is_said_and_never_passes() -> None:
    box = REFUSED["no driver"][0]
    verdict = check_gpu(machine=box.machine())
    skipped = {check.rule for check in verdict.checks if check.status == "skipped"}

    assert {"driver", "cards", "selected_card", "cuda", "temperature"} <= skipped
    assert all(c.seen for c in verdict.checks)
    assert not verdict.passed


def test_without_asking_cuda_only_a_choice_beyond_doubt_is_accepted() -> None:
    sure = check_gpu(machine=Box().machine(), ask_cuda=False)
    in_doubt = check_gpu(
        GpuPolicy(device_order=None),
        machine=Box(env=environment(CUDA_DEVICE_ORDER=None)).machine(),
        ask_cuda=False,
    )

    assert sure.passed
    assert sure.check("cuda").status == "skipped"
    assert not in_doubt.passed
    assert "fastest" in in_doubt.check("selected_card").seen


def test_another_team_has_its_own_card() -> None:
    model = CardModel(
        names=frozenset({"NVIDIA H200"}),
        pci_device_ids=frozenset({0x2335}),
        compute_capability=(9, 0),
        min_memory=130 * 1024**3,
    )
    policy = GpuPolicy(name="H200", cards=(model,), visible_devices="0")
    box = Box(
        cards=(h200(),), shown=(h200(),), env=environment(CUDA_VISIBLE_DEVICES="0")
    )

    assert check_gpu(policy, machine=box.machine()).passed
    assert not check_gpu(machine=box.machine()).passed


def test_a_verdict_can_be_read_by_people_and_programs() -> None:
    verdict = check_gpu(machine=REFUSED["a 4090 in its place"][0].machine())
    told = verdict.to_dict()

    assert "REFUSED" in str(verdict)
    assert "NVIDIA GeForce RTX 4090" in str(verdict)
    assert told["passed"] is False
    assert "<table" in verdict._repr_html_()
    assert [c["rule"] for c in told["checks"]] == [  # type: ignore[attr-defined] # plain data
        "device_order",
        "visible_devices",
        "allocator",
        "nvml",
        "driver",
        "cuda_version",
        "bus",
        "cards",
        "selected_card",
        "cuda",
        "torch",
        "temperature",
        "memory_errors",
        "throttling",
    ]


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        (Box(is_cuda_known=False, cuda_problem="CUDA did not answer"), "cuda"),
        (Box(driver=None), "driver"),
        (Box(cuda=None), "cuda_version"),
    ],
)
def test_what_nobody_could_check_stands_out_of_what_need_not_be(
    box: Box, rule: str
) -> None:
    verdict = check_gpu(machine=box.machine())
    check = verdict.check(rule)

    assert not verdict.passed
    assert re.search(
        rf"^  open  {rule} .*\n +expected: .*\n +to do: ", str(verdict), re.MULTILINE
    )
    assert re.search(r"^  -     torch ", str(verdict), re.MULTILINE)
    assert f'font-weight:bold">{rule}</td>' in verdict._repr_html_()
    assert check.remedy


def test_a_card_is_a_line_to_people() -> None:
    hot = replace(MINE, throttle_reasons=("hw_thermal_slowdown",), power=None)

    assert str(MINE) == "1 RTX 3090, 0.0/24.0 GiB, 0 %, 41 °C, 25 W"
    assert str(hot).endswith("41 °C, - W, held back: hw_thermal_slowdown")


def test_a_uuid_in_capitals_names_the_same_card() -> None:
    named = MINE.uuid.replace("GPU-", "").upper()
    box = Box(env=environment(CUDA_VISIBLE_DEVICES=f"GPU-{named}"))

    assert check_gpu(machine=box.machine(), ask_cuda=False).passed
