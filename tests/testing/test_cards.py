"""The doubles of the cards: what a user's own tests put in the machine's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from model_manager.errors import DriverNotLoadedError
from model_manager.gpu import (
    CudaPort,
    Gpu,
    GpuPolicy,
    GpuProcess,
    Machine,
    NvmlPort,
    SystemPort,
    TorchFacts,
    UnreadableGpu,
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

BUILDERS = (rtx_3090, rtx_3090_ti, rtx_4090, rtx_5060_ti, h200)
Build = Callable[..., Gpu]


@pytest.mark.parametrize("build", BUILDERS)
def test_a_card_is_whole_and_its_memory_adds_up(build: Build) -> None:
    card = build()

    held = [card.memory_used, card.memory_reserved, card.memory_free]
    assert sum(part for part in held if part is not None) == card.memory_total
    told = {field.name for field in fields(card) if getattr(card, field.name) is None}
    # What no GeForce card tells, or newer ones tell in another way.
    assert told <= {
        "ecc_errors",
        "failing_rows",
        "mig_enabled",
        "temperature_slowdown",
    }


@pytest.mark.parametrize("build", BUILDERS)
def test_what_users_change_can_be_given(build: Build) -> None:
    who = GpuProcess(pid=7, kind="compute", name="ollama", memory=1024)

    card = build(
        index=3,
        uuid="GPU-x",
        bus="00000000:41:00.0",
        memory_used=1024**3,
        temperature=77,
        processes=(who,),
    )

    assert (card.index, card.uuid, card.pci_order) == (3, "GPU-x", (0, 0x41, 0))
    assert (card.memory_used, card.temperature) == (1024**3, 77)
    assert card.processes == (who,)


def test_only_the_rtx_3090_is_the_standards_card() -> None:
    policy = GpuPolicy()

    assert policy.allows(rtx_3090())
    for other in (rtx_3090_ti(), rtx_4090(), rtx_5060_ti(), h200()):
        assert not policy.allows(other)


def test_cards_change_between_two_reads() -> None:
    nvml = FakeNvml(rtx_3090(), driver="550.54.14", cuda=(12, 4))

    first = nvml.read()
    nvml.cards = ()
    nvml.unreadable = (UnreadableGpu(index=0, reason="lost"),)
    second = nvml.read()

    assert first.driver_version == first.gpus[0].driver_version == "550.54.14"
    assert first.gpus[0].cuda_version == (12, 4)
    assert second.gpus == ()
    assert second.unreadable[0].reason == "lost"
    assert nvml.reads == 2


def test_a_driver_that_fails_raises_until_it_is_well() -> None:
    error = DriverNotLoadedError("not loaded.")
    nvml = FakeNvml(rtx_3090(), error=error)

    for _ in range(2):
        with pytest.raises(DriverNotLoadedError):
            nvml.read()
    nvml.error = None

    assert nvml.read().gpus
    assert nvml.reads == 3


def test_together_they_are_a_machine() -> None:
    torch = TorchFacts(version="2.9.1+cu128", cuda="12.8")
    nvml: NvmlPort = FakeNvml(rtx_5060_ti(), rtx_3090())
    fake = FakeCuda(rtx_3090(), problem="")
    cuda: CudaPort = fake
    system: SystemPort = FakeSystem(torch=torch, cards_on_bus=2, is_wsl=True)

    machine = Machine(nvml=nvml, cuda=cuda, system=system, environ={})
    shown = machine.cuda.in_new_process({"CUDA_VISIBLE_DEVICES": "1"})

    assert [device.uuid for device in shown.devices] == [rtx_3090().uuid]
    assert shown.is_known
    assert fake.asked == [{"CUDA_VISIBLE_DEVICES": "1"}]
    assert machine.cuda.in_process() is None
    assert machine.system.torch() == torch
    assert machine.system.cards_on_bus() == 2
    assert machine.system.is_wsl()


def test_cuda_can_run_in_this_process_or_not_be_asked() -> None:
    started = FakeCuda(rtx_3090(), in_process=(rtx_5060_ti(),))
    mute = FakeCuda(problem="no libcuda", is_known=False)

    view = started.in_process()

    assert view is not None
    assert [device.name for device in view.devices] == [rtx_5060_ti().name]
    assert not mute.in_new_process({}).is_known
    assert mute.in_new_process({}).problem == "no libcuda"
