"""The guard: all rules in their order, each on what the ones before it made sure of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from model_manager.errors import NvmlError
from model_manager.gpu._cards import Gpu, Inventory
from model_manager.gpu._here import this_machine
from model_manager.gpu._machine import CudaView, Machine
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._variables import DEVICE_ORDER, VISIBLE_DEVICES
from model_manager.gpu._verdict import Check, Verdict
from model_manager.gpu._visible import Selection, select_devices
from model_manager.gpu.guard import _environment, _health, _inventory, _truth

_AFTER_NVML: Final = ("driver", "cuda_version", "bus", "cards", "selected_card", "cuda")
_HEALTH: Final = ("temperature", "memory_errors", "throttling")


def check_gpu(
    policy: GpuPolicy | None = None,
    *,
    machine: Machine | None = None,
    ask_cuda: bool = True,
) -> Verdict:
    """Check every rule of a policy, and return how each went; raises nothing.

    The order: the variables; NVML; the driver; the cards; the card that the variables
    select; the cards that CUDA itself shows, asked in a short process of its own, or in
    this one where CUDA runs already; PyTorch, without importing it; the card's health.
    It takes a few tenths of a second, most of them CUDA's.

    Args:
        policy: The rules; the team's standard, the RTX 3090 alone, where not given.
        machine: What is asked, instead of this machine and this process.
        ask_cuda: Whether CUDA itself is asked. Without it, the verdict is only good
            where the variables alone decide which card is used.
    """
    policy = policy or GpuPolicy()
    machine = machine or this_machine()
    checks = [
        _environment.device_order(policy, machine.environ),
        _environment.visible_devices(policy, machine.environ),
        _environment.allocator(policy, machine.environ),
    ]
    inventory, nvml = _read(machine)
    checks.append(nvml)
    gpu: Gpu | None = None
    if inventory is None:
        why = "not checked, because NVML tells nothing"
        checks += [Check(rule=r, status="skipped", seen=why) for r in _AFTER_NVML]
    else:
        sight = _look(machine, inventory, ask_cuda=ask_cuda)
        checks += _on_cards(policy, sight)
        gpu = _card(policy, sight)
    checks.append(_truth.torch(policy, machine.system.torch()))
    checks += _on_health(policy, gpu)
    return Verdict(policy=policy.name, checks=tuple(checks), gpu=gpu)


def validate_rtx3090_mandatory(*, machine: Machine | None = None) -> Gpu:
    """Return the RTX 3090 that this process will use, or raise what is wrong.

    Call it in every GPU script, after the variables are set and before any work.

    Args:
        machine: What is asked, instead of this machine and this process.

    Raises:
        GpuError: A rule is broken; the subclass says which, the message what to do,
            and `error.verdict` holds every rule.
    """
    verdict = check_gpu(machine=machine)
    verdict.raise_for_failure()
    if verdict.gpu is None:  # pragma: no cover - a good verdict names its card
        message = "a verdict without a card is not good"
        raise AssertionError(message)
    return verdict.gpu


def _read(machine: Machine) -> tuple[Inventory | None, Check]:
    rule = "nvml"
    try:
        inventory = machine.nvml.read()
    except NvmlError as error:
        check = Check(
            rule=rule,
            status="failed",
            seen=error.what.rstrip("."),
            expected="an answer",
            remedy=error.remedy,
            error=type(error),
        )
        return None, check
    return inventory, Check(rule=rule, status="passed", seen="it answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """What was seen on a machine whose cards can be read."""

    inventory: Inventory
    on_bus: int | None
    selection: Selection
    view: CudaView | None
    """What CUDA showed; `None` where it was not asked."""
    is_started: bool
    """Whether CUDA runs in this process already."""


def _look(machine: Machine, inventory: Inventory, *, ask_cuda: bool) -> _Sight:
    running = machine.cuda.in_process()
    view = running
    if view is None and ask_cuda:
        view = machine.cuda.in_new_process(machine.environ)
    return _Sight(
        inventory=inventory,
        on_bus=machine.system.cards_on_bus(),
        selection=_selection(machine, inventory),
        view=view,
        is_started=running is not None,
    )


def _selection(machine: Machine, inventory: Inventory) -> Selection:
    environ = machine.environ
    found = select_devices(
        environ.get(VISIBLE_DEVICES), environ.get(DEVICE_ORDER), inventory
    )
    several = len(inventory.gpus) > 1
    if several and found.naming == "number" and machine.system.is_wsl():
        # NVIDIA's guide to CUDA on WSL: cards cannot be filtered by their numbers.
        return replace(found, is_certain=False, note="WSL does not keep to numbers")
    return found


def _on_cards(policy: GpuPolicy, sight: _Sight) -> Iterator[Check]:
    inventory, selection = sight.inventory, sight.selection
    yield _inventory.driver(policy, inventory)
    yield _inventory.cuda_version(policy, inventory)
    yield _inventory.bus(inventory, sight.on_bus)
    yield _inventory.cards(policy, inventory)
    # One of the two must be sure of the card; where both are, both must be content.
    yield replace(
        _inventory.selected_card(policy, inventory, selection=selection),
        is_needed=sight.view is None,
    )
    if sight.view is None:
        yield Check(
            rule="cuda",
            status="skipped",
            seen="CUDA itself was not asked",
            is_needed=not selection.is_certain,
        )
        return
    yield _truth.cuda(
        policy,
        inventory,
        view=sight.view,
        is_started=sight.is_started,
        is_rightly_set=_selected(policy, selection) is not None,
    )


def _selected(policy: GpuPolicy, selection: Selection) -> Gpu | None:
    gpus = selection.gpus
    is_one = selection.is_certain and len(gpus) == 1
    return gpus[0] if is_one and policy.allows(gpus[0]) else None


def _card(policy: GpuPolicy, sight: _Sight) -> Gpu | None:
    """Return the card that CUDA would use, where that is sure and it is allowed."""
    if sight.view is None:
        return _selected(policy, sight.selection)
    gpu = _truth.shown(sight.view, sight.inventory)
    return gpu if gpu is not None and policy.allows(gpu) else None


def _on_health(policy: GpuPolicy, gpu: Gpu | None) -> Iterator[Check]:
    if gpu is None:
        for rule in _HEALTH:
            yield Check(
                rule=rule, status="skipped", seen="not checked, because no card is sure"
            )
        return
    yield _health.temperature(policy, gpu)
    yield _health.memory_errors(gpu)
    yield _health.throttling(gpu)
