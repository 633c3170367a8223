"""Which card may be used and what must be set for it: the rules as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from model_manager.gpu._cards import NVIDIA, Gpu, Inventory

GIB: Final = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class CardModel:
    """One model of card, by all that tells it from its relatives.

    Every part must agree: `RTX 3090` is the beginning of `RTX 3090 Ti`, and a name can
    be that of another card where a driver is older than the card.
    """

    names: frozenset[str]
    """The names that drivers give it, whole."""
    pci_device_ids: frozenset[int]
    """The maker's numbers of it, as in the public PCI ID list (`pci.ids`)."""
    compute_capability: tuple[int, int]
    min_memory: int
    """Bytes."""

    def matches(self, gpu: Gpu) -> bool:
        """Return whether a card is of this model; what is unknown is not."""
        return (
            gpu.name in self.names
            and gpu.pci_vendor_id == NVIDIA
            and gpu.pci_device_id in self.pci_device_ids
            and gpu.compute_capability == self.compute_capability
            and gpu.memory_total is not None
            and gpu.memory_total >= self.min_memory
        )


GEFORCE_RTX_3090: Final = CardModel(
    # Drivers before 465 leave the maker's name out.
    names=frozenset({"NVIDIA GeForce RTX 3090", "GeForce RTX 3090"}),
    # pci.ids: 10de:2204 GA102 [GeForce RTX 3090]; 2203 is the 3090 Ti.
    pci_device_ids=frozenset({0x2204}),
    compute_capability=(8, 6),
    # It has 24 GiB, of which some drivers count a part as their own.
    min_memory=int(23.5 * GIB),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPolicy:
    """Which card AI work may use, and what must be set for it.

    The defaults are the team's standard: the RTX 3090 alone, whatever else is there.
    A team with other cards writes its own:

    ```python
    policy = GpuPolicy(name="H200", cards=(CardModel(...),), visible_devices="0")
    ```
    """

    name: str = "RTX 3090"
    """What the policy is called in verdicts."""
    cards: tuple[CardModel, ...] = (GEFORCE_RTX_3090,)
    """The models of card that may be used."""
    uuid: str | None = None
    """The one card that is meant, where there may be several of its model."""
    visible_devices: str = "1"
    """What `CUDA_VISIBLE_DEVICES` is set to where `uuid` is not given: the place of the
    card among all, in the order of the PCI bus, from 0."""
    device_order: str | None = "PCI_BUS_ID"
    """What `CUDA_DEVICE_ORDER` must be; `None` asks for nothing."""
    allocator: str | None = "max_split_size_mb:1024"
    """What the settings of PyTorch's allocator must hold, as `name:value`; `None` asks
    for nothing."""
    min_driver: tuple[int, ...] = (550,)
    min_cuda: tuple[int, int] = (12, 1)
    """The oldest CUDA that the driver must be able to run."""
    min_torch: tuple[int, ...] | None = (2, 1, 0)
    """The oldest PyTorch, where one is installed; `None` asks for nothing."""
    min_torch_cuda: tuple[int, int] = (12, 1)
    """The oldest CUDA that an installed PyTorch may have been built with."""
    max_temperature: int = 93
    """Degrees Celsius from which on the card counts as too hot. 93 is the highest that
    NVIDIA's specification of the RTX 3090 allows."""

    def allows(self, gpu: Gpu) -> bool:
        """Return whether a card is one that the policy allows."""
        if self.uuid is not None and gpu.uuid != self.uuid:
            return False
        return any(card.matches(gpu) for card in self.cards)

    def pinned(self, inventory: Inventory) -> GpuPolicy:
        """Return the policy with the UUID of the one card that it allows.

        A number can come to mean another card; a UUID cannot. Where no card or several
        fit, the policy is returned as it is.
        """
        found = [gpu for gpu in inventory.gpus if self.allows(gpu)]
        return replace(self, uuid=found[0].uuid) if len(found) == 1 else self


RTX_3090: Final = GpuPolicy()
"""The team's standard."""
