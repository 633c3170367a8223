"""From the configuration's section to a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_manager.gpu._policy import GIB, CardModel, GpuPolicy

if TYPE_CHECKING:
    # For hints only: scripts load this room first, and need no pydantic for it.
    from model_manager.config import GpuSettings

_UUID = "GPU-"


def policy_of(settings: GpuSettings | None) -> GpuPolicy:
    """Return the policy that a configuration asks for.

    What it does not say is the team's standard: the RTX 3090 alone.
    """
    if settings is None:
        return GpuPolicy()
    standard = GpuPolicy()
    cards = _cards(settings) or standard.cards
    chosen = settings.cuda_visible_devices or standard.visible_devices
    is_uuid = chosen.startswith(_UUID)
    return GpuPolicy(
        name=" or ".join(settings.cards) or standard.name,
        cards=cards,
        uuid=chosen.lower().replace("gpu-", _UUID) if is_uuid else None,
        visible_devices=standard.visible_devices if is_uuid else chosen,
        device_order=settings.device_order or None,
        allocator=settings.allocator or None,
        min_driver=_numbers(settings.min_driver),
        min_cuda=_pair(settings.min_cuda),
        min_torch=_numbers(settings.min_torch) if settings.min_torch else None,
    )


def _cards(settings: GpuSettings) -> tuple[CardModel, ...]:
    return tuple(
        CardModel(
            names=frozenset({name}),
            pci_device_ids=frozenset(int(one, 16) for one in card.pci_device_ids),
            compute_capability=_pair(card.compute_capability),
            min_memory=int(card.min_memory_gib * GIB),
        )
        for name, card in settings.cards.items()
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _pair(text: str) -> tuple[int, int]:
    major, minor = _numbers(text)
    return major, minor
