"""The rules about a server's variables, each on what could be read of them; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model_manager.errors import (
    CudaUnavailableError,
    DeviceOrderError,
    GpuError,
    InvalidRequestError,
    VisibleDevicesError,
    WrongGpuError,
)
from model_manager.gpu._cards import Gpu, Inventory
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._variables import DEVICE_ORDER, VISIBLE_DEVICES
from model_manager.gpu._verdict import Check, CheckStatus
from model_manager.gpu._visible import Selection, select_devices
from model_manager.gpu.ollama._facts import ENGINE, ServerFacts
from model_manager.gpu.ollama._settings import address_of, is_loopback
from model_manager.gpu.ollama._variables import (
    CONTEXT,
    HOST,
    IGNORED,
    LIBRARY,
    NO_CLOUD,
    SPREAD,
    VULKAN,
    VULKAN_DEVICES,
    is_true,
)

_READ: Final = (
    "Run the check as root or as the server's user, or restart the server with"
    " 'model-manager gpu launch-ollama'."
)
_SET: Final = (
    "Start it with 'model-manager gpu launch-ollama', or set its variables with the"
    " scripts of 'model-manager gpu scripts', and restart it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The card that a server's variables choose."""

    check: Check
    gpu: Gpu | None = None
    """Where it is certain, and one that the policy allows."""


def chosen(facts: ServerFacts, policy: GpuPolicy, inventory: Inventory) -> Chosen:
    """Judge which card `CUDA_VISIBLE_DEVICES` gives the server."""
    rule = "server_environment"
    expected = f"{VISIBLE_DEVICES} names the {policy.name} alone"
    order_matters = not (facts.value(VISIBLE_DEVICES) or "").upper().startswith("GPU-")
    known = facts.is_known(VISIBLE_DEVICES) and (
        facts.is_known(DEVICE_ORDER) or not order_matters
    )
    if not known or not inventory.gpus:
        why = facts.why_unknown if not known else "there is no card to choose"
        return Chosen(check=_unknown(rule, why, expected=expected))
    environment = facts.environment or {}
    value = environment.get(VISIBLE_DEVICES)
    selection = select_devices(value, environment.get(DEVICE_ORDER), inventory)
    what = f"{VISIBLE_DEVICES} is not set"
    if value is not None:
        what = f"{VISIBLE_DEVICES}={value[:80]}"
    seen, error = _judged(selection, policy, what)
    if error is not None:
        check = Check(
            rule=rule,
            status="failed",
            seen=seen,
            expected=expected,
            remedy=_SET,
            error=error,
        )
        return Chosen(check=check)
    where = ", by the unit of its service" if facts.source == "service" else ""
    status: CheckStatus = "warning" if value is None else "passed"
    check = Check(rule=rule, status=status, seen=f"{seen}{where}", expected=expected)
    return Chosen(check=check, gpu=selection.gpus[0])


def _judged(
    selection: Selection, policy: GpuPolicy, what: str
) -> tuple[str, type[GpuError] | None]:
    """Return what was seen, and what is wrong with it."""
    names = ", ".join(gpu.name for gpu in selection.gpus)
    is_only = selection.naming == "all" and len(selection.gpus) == 1
    if selection.naming == "mig":
        return f"{what}: {selection.note}", VisibleDevicesError
    if not selection.gpus:
        why = f" ({selection.note})" if selection.note else ""
        return f"{what}: CUDA finds no card{why}", CudaUnavailableError
    if not all(policy.allows(gpu) for gpu in selection.gpus):
        return f"{what}: {names}", WrongGpuError
    if len(selection.gpus) > 1:
        return f"{what}: {names}", VisibleDevicesError
    if not selection.is_certain and not is_only:
        return f"{what}: {selection.note}", DeviceOrderError
    return f"{what}: {names}" + (", the only card" if is_only else ""), None


def vulkan(facts: ServerFacts, policy: GpuPolicy, inventory: Inventory) -> Check:
    """Judge whether Vulkan could bring in a card that is hidden from CUDA."""
    rule = "vulkan"
    expected = f"{VULKAN}=0"
    if _is_vulkan_off(facts):
        return Check(
            rule=rule, status="passed", seen="Vulkan is off", expected=expected
        )
    if not (facts.is_known(VULKAN) and facts.is_known(VULKAN_DEVICES)):
        return _unknown(rule, facts.why_unknown, expected=expected)
    hidden = _others(policy, inventory)
    if not hidden:
        seen = "Vulkan is on; no card is there that it could bring in"
        return Check(
            rule=rule, status="warning", seen=seen, expected=expected, remedy=_SET
        )
    return Check(
        rule=rule,
        status="failed",
        seen=f"Vulkan is on and finds {hidden}, whatever {VISIBLE_DEVICES} says",
        expected=expected,
        remedy=_SET,
        error=WrongGpuError,
    )


def _is_vulkan_off(facts: ServerFacts) -> bool:
    """Return whether it is certain that Vulkan finds no card."""
    library = facts.value(LIBRARY)
    if facts.value(VULKAN_DEVICES) == "-1" or (library and "vulkan" not in library):
        return True
    value = facts.value(VULKAN)
    if value:
        return not is_true(value)
    numbers = facts.version_numbers
    # Until 0.30 it was off unless asked for.
    is_older = numbers is not None and numbers < ENGINE
    return is_older and facts.is_known(VULKAN)


def spread(facts: ServerFacts, policy: GpuPolicy, inventory: Inventory) -> Check:
    """Judge whether a model would be spread over all cards."""
    rule = "spread"
    expected = f"{SPREAD} is not set"
    if not facts.is_known(SPREAD):
        return _unknown(rule, facts.why_unknown, expected=expected, is_needed=False)
    value = facts.value(SPREAD) or ""
    if not value or not is_true(value):
        return Check(rule=rule, status="passed", seen=expected, expected=expected)
    return Check(
        rule=rule,
        status="failed" if _others(policy, inventory) else "warning",
        seen=f"{SPREAD} is on: models are spread over all cards that it finds",
        expected=expected,
        remedy=_SET,
        error=WrongGpuError,
    )


def ignored_names(facts: ServerFacts) -> Check:
    """Tell of variables that look as if they chose a card and that nothing reads."""
    rule = "ignored_names"
    if facts.environment is None:
        return _unknown(rule, facts.why_unknown, is_needed=False)
    there = [name for name in IGNORED if name in facts.environment]
    if not there:
        return Check(rule=rule, status="passed", seen="none is set")
    names = ", ".join(there)
    if VISIBLE_DEVICES in facts.environment:
        seen = f"{names}: set beside {VISIBLE_DEVICES}; Ollama does not read it"
        return Check(rule=rule, status="passed", seen=seen)
    return Check(
        rule=rule,
        status="warning",
        seen=f"{names}: set, and Ollama does not read it",
        expected=f"{VISIBLE_DEVICES}, which CUDA reads",
        remedy=_SET,
    )


def context_length(facts: ServerFacts) -> Check:
    """Tell how long the contexts are, on which it depends what fits on the card."""
    rule = "context_length"
    loaded = sorted({m.context_length for m in facts.models or () if m.context_length})
    now = f"; loaded with {', '.join(map(str, loaded))}" if loaded else ""
    if facts.context_length is not None:
        seen = f"{CONTEXT}={facts.context_length}{now}"
        return Check(rule=rule, status="passed", seen=seen)
    if not facts.is_known(CONTEXT):
        why = f"{facts.why_unknown}{now}"
        return _unknown(rule, why, is_needed=False)
    return Check(
        rule=rule,
        status="warning",
        seen=f"{CONTEXT} is not set: Ollama chooses by memory, 32768 on 24 GB{now}",
        expected="a length with which the models fit",
        remedy=_SET,
    )


def cloud(facts: ServerFacts) -> Check:
    """Tell whether the server would pass work on to Ollama's cloud."""
    rule = "cloud"
    expected = f"{NO_CLOUD}=1"
    disabled = facts.cloud_disabled
    if disabled is None and facts.is_known(NO_CLOUD):
        value = facts.value(NO_CLOUD) or ""
        disabled = bool(value) and is_true(value)
    if disabled is None:
        why = facts.why_unknown or "the server does not tell"
        return _unknown(rule, why, expected=expected, is_needed=False)
    if disabled:
        seen = "models of Ollama's cloud are refused"
        return Check(rule=rule, status="passed", seen=seen, expected=expected)
    return Check(
        rule=rule,
        status="warning",
        seen="models of Ollama's cloud may be asked, and what is sent to them leaves",
        expected=expected,
        remedy=_SET,
    )


def exposure(facts: ServerFacts) -> Check:
    """Tell whether others on the network can use the server."""
    rule = "exposure"
    expected = f"{HOST} is an address of this machine alone"
    if not facts.is_known(HOST):
        return _unknown(rule, facts.why_unknown, expected=expected, is_needed=False)
    given = (facts.value(HOST) or "").removeprefix("http://").rstrip("/")
    try:
        host = address_of(given or "127.0.0.1")[0]
    except InvalidRequestError:
        host = ""
    if is_loopback(host):
        seen = "it listens to this machine alone"
        return Check(rule=rule, status="passed", seen=seen, expected=expected)
    return Check(
        rule=rule,
        status="warning",
        seen="it may listen to the network, and asks nobody for a password",
        expected=expected,
        remedy=_SET,
    )


def _others(policy: GpuPolicy, inventory: Inventory) -> str:
    """Return the cards that may not be used, in words; empty where there are none."""
    names = [gpu.name for gpu in inventory.gpus if not policy.allows(gpu)]
    if inventory.unreadable:
        names.append("a card that cannot be read")
    return ", ".join(names)


def _unknown(
    rule: str, why: str, *, expected: str = "", is_needed: bool = True
) -> Check:
    return Check(
        rule=rule,
        status="skipped",
        seen=why or "it cannot be read",
        expected=expected,
        remedy=_READ,
        is_needed=is_needed,
    )
