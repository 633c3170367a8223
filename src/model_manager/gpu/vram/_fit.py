"""Whether a model fits on the card: the question and its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu.vram._advice import Case, advice, smaller_quantizations
from model_manager.gpu.vram._card import (
    CUDA_CONTEXT,
    FIT_TARGET,
    GIB,
    CardMemory,
    Limits,
    limits_of,
)
from model_manager.gpu.vram._ggml import KV_CACHE_TYPES, PLAIN_TYPES
from model_manager.gpu.vram._measured import Measured, counts_for
from model_manager.gpu.vram._needs import STEP, Load, context_of, known, needs
from model_manager.gpu.vram._result import Fit, FitState, gib
from model_manager.gpu.vram._shape import ModelShape
from model_manager.gpu.vram._speed import tokens_per_second

# ollama/ollama, server/routes.go: the context where nobody asks for one, by the GiB of
# the card; a little under 48 and 24, because cards count differently.
_TIERS: Final = ((47 * GIB, 262144), (23 * GIB, 32768))
_LEAST_TIER: Final = 4096
_RESERVE: Final = CUDA_CONTEXT + FIT_TARGET
_CLOSE: Final = 0.05
"""How far an estimate may be off."""
_ANY_CONTEXT: Final = 2**40


def fit(
    model: ModelShape,
    card: CardMemory,
    *,
    num_ctx: int | None = None,
    kv_cache_type: str = "f16",
    parallel: int = 1,
    flash_attention: bool = True,
    batch: int | None = None,
    measured: Measured | None = None,
) -> Fit:
    """Say whether a model fits on a card, loaded in a certain way; pure arithmetic.

    ```
    needed    = weights + kv_cache + graph + projector
    weights   = all tensors, less token_embd where output.weight exists
    kv_cache  = parallel x num_ctx, to a multiple of 256
                x the bytes of a key and a value, over all layers and their KV heads
    graph     = batch x (4 x (vocabulary + 4 x embedding_length) + 2 x num_ctx)
    projector = its bytes, and 1 GiB for what it computes
    budget    = what is free, and what loaded models give back,
                less 457 MiB for CUDA and 1 GiB that llama.cpp leaves free
    ```

    Up to 768 MiB above the budget it is `tight`. Nothing may take more than
    `max_usage_percent` of the card. What differs for layers with a window or a state
    and for wide feed-forward layers stands in `_needs.py`.

    Sources: what ggml-org/llama.cpp allocates (`src/llama-kv-cache.cpp`,
    `llama-memory-recurrent.cpp`, `common/fit.cpp`), what ollama/ollama reckons with
    (`llm/llama_server.go`, `server/sched.go`; `fs/ggml/ggml.go` and `llm/memory.go` of
    v0.9.6 to v0.24.0), and loads of real models, which the tests repeat.

    Args:
        model: What is known of the model.
        card: The card's memory.
        num_ctx: Tokens of context in a slot; `None` for what the model's own settings
            ask for, or else what Ollama takes on a card of this size. Never more than
            the model was trained with.
        kv_cache_type: How keys and values are kept: `f16`, `q8_0`, `q4_0` ...
        parallel: Slots, i.e. answers that the server computes at once.
        flash_attention: Whether the server uses it, as it does on cards of compute
            capability 6 and later.
        batch: Tokens computed at once; `None` for the server's own choice.
        measured: What the model took when it was loaded in this way. It is preferred
            to the sum if it is of the same files, context, slots and cache.

    Returns:
        The answer, with every figure behind it.

    Raises:
        InvalidRequestError: An argument cannot be meant.
    """
    load = Load(
        num_ctx=_context_asked(num_ctx, model, card),
        parallel=_at_least_one(parallel, "parallel"),
        kv_cache_type=_cache(kv_cache_type, flash_attention=flash_attention),
        flash_attention=flash_attention,
        batch=None if batch is None else _at_least_one(batch, "batch"),
    )
    model_known = known(model)
    if model_known is not None:
        load = replace(load, num_ctx=context_of(model_known, load.num_ctx))
    elif model.train_context:
        load = replace(load, num_ctx=min(load.num_ctx, model.train_context))
    limits = limits_of(card)
    taken = _taken(measured, model, load)
    if limits is None:
        return _unknown(model, load, ("the size of the card's memory is not known",))
    if model_known is not None:
        case = Case(model=model_known, load=load, limits=limits)
        return _judged(case, card, taken=taken)
    if taken is not None:
        return _by_measure(_unknown(model, load, (), limits=limits), taken, limits)
    return _unknown(model, load, model.unknown, limits=limits)


def _context_asked(num_ctx: int | None, model: ModelShape, card: CardMemory) -> int:
    if num_ctx is not None:
        return min(_at_least_one(num_ctx, "num_ctx"), _ANY_CONTEXT)
    if model.pinned_context:
        return model.pinned_context
    total = card.total or 0
    return next((context for at, context in _TIERS if total >= at), _LEAST_TIER)


def _at_least_one(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"{name} is {value!r}."
        raise InvalidRequestError(message, remedy="Give a whole number from 1 on.")
    return value


def _cache(kind: object, *, flash_attention: bool) -> str:
    word = kind.strip().lower() if isinstance(kind, str) else kind
    if word not in KV_CACHE_TYPES:
        message = f"there is no KV cache of type {kind!r}."
        remedy = f"Take one of {', '.join(KV_CACHE_TYPES)}."
        raise InvalidRequestError(message, remedy=remedy)
    if not flash_attention and word not in PLAIN_TYPES:
        message = f"a KV cache of type {word} needs flash attention."
        remedy = "Set OLLAMA_FLASH_ATTENTION=1, or keep the cache in f16."
        raise InvalidRequestError(message, remedy=remedy)
    return word


def _taken(measured: Measured | None, model: ModelShape, load: Load) -> int | None:
    """Return what was measured of this model, loaded in this very way."""
    if measured is None or not counts_for(measured, model):
        return None
    cache = measured.kv_cache_type.strip().lower()
    theirs = (measured.num_ctx, measured.parallel, cache)
    ours = (load.num_ctx, load.parallel, load.kv_cache_type)
    return measured.size_vram if theirs == ours else None


def _unknown(
    model: ModelShape,
    load: Load,
    reasons: tuple[str, ...],
    *,
    limits: Limits | None = None,
) -> Fit:
    """Return that nobody can tell; unless the weights alone are too much."""
    weights = model.card_weights
    too_much = limits is not None and weights is not None and weights > limits.hard
    return Fit(
        model=model.name,
        state="does_not_fit" if too_much else "unknown",
        weights=weights,
        reserve=_RESERVE,
        budget=None if limits is None else limits.budget,
        num_ctx=load.num_ctx,
        parallel=load.parallel,
        kv_cache_type=load.kv_cache_type,
        unknown=reasons,
        notes=("its weights alone are more than the card takes",) if too_much else (),
    )


def _by_measure(fit: Fit, taken: int, limits: Limits) -> Fit:
    """Return the answer for a model of which only a measure is known."""
    state: FitState = "does_not_fit"
    if taken <= limits.hard:
        state = "fits" if taken <= limits.budget else "tight"
    return replace(fit, state=state, needed=taken, is_measured=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    state: FitState
    share: float
    notes: tuple[str, ...] = ()


def _judged(case: Case, card: CardMemory, *, taken: int | None) -> Fit:
    parts = needs(case.model, case.load)
    needed = parts.total if taken is None else taken
    verdict = _verdict(case, card, needed=needed)
    shape = case.model.shape
    longest = case.max_num_ctx()
    is_good = verdict.state == "fits"
    if is_good and taken is not None:
        # What was seen to fit does, whatever the sum says of it.
        longest = max(longest or 0, case.load.num_ctx // STEP * STEP) or None
    smaller = () if is_good else smaller_quantizations(case)
    active = shape.active_share
    speed = None
    if active is not None and verdict.state != "does_not_fit":
        read = int(case.model.weights * active)
        speed = tokens_per_second(read, card, share=verdict.share)
    return Fit(
        model=shape.name,
        state=verdict.state,
        weights=parts.weights,
        kv_cache=parts.kv_cache,
        graph=parts.graph,
        projector=parts.projector,
        needed=needed,
        is_measured=taken is not None,
        reserve=_RESERVE,
        budget=case.limits.budget,
        num_ctx=case.load.num_ctx,
        parallel=case.load.parallel,
        kv_cache_type=case.load.kv_cache_type,
        max_num_ctx=longest,
        offload_share=verdict.share,
        expected_tokens_per_second=speed,
        smaller_quantizations=smaller,
        advice=() if is_good else tuple(advice(case, longest=longest, smaller=smaller)),
        notes=(
            *verdict.notes,
            *_doubtful(needed, case.limits, is_measured=taken is not None),
        ),
    )


def _verdict(case: Case, card: CardMemory, *, needed: int) -> _Verdict:
    limits = case.limits
    if needed <= limits.budget:
        return _Verdict(state="fits", share=0.0, notes=_given_back(card, needed))
    if needed <= limits.hard:
        note = "the server leaves more room: it loads all of it only with num_gpu 999"
        return _Verdict(state="tight", share=0.0, notes=(note,))
    parts = needs(case.model, case.load)
    movable = parts.weights + parts.kv_cache
    over = needed - max(0, limits.budget)
    share = min(1.0, over / movable) if movable else 1.0
    stays = case.model.shape.token_embedding if case.model.shape.has_output else 0
    if card.host_free is None:
        note = f"whether {gib(over)} of the machine's own memory are free is not known"
        return _Verdict(state="does_not_fit", share=share, notes=(note,))
    if over <= movable and over + stays <= card.host_free:
        return _Verdict(state="offload", share=share)
    note = f"{gib(over)} are too much for the machine's own memory, too"
    return _Verdict(state="does_not_fit", share=share, notes=(note,))


def _given_back(card: CardMemory, needed: int) -> tuple[str, ...]:
    """Say that other models go, where they must."""
    if card.free is None or not card.evictable:
        return ()
    alone = limits_of(replace(card, evictable=0))
    if alone is None or needed <= alone.budget:
        return ()
    return (f"the server unloads {gib(card.evictable)} of other models for it",)


def _doubtful(needed: int, limits: Limits, *, is_measured: bool) -> tuple[str, ...]:
    """Say that an estimate is too near to the limit to be sure."""
    if is_measured or abs(limits.budget - needed) > needed * _CLOSE:
        return ()
    return ("it is close: load it once, and see how much it really takes",)
