"""The rules on what NVML tells: the driver, the cards, and which one is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from model_manager.errors import (
    CudaUnavailableError,
    DriverTooOldError,
    GpuError,
    GpuLostError,
    RequiredGpuMissingError,
    WrongGpuError,
)
from model_manager.gpu._cards import Gpu, Inventory
from model_manager.gpu._policy import GIB, CardModel, GpuPolicy
from model_manager.gpu._variables import VISIBLE_DEVICES
from model_manager.gpu._verdict import Check
from model_manager.gpu._visible import Selection

_NEW_CARDS_DRIVER: Final = 570
"""The first driver branch that knows RTX 50 cards (NVIDIA's release notes of 570)."""


def driver(policy: GpuPolicy, inventory: Inventory) -> Check:
    """Judge the driver's version."""
    rule, wanted = "driver", _dotted(policy.min_driver)
    version = _numbers(inventory.driver_version)
    if version is None:
        return Check(
            rule=rule,
            status="skipped",
            seen="the driver's version is unknown",
            expected=f"{wanted} or later",
            remedy="Look at what 'nvidia-smi' says, and install the driver anew.",
        )
    if version >= policy.min_driver:
        return Check(
            rule=rule, status="passed", seen=f"driver {inventory.driver_version}"
        )
    return Check(
        rule=rule,
        status="failed",
        seen=f"driver {inventory.driver_version}",
        expected=f"{wanted} or later",
        remedy="Update the NVIDIA driver, and restart the machine.",
        error=DriverTooOldError,
    )


def cuda_version(policy: GpuPolicy, inventory: Inventory) -> Check:
    """Judge the newest CUDA that the driver can run."""
    rule, version = "cuda_version", inventory.cuda_version
    if version is None:
        return Check(
            rule=rule,
            status="skipped",
            seen="the driver does not tell its CUDA",
            expected=f"{_dotted(policy.min_cuda)} or later",
            remedy="Look at what 'nvidia-smi' says, and install the driver anew.",
        )
    if version >= policy.min_cuda:
        return Check(
            rule=rule, status="passed", seen=f"the driver runs CUDA {_dotted(version)}"
        )
    return Check(
        rule=rule,
        status="failed",
        seen=f"the driver runs CUDA {_dotted(version)}",
        expected=f"{_dotted(policy.min_cuda)} or later",
        remedy="Update the NVIDIA driver: it brings the CUDA that programs can use.",
        error=DriverTooOldError,
    )


def bus(inventory: Inventory, on_bus: int | None) -> Check:
    """Compare the cards of the bus with those of the driver; a warning at most."""
    rule = "bus"
    known = len(inventory.gpus) + len(inventory.unreadable)
    if on_bus is None:
        return Check(
            rule=rule,
            status="skipped",
            seen="the PCI bus cannot be looked at here",
            is_needed=False,
        )
    if on_bus <= known:
        return Check(
            rule=rule,
            status="passed",
            seen=f"{_count(on_bus)}, which the driver knows",
        )
    return Check(
        rule=rule,
        status="warning",
        seen=f"the PCI bus has {_count(on_bus)}, the driver knows {known}",
        expected="a driver that knows all",
        remedy=(
            f"A driver older than {_NEW_CARDS_DRIVER} does not know RTX 50 cards, and"
            f" then the numbers of the others change: update it, or name the card in"
            f" {VISIBLE_DEVICES} by its UUID."
        ),
    )


def cards(policy: GpuPolicy, inventory: Inventory) -> Check:
    """Judge whether the card of the policy is there."""
    rule = "cards"
    allowed = [gpu for gpu in inventory.gpus if policy.allows(gpu)]
    seen = _listed(inventory)
    if len(allowed) == 1:
        return Check(rule=rule, status="passed", seen=seen)
    if allowed:
        return Check(
            rule=rule,
            status="warning",
            seen=f"{seen}: {len(allowed)} cards fit the policy",
            expected="one, or one that is named by its UUID",
            remedy=f"Set {VISIBLE_DEVICES}={allowed[0].uuid}: a UUID never changes.",
        )
    lost = any(gpu.reason == "lost" for gpu in inventory.unreadable)
    near = "; ".join(_near_misses(policy, inventory))
    return Check(
        rule=rule,
        status="failed",
        seen=f"{seen}{f' ({near})' if near else ''}",
        expected=_wanted(policy),
        remedy=(
            "Restart the machine; a card fell off the bus."
            if lost
            else "Use the machine that has it, or a policy made for this one's card."
        ),
        error=GpuLostError if lost else RequiredGpuMissingError,
    )


def selected_card(
    policy: GpuPolicy, inventory: Inventory, *, selection: Selection
) -> Check:
    """Judge which card the variables select, where they alone decide it."""
    rule = "selected_card"
    if not selection.is_certain:
        return Check(
            rule=rule,
            status="skipped",
            seen=f"the variables alone do not tell: {selection.note}",
            expected=_wanted(policy),
            remedy=right_line(policy, inventory),
        )
    if len(selection.gpus) == 1 and policy.allows(selection.gpus[0]):
        return Check(rule=rule, status="passed", seen=place_of(selection.gpus[0]))
    error: type[GpuError] = WrongGpuError if selection.gpus else CudaUnavailableError
    names = " and ".join(place_of(gpu) for gpu in selection.gpus)
    return Check(
        rule=rule,
        status="failed",
        seen=f"CUDA would use {names or f'no card: {selection.note}'}",
        expected=_wanted(policy),
        remedy=right_line(policy, inventory),
        error=error,
    )


def right_line(policy: GpuPolicy, inventory: Inventory) -> str:
    """Return the line that selects the right card, where there is one."""
    uuid = policy.pinned(inventory).uuid
    if uuid is None:
        allowed = [gpu.uuid for gpu in inventory.gpus if policy.allows(gpu)]
        uuid = " or ".join(allowed)
    if not uuid:
        return f"There is no {policy.name} to select on this machine."
    return f"Set {VISIBLE_DEVICES}={uuid} before anything loads CUDA."


def place_of(gpu: Gpu) -> str:
    """Return a card's name and place, as people look for it."""
    return f"the {gpu.name} at {gpu.pci_bus_id} ({gpu.uuid})"


def _wanted(policy: GpuPolicy) -> str:
    names = sorted({max(card.names, key=len) for card in policy.cards})
    pin = f" with the UUID {policy.uuid}" if policy.uuid else ""
    return f"one {' or '.join(names)}{pin}"


def _listed(inventory: Inventory) -> str:
    words = [gpu.name for gpu in inventory.gpus]
    words += [
        f"a card that cannot be read ({gpu.reason.replace('_', ' ')})"
        for gpu in inventory.unreadable
    ]
    return ", ".join(words) or "no card"


def _near_misses(policy: GpuPolicy, inventory: Inventory) -> Iterator[str]:
    """Say of cards with the right name what is not right about them."""
    for gpu in inventory.gpus:
        for card in policy.cards:
            if gpu.name in card.names:
                yield from (f"{gpu.name}: {why}" for why in _differences(card, gpu))
                if policy.uuid and card.matches(gpu):
                    yield f"{gpu.name}: its UUID is {gpu.uuid}"


def _differences(card: CardModel, gpu: Gpu) -> Iterator[str]:
    if gpu.pci_device_id not in card.pci_device_ids:
        device = gpu.pci_device_id
        yield f"PCI device id {'unknown' if device is None else f'{device:#06x}'}"
    if gpu.compute_capability != card.compute_capability:
        have = gpu.compute_capability
        yield f"compute capability {'unknown' if have is None else _dotted(have)}"
    memory = gpu.memory_total
    if memory is None or memory < card.min_memory:
        yield f"memory {'unknown' if memory is None else f'{memory / GIB:.1f} GiB'}"


def _numbers(version: str | None) -> tuple[int, ...] | None:
    match = re.match(r"\d{1,6}(?:\.\d{1,6})*", version or "", re.ASCII)
    return None if match is None else tuple(map(int, match.group().split(".")))


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _count(number: int) -> str:
    return "1 card" if number == 1 else f"{number} cards"
