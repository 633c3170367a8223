"""The rules on what CUDA and PyTorch themselves say."""

from __future__ import annotations

import re

from model_manager.errors import (
    CudaInitializedError,
    CudaUnavailableError,
    GpuError,
    TorchUnsuitableError,
    WrongGpuError,
)
from model_manager.gpu._cards import Gpu, Inventory
from model_manager.gpu._machine import CudaView, TorchFacts
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._verdict import Check
from model_manager.gpu.guard._inventory import place_of, right_line

_RULE = "cuda"


def cuda(
    policy: GpuPolicy,
    inventory: Inventory,
    *,
    view: CudaView,
    is_started: bool,
    is_rightly_set: bool,
) -> Check:
    """Judge which cards CUDA itself shows.

    Args:
        policy: Which card is allowed.
        inventory: What NVML told, to know CUDA's cards by their UUIDs.
        view: What CUDA showed.
        is_started: Whether it was asked in this process, where it runs already.
        is_rightly_set: Whether the variables select an allowed card now.
    """
    where = "CUDA, which runs in this process," if is_started else "CUDA"
    if not view.is_known:
        return Check(
            rule=_RULE,
            status="skipped",
            seen=view.problem,
            expected=f"the {policy.name} alone",
            remedy="Check again; where it stays so, restart the machine.",
        )
    if view.problem or not view.devices:
        return Check(
            rule=_RULE,
            status="failed",
            seen=f"{where} shows no card: {view.problem or 'and says nothing else'}",
            expected="the one card",
            remedy=f"{right_line(policy, inventory)} Where that is so, the driver or"
            " the container's runtime is at fault.",
            error=CudaUnavailableError,
        )
    gpu = shown(view, inventory)
    if gpu is not None and policy.allows(gpu):
        return Check(rule=_RULE, status="passed", seen=f"{where} shows {place_of(gpu)}")
    names = ", ".join(device.name or "a card without a name" for device in view.devices)
    error: type[GpuError] = WrongGpuError
    remedy = right_line(policy, inventory)
    if is_started and is_rightly_set:
        error = CudaInitializedError
        remedy = (
            "The variables were set after CUDA was started, which changes nothing: set"
            " them first, in a new process (in a notebook: restart the kernel)."
        )
    return Check(
        rule=_RULE,
        status="failed",
        seen=f"{where} shows {names}",
        expected=f"the {policy.name} alone",
        remedy=remedy,
        error=error,
    )


def shown(view: CudaView, inventory: Inventory) -> Gpu | None:
    """Return the one card that CUDA shows, as NVML knows it."""
    if len(view.devices) != 1:
        return None
    found = [gpu for gpu in inventory.gpus if gpu.uuid == view.devices[0].uuid]
    return found[0] if len(found) == 1 else None


def torch(policy: GpuPolicy, facts: TorchFacts | None) -> Check:
    """Judge the installed PyTorch, without importing it."""
    rule = "torch"
    if policy.min_torch is None:
        return _not_asked("the policy asks nothing of PyTorch")
    if facts is None:
        return _not_asked("PyTorch is not installed")
    wanted = (
        f"{'.'.join(map(str, policy.min_torch))} or later, built with CUDA"
        f" {'.'.join(map(str, policy.min_torch_cuda))} or later"
    )
    seen = f"PyTorch {facts.version}, built {_build(facts)}"
    old = _numbers(facts.version) < policy.min_torch
    cuda_old = facts.is_cuda_known and _numbers(facts.cuda) < policy.min_torch_cuda
    if old or cuda_old:
        return Check(
            rule=rule,
            status="failed",
            seen=seen,
            expected=wanted,
            remedy="Install a build of PyTorch with CUDA: pytorch.org has the line.",
            error=TorchUnsuitableError,
        )
    if not facts.is_cuda_known:
        return Check(
            rule=rule, status="warning", seen=seen, expected=wanted, is_needed=False
        )
    return Check(rule=rule, status="passed", seen=seen)


def _not_asked(why: str) -> Check:
    return Check(rule="torch", status="skipped", seen=why, is_needed=False)


def _build(facts: TorchFacts) -> str:
    if not facts.is_cuda_known:
        return "with a CUDA that cannot be read"
    return f"with CUDA {facts.cuda}" if facts.cuda else "without CUDA"


def _numbers(version: str | None) -> tuple[int, ...]:
    match = re.match(r"\d{1,6}(?:\.\d{1,6})*", version or "", re.ASCII)
    return tuple(map(int, match.group().split("."))) if match is not None else ()
