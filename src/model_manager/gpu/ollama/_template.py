"""Fills the scripts' places with text that is already safe there; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.ollama._settings import OllamaSettings
from model_manager.gpu.ollama._variables import OllamaVariable

_PLACE: Final = re.compile(r"@([A-Z_]+)@")


def filled(template: str, texts: Mapping[str, str]) -> str:
    """Return a template with every `@PLACE@` filled; nothing is filled in twice."""
    text = _PLACE.sub(lambda match: texts[match[1]], template.lstrip("\n"))
    return re.sub(r"\n{3,}", "\n\n", text)


def facts_of(policy: GpuPolicy, settings: OllamaSettings) -> dict[str, str]:
    """Return what all scripts speak of: the card and the server's address."""
    _, port = settings.address
    return {
        "CARD": policy.name,
        "SLUG": slug_of(policy),
        "DEVICE": policy.uuid or policy.visible_devices,
        "PORT": str(port),
        "URL": settings.base_url,
    }


def slug_of(policy: GpuPolicy) -> str:
    """Return the policy's name as part of a file's: `RTX 3090` is `rtx3090`."""
    return re.sub(r"[^a-z0-9]", "", policy.name.lower())


def names_of(policy: GpuPolicy) -> list[str]:
    """Return the names that drivers give the policy's cards."""
    return sorted({name for card in policy.cards for name in card.names})


def lines_of(
    variables: Sequence[OllamaVariable], comment: str, assign: Callable[[str, str], str]
) -> str:
    """Return every variable as a comment that says why, and its assignment."""
    return "\n".join(
        f"{comment} {variable.name}: {variable.why}.\n"
        f"{assign(variable.name, variable.value)}"
        for variable in variables
    )
