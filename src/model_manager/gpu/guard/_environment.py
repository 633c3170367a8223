"""The rules on variables: read off the environment alone, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from model_manager.errors import (
    AllocatorSettingsError,
    DeviceOrderError,
    VisibleDevicesError,
)
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._variables import (
    ALLOCATOR_NAMES,
    DEVICE_ORDER,
    VISIBLE_DEVICES,
    allocator_settings,
    setting_of,
)
from model_manager.gpu._verdict import Check
from model_manager.gpu._visible import is_clean

_HOW: Final = (
    "call model_manager.gpu.apply_gpu_environment() before anything loads CUDA"
)
_SHOWN: Final = 60


def device_order(policy: GpuPolicy, environ: Mapping[str, str]) -> Check:
    """Judge `CUDA_DEVICE_ORDER`: without it CUDA calls the fastest card 0."""
    rule, wanted = "device_order", policy.device_order
    value = environ.get(DEVICE_ORDER)
    if wanted is None or value == wanted:
        seen = f"{DEVICE_ORDER} is {value or 'not set, and need not be'}"
        return Check(rule=rule, status="passed", seen=seen)
    return Check(
        rule=rule,
        status="failed",
        seen=f"{DEVICE_ORDER} is {_shown(value)}",
        expected=wanted,
        remedy=f"Set {DEVICE_ORDER}={wanted}, or {_HOW}.",
        error=DeviceOrderError,
    )


def visible_devices(policy: GpuPolicy, environ: Mapping[str, str]) -> Check:
    """Judge the form of `CUDA_VISIBLE_DEVICES`: it must name one card, clearly."""
    rule = "visible_devices"
    value = environ.get(VISIBLE_DEVICES)
    if value is not None and is_clean(value):
        return Check(rule=rule, status="passed", seen=f"{VISIBLE_DEVICES} is {value}")
    wanted = policy.uuid or policy.visible_devices
    return Check(
        rule=rule,
        status="failed",
        seen=f"{VISIBLE_DEVICES} is {_shown(value)}{_effect(value)}",
        expected=f"one number or one UUID of a card: {wanted}",
        remedy=f"Set {VISIBLE_DEVICES}={wanted}, or {_HOW}.",
        error=VisibleDevicesError,
    )


def allocator(policy: GpuPolicy, environ: Mapping[str, str]) -> Check:
    """Judge the settings of PyTorch's allocator, under its old and its new name."""
    rule, wanted = "allocator", policy.allocator
    given = {name: environ[name] for name in ALLOCATOR_NAMES if name in environ}
    if wanted is None:
        return Check(
            rule=rule, status="passed", seen="the policy asks nothing of the allocator"
        )
    name, value = setting_of(wanted)
    # Which of the two names counts depends on the version, so none may say otherwise.
    if given and all(allocator_settings(t).get(name) == value for t in given.values()):
        return Check(rule=rule, status="passed", seen=f"{', '.join(given)}: {wanted}")
    text = "; ".join(f"{key} is {_shown(held)}" for key, held in given.items())
    return Check(
        rule=rule,
        status="failed",
        seen=text or f"{ALLOCATOR_NAMES[0]} is not set",
        expected=wanted,
        remedy=f"Set {ALLOCATOR_NAMES[0]}={wanted}, or {_HOW}.",
        error=AllocatorSettingsError,
    )


def _shown(value: str | None) -> str:
    if value is None:
        return "not set"
    if not value:
        return "empty"
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")


def _effect(value: str | None) -> str:
    if value is None:
        return ", so programs see every card"
    if not value:
        return ", so programs see no card"
    if "," in value:
        return ", which may be several cards"
    if value.startswith("MIG-"):
        return ", which is a part of a card"
    return ", which is not the clear name of one card"
