"""Where loaded models really sit: the server's word against the driver's; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from model_manager.errors import CudaUnavailableError, GpuError, WrongGpuError
from model_manager.gpu._cards import Gpu, Inventory
from model_manager.gpu._policy import GIB, GpuPolicy
from model_manager.gpu._verdict import Check
from model_manager.gpu.ollama._facts import ServerFacts
from model_manager.types import LoadedModel

RULE: Final = "placement"
WHOLE: Final = 0.98
"""From which share on a model counts as wholly on the card: sizes are read from the log
of the engine, which rounds them."""
_BORNE_OUT: Final = 0.8
"""How much of what the server believes the driver must show. Programs hold more than
their models, so that less than this means that the models are not there."""
_RULES: Final = "every loaded model wholly on the card that is allowed"
_SMALLER: Final = (
    "Use a smaller OLLAMA_CONTEXT_LENGTH, a smaller quantisation or a smaller model;"
    " unload others with 'ollama stop'."
)
_ELSEWHERE: Final = "Start the server with 'model-manager gpu launch-ollama'."
_LOG: Final = "Look for 'skipping' and 'CUDA' in the server's log."


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where models sit."""

    check: Check
    gpu: Gpu | None = None
    """The allowed card that the driver itself shows the server on."""


def place(facts: ServerFacts, policy: GpuPolicy, inventory: Inventory) -> Placement:
    """Judge where the loaded models of a server sit."""
    on = [gpu for gpu in inventory.gpus if _holds(gpu, facts.pids)]
    wrong = [gpu for gpu in on if not policy.allows(gpu)]
    if wrong:
        names = ", ".join(f"{gpu.name} ({gpu.uuid})" for gpu in wrong)
        return _failed(f"the server runs on {names}", _ELSEWHERE, WrongGpuError)
    if facts.models is None:
        return _skipped("the server does not tell what is loaded")
    if not facts.models:
        return _skipped("no model is loaded: ask one something, and check again")
    spilled = next(_spilled(facts.models), None)
    if spilled is not None:
        return Placement(check=spilled)
    if any(_share(model) is None for model in facts.models):
        return _skipped("the server does not tell where a model sits")
    return _held_against(facts, on, [g for g in inventory.gpus if policy.allows(g)])


def _spilled(models: Sequence[LoadedModel]) -> Iterator[Check]:
    """Yield what is wrong with models that are not wholly on a card."""
    for model in models:
        share = _share(model)
        if share is None or share >= WHOLE:
            continue
        if share == 0:
            seen, error = f"{model.name} runs on the CPU", CudaUnavailableError
            yield _broken(seen, f"{_LOG} {_SMALLER}", error)
        else:
            seen = f"{model.name} is {share:.0%} on the card, the rest is on the CPU"
            yield _broken(seen, _SMALLER, GpuError)


def _held_against(
    facts: ServerFacts, on: Sequence[Gpu], allowed: Sequence[Gpu]
) -> Placement:
    """Hold what the server believes against the memory that the driver shows."""
    believed = sum(model.size_vram or 0 for model in facts.models or ())
    count = len(facts.models or ())
    what = "1 model" if count == 1 else f"{count} models"
    what = f"{what}, {_gib(believed)}"
    shown = [_memory_of(gpu, facts.pids) for gpu in on]
    if not on:
        shown = [gpu.memory_used for gpu in allowed]
    known = [amount for amount in shown if amount is not None]
    if known and len(known) == len(shown) and sum(known) < _BORNE_OUT * believed:
        seen = f"the server says {what}; the driver shows {_gib(sum(known))} there"
        return _failed(seen, _LOG, GpuError)
    if len(on) == 1:
        seen = f"{what}: on {on[0].name}, as the driver shows"
        check = Check(rule=RULE, status="passed", seen=seen, expected=_RULES)
        return Placement(check=check, gpu=on[0])
    why = "its processes cannot be found"
    if facts.pids:
        why = "the driver shows none of its processes (WSL, or a container)"
    return Placement(
        check=Check(
            rule=RULE,
            status="warning",
            seen=f"{what} on a card, by the server's own word; {why}",
            expected=_RULES,
            remedy="Run this on the machine itself, as root or the server's user.",
        )
    )


def _share(model: LoadedModel) -> float | None:
    """Return which part of a model is on cards, as the server believes."""
    if not model.size or model.size_vram is None:
        return None
    return model.size_vram / model.size


def _holds(gpu: Gpu, pids: frozenset[int]) -> bool:
    return any(process.pid in pids for process in gpu.processes or ())


def _memory_of(gpu: Gpu, pids: frozenset[int]) -> int | None:
    """Return what a server holds on a card; all that is used where none tells more."""
    # A process that computes and draws is listed twice, with the same memory.
    amounts = {p.pid: p.memory for p in gpu.processes or () if p.pid in pids}
    known = [amount for amount in amounts.values() if amount is not None]
    return sum(known) if known and len(known) == len(amounts) else gpu.memory_used


def _gib(amount: int) -> str:
    return f"{amount / GIB:.1f} GiB"


def _broken(seen: str, remedy: str, error: type[GpuError]) -> Check:
    return Check(
        rule=RULE,
        status="failed",
        seen=seen,
        expected=_RULES,
        remedy=remedy,
        error=error,
    )


def _failed(seen: str, remedy: str, error: type[GpuError]) -> Placement:
    return Placement(check=_broken(seen, remedy, error))


def _skipped(why: str) -> Placement:
    check = Check(
        rule=RULE, status="skipped", seen=why, expected=_RULES, is_needed=False
    )
    return Placement(check=check)
