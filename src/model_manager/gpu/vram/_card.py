"""How much of a card's memory a model may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu._cards import SERVER_PROGRAMS, Gpu
from model_manager.gpu._policy import GEFORCE_RTX_3090

MIB: Final = 1024**2
GIB: Final = 1024**3

CUDA_CONTEXT: Final = 457 * MIB
"""What CUDA itself takes for a program: the least that Ollama's own estimate counted
for a card (ollama/ollama v0.9.6, `llm/memory.go`)."""
FIT_TARGET: Final = 1024 * MIB
"""What llama.cpp leaves free when it decides how many layers go to a card
(`LLAMA_ARG_FIT_TARGET`, ggml-org/llama.cpp, `common/fit.cpp`)."""
TIGHT: Final = 768 * MIB
"""How much of the fit target a model may take that is loaded all the same."""
DRIVER: Final = 512 * MIB
"""What driver and firmware keep of a card where nobody tells: 300 to 500 MiB were seen
on cards of 24 GiB."""
RTX_3090_BANDWIDTH: Final = 936_000_000_000
"""Bytes a second: 384 bit at 19.5 Gbit/s, in NVIDIA's data sheet of the RTX 3090."""
HOST_BANDWIDTH: Final = 50_000_000_000
"""Bytes a second of two channels of usual memory."""
_HUNDRED: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CardMemory:
    """The memory of the one card that models may use, and of the machine around it.

    Raises:
        InvalidRequestError: A number is below 0, or the percentage not in 0 to 100.
    """

    total: int | None
    """Bytes, as for all memory here; `None` where the card does not tell."""
    free: int | None = None
    """What is free now; `None` asks what the card could hold if nothing else ran."""
    reserved: int | None = None
    """What the driver keeps; only asked for where `free` is not known."""
    evictable: int = 0
    """What loaded models hold that the server would unload for this one."""
    max_usage_percent: float = _HUNDRED
    """The share of the whole card, in percent, above which nothing may fill it: the
    configuration's `max_vram_usage_percent`."""
    bandwidth: int | None = None
    """Bytes a second that the card reads; `None` where it is not known."""
    host_free: int | None = None
    """What of the machine's own memory is free, for the part that is not on the
    card; `None` where it is not known."""
    host_bandwidth: int = HOST_BANDWIDTH

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        numbers = (self.total, self.free, self.reserved, self.evictable, self.host_free)
        if any(number is not None and number < 0 for number in numbers):
            message = "a card's memory cannot be below 0."
            raise InvalidRequestError(message, remedy="Give bytes from 0 on.")
        rates = (self.bandwidth, self.host_bandwidth)
        if any(rate is not None and rate <= 0 for rate in rates):
            message = "a memory's bandwidth must be above 0."
            raise InvalidRequestError(message, remedy="Give bytes a second.")
        if not 0 < self.max_usage_percent <= _HUNDRED:
            message = f"max_usage_percent is {self.max_usage_percent}."
            remedy = "Give a percentage above 0, at most 100."
            raise InvalidRequestError(message, remedy=remedy)

    @classmethod
    def of(
        cls,
        gpu: Gpu,
        *,
        evictable: int = 0,
        max_usage_percent: float = _HUNDRED,
        host_free: int | None = None,
    ) -> CardMemory:
        """Return the memory of a card as it was read.

        Args:
            gpu: The card.
            evictable: What the server says that its models hold. It does not say of
                which card: only as much counts as the driver shows it to hold here.
            max_usage_percent: As the field.
            host_free: As the field.
        """
        is_3090 = gpu.name in GEFORCE_RTX_3090.names
        return cls(
            total=gpu.memory_total,
            free=gpu.memory_free,
            reserved=gpu.memory_reserved,
            evictable=min(evictable, _held_by_servers(gpu)),
            max_usage_percent=max_usage_percent,
            bandwidth=RTX_3090_BANDWIDTH if is_3090 else None,
            host_free=host_free,
        )


def _held_by_servers(gpu: Gpu) -> int:
    """Return the most that servers of models can hold of a card, by the driver."""
    used = gpu.memory_used or 0
    # A process that computes and draws is listed twice, with the same memory.
    processes = {process.pid: process for process in gpu.processes or ()}.values()
    if not processes:
        return used
    # In a container a process has no name: it may be the server.
    ours = [p for p in processes if p.name is None or p.program in SERVER_PROGRAMS]
    theirs = [p for p in processes if p not in ours]
    most = used - sum(p.memory or 0 for p in theirs)
    held = [p.memory for p in ours if p.memory is not None]
    if len(held) == len(ours):
        most = min(most, sum(held))
    return max(0, most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a model may take: `budget` with the usual room left, `hard` without."""

    budget: int
    hard: int
    others: int
    """What others hold of the card, the driver's part left out."""
    whole: int
    """What `budget` would be if all of the card might be used."""


def limits_of(card: CardMemory) -> Limits | None:
    """Return what a model may take of a card; `None` where its size is not known."""
    if card.total is None:
        return None
    driver = DRIVER if card.reserved is None else card.reserved
    empty = max(0, card.total - driver)
    available = empty
    if card.free is not None:
        available = min(card.total, card.free + card.evictable)
    room = available - CUDA_CONTEXT - FIT_TARGET
    # What others use counts towards the share that may be used.
    taken = card.total - available
    share = int(card.total * card.max_usage_percent / _HUNDRED) - taken - CUDA_CONTEXT
    return Limits(
        budget=min(room, share),
        hard=min(room + TIGHT, share),
        others=max(0, empty - available),
        whole=room,
    )
