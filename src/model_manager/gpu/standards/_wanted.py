"""Which variables a policy asks for, and which values of them are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._variables import (
    ALLOCATOR_NAMES,
    DEVICE_ORDER,
    VISIBLE_DEVICES,
    allocator_settings,
)

VARIABLES: Final = (VISIBLE_DEVICES, DEVICE_ORDER, *ALLOCATOR_NAMES)
"""Every variable that the standard speaks of, whatever the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One thing that a policy asks of the environment."""

    names: tuple[str, ...]
    """Its names; one of them is enough. The first is the one to write."""
    value: str
    """What to set it to."""
    others: frozenset[str] = frozenset()
    """Other values that are right as well."""

    @property
    def name(self) -> str:
        """The name to write."""
        return self.names[0]

    def accepts(self, value: object) -> bool:
        """Return whether a value is right."""
        if not isinstance(value, str):
            return False
        if self.names != ALLOCATOR_NAMES:
            # A space more is no space less: the guard refuses it, and CUDA may.
            return value == self.value or value in self.others
        seen = allocator_settings(value)
        return allocator_settings(self.value).items() <= seen.items()


def wanted_of(policy: GpuPolicy) -> tuple[Wanted, ...]:
    """Return what a policy asks of the environment, in the order to write it."""
    visible = policy.uuid or policy.visible_devices
    found = [
        Wanted(
            names=(VISIBLE_DEVICES,),
            value=visible,
            others=frozenset({policy.visible_devices}),
        )
    ]
    if policy.device_order is not None:
        found.append(Wanted(names=(DEVICE_ORDER,), value=policy.device_order))
    if policy.allocator is not None:
        found.append(Wanted(names=ALLOCATOR_NAMES, value=policy.allocator))
    return tuple(found)


def wanted_named(wanted: tuple[Wanted, ...], name: str) -> Wanted | None:
    """Return what is wanted of the variable with this name, if anything."""
    return next((one for one in wanted if name in one.names), None)
