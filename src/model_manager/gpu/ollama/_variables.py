"""The variables of an Ollama server's process, and why each is set; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._variables import DEVICE_ORDER, VISIBLE_DEVICES
from model_manager.gpu._visible import PCI_ORDER, is_clean
from model_manager.gpu.ollama._settings import OllamaSettings

HOST: Final = "OLLAMA_HOST"
MODELS: Final = "OLLAMA_MODELS"
VULKAN: Final = "OLLAMA_VULKAN"
VULKAN_DEVICES: Final = "GGML_VK_VISIBLE_DEVICES"
SPREAD: Final = "OLLAMA_SCHED_SPREAD"
LIBRARY: Final = "OLLAMA_LLM_LIBRARY"
CONTEXT: Final = "OLLAMA_CONTEXT_LENGTH"
PARALLEL: Final = "OLLAMA_NUM_PARALLEL"
LOADED: Final = "OLLAMA_MAX_LOADED_MODELS"
KEEP_ALIVE: Final = "OLLAMA_KEEP_ALIVE"
CACHE_TYPE: Final = "OLLAMA_KV_CACHE_TYPE"
NO_CLOUD: Final = "OLLAMA_NO_CLOUD"

IGNORED: Final = (
    "OLLAMA_GPU_DEVICE",
    "OLLAMA_NUM_GPU",
    "OLLAMA_MAIN_GPU",
    "OLLAMA_VISIBLE_DEVICES",
    "OLLAMA_GPU_LAYERS",
)
"""Names that stand in guides and configurations and that no version of Ollama reads."""

UNDOING: Final = (
    # Ollama's own: over all cards at once; another backend (the CPU's, or Vulkan's).
    *(SPREAD, LIBRARY),
    # llama.cpp reads these for whatever its command line leaves open: which card, how
    # many layers on it, and how a model is divided among cards.
    *("LLAMA_ARG_DEVICE", "LLAMA_ARG_N_GPU_LAYERS", "LLAMA_ARG_SPLIT_MODE"),
    *("LLAMA_ARG_TENSOR_SPLIT", "LLAMA_ARG_MAIN_GPU"),
    # What does not fit on the card would quietly go into the machine's memory.
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
)
"""Names that must not be set: each can undo what the variables do."""

JUDGED: Final = frozenset(
    {
        *(DEVICE_ORDER, VISIBLE_DEVICES, VULKAN, VULKAN_DEVICES, HOST, CONTEXT),
        *(PARALLEL, LOADED, CACHE_TYPE, NO_CLOUD, *IGNORED, *UNDOING),
    }
)
"""The only variables of a server that are ever looked at."""

_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_CARD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/()-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaVariable:
    """A variable of the server's process."""

    name: str
    value: str
    why: str
    """What it does, in a line."""
    is_read: bool = True
    """Whether anything reads it. The others are set because rules for people name
    them; they change nothing."""


def ollama_variables(
    policy: GpuPolicy, settings: OllamaSettings | None = None
) -> tuple[OllamaVariable, ...]:
    """Return the variables of a server that uses the policy's card alone.

    They belong to the server's process: setting them in a program that asks the server
    changes nothing.

    Args:
        policy: Which card. With a `uuid` (see `GpuPolicy.pinned`) the card is named by
            it, and no other card can take its place.
        settings: How the server is to run; the defaults of `OllamaSettings` otherwise.

    Raises:
        InvalidRequestError: The policy does not name one card.
    """
    check_policy(policy)
    chosen = settings or OllamaSettings()
    return (*_card(policy), *_named_by_the_rules(policy), *_server(chosen))


def ollama_environment(
    policy: GpuPolicy, settings: OllamaSettings | None = None
) -> Mapping[str, str]:
    """Return `ollama_variables` as a mapping.

    Raises:
        InvalidRequestError: The policy does not name one card.
    """
    found = ollama_variables(policy, settings)
    return MappingProxyType({variable.name: variable.value for variable in found})


def server_environment(
    environ: Mapping[str, str], variables: tuple[OllamaVariable, ...]
) -> dict[str, str]:
    """Return an environment with the variables, and without what would undo them."""
    # Windows does not tell upper case from lower.
    set_here = {variable.name for variable in variables}
    dropped = {*UNDOING, *set_here}
    kept = {name: text for name, text in environ.items() if name.upper() not in dropped}
    return kept | {variable.name: variable.value for variable in variables}


def is_true(value: str) -> bool:
    """Return whether Ollama takes a value for yes: whatever does not say no."""
    return trimmed(value) not in _FALSE


def trimmed(value: str) -> str:
    """Return a value as Ollama reads it: without spaces and quotes around."""
    return value.strip().strip("\"'")


def check_policy(policy: GpuPolicy) -> None:
    """Refuse a policy that does not name one card, or could not stand in a script.

    Raises:
        InvalidRequestError: It says which part is wrong.
    """
    card = policy.uuid or policy.visible_devices
    if not is_clean(card):
        message = f"{card!r} does not name one card."
        raise InvalidRequestError(
            message, remedy="Give the policy one number, or a UUID as 'nvidia-smi -L'."
        )
    order = policy.device_order
    if policy.uuid is None and order != PCI_ORDER:
        message = f"card {card} is not certain without {DEVICE_ORDER}={PCI_ORDER}."
        raise InvalidRequestError(
            message, remedy="Set it in the policy, or name the card by its UUID."
        )
    words = [policy.name, *(name for model in policy.cards for name in model.names)]
    for word in words if order is None else [*words, order]:
        if not _CARD_NAME.fullmatch(word):
            message = f"the policy's {word!r} cannot stand in a script."
            raise InvalidRequestError(
                message, remedy="Use letters, digits, spaces and . _ + / ( ) - only."
            )


def _card(policy: GpuPolicy) -> Iterator[OllamaVariable]:
    if policy.device_order is not None:
        yield OllamaVariable(
            name=DEVICE_ORDER,
            value=policy.device_order,
            why="CUDA numbers the cards in the order of the bus",
        )
    how = "by its UUID"
    if policy.uuid is None:
        how = "by its place among all, from 0"
    yield OllamaVariable(
        name=VISIBLE_DEVICES,
        value=policy.uuid or policy.visible_devices,
        why=f"the one card that CUDA shows, {how}",
    )
    yield OllamaVariable(
        name=VULKAN,
        value="0",
        why="since Ollama 0.30 Vulkan finds cards that are hidden from CUDA",
    )
    yield OllamaVariable(
        name=VULKAN_DEVICES, value="-1", why="the same, said to Vulkan's own backend"
    )


def _named_by_the_rules(policy: GpuPolicy) -> Iterator[OllamaVariable]:
    yield OllamaVariable(
        name=IGNORED[0],
        value=policy.visible_devices,
        why="the team's rules name it; Ollama does not read it",
        is_read=False,
    )
    yield OllamaVariable(
        name=IGNORED[1],
        value="1",
        why="the team's rules name it; Ollama does not read it",
        is_read=False,
    )


def _server(settings: OllamaSettings) -> Iterator[OllamaVariable]:
    yield OllamaVariable(
        name=HOST,
        value=settings.host,
        why="where the server listens: this machine"
        if not settings.expose
        else "where the server listens; it asks nobody for a password",
    )
    optional = (
        (MODELS, settings.models, "where the models lie"),
        (
            CONTEXT,
            settings.context_length,
            "tokens; Ollama's own choice can push a model off the card",
        ),
        (
            PARALLEL,
            settings.num_parallel,
            "requests at once; each needs its own context",
        ),
        (LOADED, settings.max_loaded_models, "models at once in the card's memory"),
        (KEEP_ALIVE, settings.keep_alive, "how long an unused model stays loaded"),
        (CACHE_TYPE, settings.kv_cache_type, "how the context is stored"),
        (
            NO_CLOUD,
            1 if settings.no_cloud else None,
            "models in Ollama's cloud are refused: the work stays on this machine",
        ),
    )
    for name, value, why in optional:
        if value is not None:
            yield OllamaVariable(name=name, value=str(value), why=why)
