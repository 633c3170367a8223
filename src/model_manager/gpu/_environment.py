"""The variables that keep CUDA to the one card, and how they are set."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

from model_manager.errors import (
    AmbiguousGpuError,
    CudaInitializedError,
    RequiredGpuMissingError,
)
from model_manager.gpu._cards import Inventory
from model_manager.gpu._machine import CudaPort, CudaView
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._variables import (
    ALLOCATOR_NAMES,
    DEVICE_ORDER,
    VISIBLE_DEVICES,
    with_setting,
)

_NEW_PROCESS: Final = (
    "Set them first: at the top of the script, before anything imports a CUDA library;"
    " in a notebook, restart the kernel."
)


def gpu_environment(policy: GpuPolicy | None = None) -> dict[str, str]:
    """Return the variables that keep a program to the policy's card.

    `CUDA_VISIBLE_DEVICES` is the policy's UUID where it has one, else its place on the
    bus; `CUDA_DEVICE_ORDER` makes that place mean what it says. PyTorch's allocator is
    set under both of its names.

    Args:
        policy: The rules; the team's standard, the RTX 3090 alone, where not given.
            `policy.pinned(inventory)` is the same with the card's UUID.
    """
    policy = policy or GpuPolicy()
    variables = {VISIBLE_DEVICES: policy.uuid or policy.visible_devices}
    if policy.device_order is not None:
        variables[DEVICE_ORDER] = policy.device_order
    if policy.allocator is not None:
        variables |= dict.fromkeys(ALLOCATOR_NAMES, policy.allocator)
    return variables


def merged_environment(policy: GpuPolicy, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the policy's variables in it.

    Settings of the allocator that the policy says nothing about stay.
    """
    variables = gpu_environment(policy)
    for name in ALLOCATOR_NAMES:
        if name in variables and policy.allocator is not None:
            variables[name] = with_setting(environ.get(name), policy.allocator)
    return {**environ, **variables}


def apply_gpu_environment(
    policy: GpuPolicy | None = None,
    *,
    environ: MutableMapping[str, str] | None = None,
    cuda: CudaPort | None = None,
) -> dict[str, str]:
    """Set the variables in this process, and return those that were set.

    Call it before anything imports a CUDA library. A second call changes nothing.

    Args:
        policy: The rules; the team's standard, the RTX 3090 alone, where not given.
        environ: Where they are set, instead of this process's environment.
        cuda: Who is asked whether CUDA runs already, instead of this process's CUDA.

    Raises:
        CudaInitializedError: CUDA runs in this process already and shows something
            else than one card of the policy: it has read its variables and never will
            again, so nothing is set.
    """
    # Late: what asks CUDA needs ctypes, which a plain look at variables does not.
    from model_manager.gpu._cuda import Cuda  # noqa: PLC0415 - see above

    policy = policy or GpuPolicy()
    environ = os.environ if environ is None else environ
    wanted = merged_environment(policy, environ)
    running = (cuda or Cuda()).in_process()
    if running is not None and not _is_what_we_want(policy, running):
        shows = ", ".join(device.name for device in running.devices) or "no card"
        message = (
            "CUDA runs in this process already, so its variables come too late: it"
            f" shows {shows}."
        )
        raise CudaInitializedError(message, remedy=_NEW_PROCESS, rule="cuda")
    changed = {
        name: value for name, value in wanted.items() if environ.get(name) != value
    }
    environ.update(changed)
    return {name: wanted[name] for name in gpu_environment(policy)}


def pinned_policy(policy: GpuPolicy, inventory: Inventory) -> GpuPolicy:
    """Return the policy with its card's UUID, or raise why there is not one such card.

    Raises:
        RequiredGpuMissingError: No card fits the policy.
        AmbiguousGpuError: Several do.
    """
    found = [gpu for gpu in inventory.gpus if policy.allows(gpu)]
    if not found:
        names = ", ".join(gpu.name for gpu in inventory.gpus) or "no card"
        message = f"there is no {policy.name} on this machine: it has {names}."
        raise RequiredGpuMissingError(
            message, remedy="'model-manager gpu check' says more.", rule="cards"
        )
    if len(found) > 1:
        message = f"{len(found)} cards fit the policy {policy.name}."
        uuids = " or ".join(gpu.uuid for gpu in found)
        raise AmbiguousGpuError(
            message, remedy=f"Say which one is meant: {uuids}.", rule="cards"
        )
    return policy.pinned(inventory)


def _is_what_we_want(policy: GpuPolicy, view: CudaView) -> bool:
    """Return whether a CUDA that runs shows one card, and one that may be meant."""
    if len(view.devices) != 1:
        return False
    device = view.devices[0]
    if policy.uuid is not None:
        return device.uuid == policy.uuid
    return any(device.name in card.names for card in policy.cards)
