"""Which cards CUDA would give a program, read off its variables; pure.

How CUDA reads `CUDA_VISIBLE_DEVICES` is told in NVIDIA's CUDA C++ Programming Guide
(section on environment variables); what it says nothing about (prefixes of numbers,
repeated names) is read here as PyTorch reads it in `torch.cuda`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from model_manager.gpu._cards import Gpu, Inventory

PCI_ORDER: Final = "PCI_BUS_ID"
Naming: TypeAlias = Literal["all", "none", "number", "uuid", "mig"]

_NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_CLEAN: Final = re.compile(r"[0-9]{1,4}|GPU-[0-9a-fA-F][0-9a-fA-F-]*")
_UUID: Final = "GPU-"
_MIG: Final = "MIG-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The cards that a program gets, as far as its variables tell."""

    gpus: tuple[Gpu, ...]
    """In CUDA's order; empty where CUDA would find none."""
    naming: Naming
    """How the first of them is named: `all` where nothing is said."""
    is_certain: bool = True
    """Whether the variables alone decide it; else CUDA itself must be asked."""
    note: str = ""
    """Why the list ends where it does, or is not certain; in words."""


def is_clean(value: str) -> bool:
    """Return whether a value names one card in a way that nobody can misread.

    One number, or one UUID or the beginning of one: no spaces, no list, no sign.
    """
    return _CLEAN.fullmatch(value) is not None


def select_devices(
    value: str | None, order: str | None, inventory: Inventory
) -> Selection:
    """Return which cards CUDA would show to a program.

    Args:
        value: Its `CUDA_VISIBLE_DEVICES`; `None` where it is not set.
        order: Its `CUDA_DEVICE_ORDER`; `None` where it is not set.
        inventory: The machine's cards.
    """
    ordered = _in_bus_order(inventory.gpus)
    if ordered is None:
        return Selection(
            gpus=(),
            naming="none",
            is_certain=False,
            note="a card's place on the bus cannot be read",
        )
    if value is None:
        note = "nothing is said, so every card is shown"
        return Selection(gpus=ordered, naming="all", is_certain=False, note=note)
    if value.startswith(_MIG):
        return _by_mig(value, ordered)
    if value.startswith(_UUID):
        gpus, note = _by_uuid(value, ordered)
        return Selection(gpus=gpus, naming="uuid", note=note)
    gpus, note = _by_number(value, ordered)
    doubt = _doubt_about_numbers(order, inventory)
    return Selection(
        gpus=gpus,
        naming="number" if gpus else "none",
        is_certain=not doubt,
        note=doubt or note,
    )


def _in_bus_order(gpus: Sequence[Gpu]) -> tuple[Gpu, ...] | None:
    try:
        return tuple(sorted(gpus, key=lambda gpu: gpu.pci_order))
    except ValueError:
        return None


def _doubt_about_numbers(order: str | None, inventory: Inventory) -> str:
    """Return why a number need not mean the card at that place; empty if it does."""
    if inventory.unreadable:
        return "a card cannot be read, so the numbers may count it or not"
    if any(gpu.mig_enabled for gpu in inventory.gpus):
        return "a card is divided (MIG), so the numbers may count its parts"
    if order != PCI_ORDER and len(inventory.gpus) > 1:
        return "without CUDA_DEVICE_ORDER=PCI_BUS_ID, CUDA numbers the fastest card 0"
    return ""


def _by_number(value: str, ordered: Sequence[Gpu]) -> tuple[tuple[Gpu, ...], str]:
    """Read numbers as far as they are valid; the first invalid one ends the list."""
    numbers: list[int] = []
    note = ""
    for word in value.split(","):
        match = _NUMBER.match(word)
        number = int(match.group(1)) if match is not None else -1
        if number in numbers:
            return (), f"{number} stands there twice, and CUDA then shows none"
        if not 0 <= number < len(ordered):
            note = _end_of_list(word.strip(), number, count=len(ordered))
            break
        numbers.append(number)
    return tuple(ordered[number] for number in numbers), note


def _end_of_list(word: str, number: int, *, count: int) -> str:
    if number < 0:
        shown = word if len(word) <= 20 and word.isprintable() else "a word"  # noqa: PLR2004 - what fits a line
        return f"{shown or 'an empty word'} names no card, which ends the list"
    there = "1 card" if count == 1 else f"{count} cards"
    return f"{number} is out of range: the driver sees {there}, counted from 0"


def _by_uuid(value: str, ordered: Sequence[Gpu]) -> tuple[tuple[Gpu, ...], str]:
    """Read UUIDs, or beginnings that fit one card, as far as they are valid.

    CUDA reads their digits in either case, as was seen on a card (docs/gpu.md).
    """
    found: list[Gpu] = []
    for word in value.split(","):
        digits = word.removeprefix(_UUID).lower()
        fitting = [
            gpu
            for gpu in ordered
            if gpu.uuid.removeprefix(_UUID).lower().startswith(digits)
        ]
        if not word.startswith(_UUID) or not digits or len(fitting) != 1:
            how = "several cards" if len(fitting) > 1 else "no card"
            return tuple(found), f"a UUID fits {how}, which ends the list"
        if fitting[0] in found:
            return (), "a card is named twice, and CUDA then shows none"
        found.append(fitting[0])
    return tuple(found), ""


def _by_mig(value: str, ordered: Sequence[Gpu]) -> Selection:
    """Find the card of which an instance is named; CUDA shows one at most."""
    word = value.split(",", maxsplit=1)[0]
    owners = [
        gpu
        for gpu in ordered
        if word in gpu.mig_uuids or word.startswith(f"{_MIG}{gpu.uuid}/")
    ]
    note = "an instance of a card (MIG) is named, not a whole card"
    return Selection(gpus=tuple(owners[:1]), naming="mig", is_certain=False, note=note)
