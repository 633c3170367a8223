"""The variables that CUDA and PyTorch read, and how their values are taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
DEVICE_ORDER: Final = "CUDA_DEVICE_ORDER"
ALLOCATOR_NAMES: Final = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""The old name and the new one. PyTorch 2.9 warns of the old one, and some of its
versions read only that: both are set, and either is accepted."""


def allocator_settings(text: str) -> Mapping[str, str]:
    """Return the settings in a value such as `max_split_size_mb:1024,backend:native`.

    As PyTorch reads it: pairs parted by commas, spaces ignored, the last one counts.
    """
    pairs = (part.partition(":") for part in text.replace(" ", "").split(","))
    return {name: value for name, _, value in pairs if name}


def setting_of(text: str) -> tuple[str, str]:
    """Return one `name:value` as a pair."""
    name, _, value = text.replace(" ", "").partition(":")
    return name, value


def with_setting(text: str | None, setting: str) -> str:
    """Return a value with one setting added, or changed; the others stay."""
    name, value = setting_of(setting)
    settings = {**allocator_settings(text or ""), name: value}
    return ",".join(f"{key}:{held}" if held else key for key, held in settings.items())
