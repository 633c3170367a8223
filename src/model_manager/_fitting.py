"""Whether local models fit on the card: before a plan, and before a send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

from model_manager._guarding import CardReader
from model_manager._looks import Looks
from model_manager._servers import Servers
from model_manager.config import Config, GpuSettings, KvCacheType
from model_manager.gpu import (
    CardMemory,
    Fit,
    Gpu,
    Measured,
    ModelShape,
    fit,
    shape_from_show,
)
from model_manager.gpu.ollama import ServerFacts
from model_manager.providers import LocalMemory
from model_manager.types import Candidate, CardFault, Clock, Facts, LoadedModel

_SETTLED: Final = 1.0
"""Seconds in which a card gets back what a model held that was just unloaded."""
_WHOLE: Final = 0.98
"""The share from which on a model counts as wholly on the card."""
_LATEST: Final = ":latest"
_NOT_JUDGED: Final = "whether it fits the card was not checked yet"
_F16: Final = "f16"
_MOST: Final = 998
"""Layers, where nobody knows how many there are: 999 is written for all of them."""
_GOOD: Final = frozenset({"fits", "unknown"})
_GIB: Final = 1024**3
Place = tuple[str, str]
"""An endpoint's name, and a model's."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A model of which a server is to be asked, and what is known of it before."""

    candidate: Candidate
    digest: str | None
    size: int | None

    @property
    def name(self) -> str:
        """One name for each version of each model."""
        return f"{self.candidate.label}@{self.digest}"


@dataclass(frozen=True, slots=True)
class _Known:
    """A model as its server described it."""

    shape: ModelShape
    digest: str | None
    num_ctx: int | None
    """Tokens of context that it is loaded with; `None` where nobody says so."""
    kv_cache_type: str
    parallel: int
    is_whole: bool
    """Whether its options make the server put all of it on the card, or fail."""


def _wanted(candidate: Candidate, facts: Facts) -> _Wanted:
    models = facts.installed.get(candidate.endpoint)
    there = models.get(candidate.model) if models is not None else None
    if there is None:
        return _Wanted(candidate, None, None)
    return _Wanted(candidate, there.digest, there.size)


class Fitting:
    """Knows of each local model whether it fits on the card of the policy.

    Only servers on this machine are judged, and only where the card can be read: what
    is not known refuses nobody here; the guard is for that.
    """

    def __init__(
        self,
        config: Config,
        reader: CardReader,
        servers: Servers,
        *,
        clock: Clock,
        memory_of: Callable[[str], LocalMemory | None],
    ) -> None:
        """Know nothing yet.

        Args:
            config: What the servers run with, and what share of the card may be used.
            reader: Reads the card.
            servers: Know what the servers really run with, where that can be read.
            clock: The time to go by.
            memory_of: Whom to ask about an endpoint's models; `None` where its server
                cannot tell.
        """
        self._percent = config.max_vram_percent
        self._settings = config.gpu_settings or GpuSettings()
        self._endpoints = config.endpoints
        self._reader = reader
        self._servers = servers
        self._clock = clock
        self._memory_of = memory_of
        self._looks = Looks(self._learn, clock)
        self._wanted: dict[str, _Wanted] = {}
        """What a look is about, by its name."""
        self._known: dict[Place, _Known] = {}
        self._fits: dict[Place, Fit] = {}
        self._measured: dict[Place, Measured] = {}
        self._elsewhere: dict[Place, float] = {}
        """How much of a loaded model does not lie on the card, where that is so."""
        self._is_readable: bool | None = None
        """Whether there is a card to be read; `None` while nobody has looked."""
        self.card_memory: int | None = None
        """Bytes of the card; `None` where none was read."""

    async def look(
        self, candidates: Iterable[Candidate], facts: Facts, *, patience: float
    ) -> bool:
        """Learn whether these candidates fit; `True` where that changed what is known.

        Args:
            candidates: Who might be asked.
            facts: What is installed, to know one version of a model from the next.
            patience: Seconds that this call has for it.
        """
        due = []
        for candidate in filter(self._is_judged, candidates):
            wanted = _wanted(candidate, facts)
            known = self._known.get((candidate.endpoint, candidate.model))
            is_new = known is None or known.digest != wanted.digest
            if is_new and self._looks.is_due(wanted.name):
                self._wanted[wanted.name] = wanted
                due.append(wanted.name)
        if not due:
            return False
        before, was_readable = dict(self._fits), self._is_readable
        if not await self._can_read(patience):
            # That nobody can tell is news as well, the first time.
            return self._is_readable is not was_readable
        await self._looks.at(due, patience=patience)
        return self._fits != before

    def faults(self) -> Iterator[tuple[Place, CardFault]]:
        """Yield the models that do not fit the card at all, and why."""
        for place, found in list(self._fits.items()):
            if not self._is_good(place, found):
                yield place, _fault(found)

    def notes(self, facts: Facts) -> Iterator[tuple[Place, str]]:
        """Yield what should be known of models that may be asked all the same."""
        yield from self._not_judged(facts)
        for place, found in list(self._fits.items()):
            away = self._elsewhere.get(place)
            if away is not None:
                yield place, f"{away:.0%} of it does not lie on the card: it is slow"
            elif found.state != "fits" and self._is_good(place, found):
                words = "; ".join((*found.unknown, *found.notes))
                state = found.state.replace("_", " ")
                yield place, f"whether it fits the card: {state} ({words})"

    def _not_judged(self, facts: Facts) -> Iterator[tuple[Place, str]]:
        if self._is_readable is False:
            return
        for endpoint, models in facts.installed.items():
            if self._is_here(endpoint) and self._memory_of(endpoint) is not None:
                names = (n for m in models for n in {m, m.removesuffix(_LATEST)})
                for name in names:
                    if (endpoint, name) not in self._fits:
                        yield (endpoint, name), _NOT_JUDGED

    async def fault_now(self, candidate: Candidate) -> CardFault | None:
        """Return why a model does not fit the card as full as it is at this moment."""
        place = candidate.endpoint, candidate.model
        found = await self._fit_now(candidate)
        if found is not None and not self._is_good(place, found):
            await self._clock.sleep(_SETTLED)
            found = await self._fit_now(candidate)
        if found is None or self._is_good(place, found):
            return None
        return _fault(found, now=True)

    async def _can_read(self, patience: float) -> bool:
        """Return whether there is a card to be read, as far as that shows in time."""
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(patience):
                self._is_readable = await self._reader.read() is not None
                return self._is_readable
        return False

    async def _learn(self, name: str, seconds: float) -> None:
        """Ask a server about one model, and see whether it fits an empty card."""
        wanted = self._wanted[name]
        memory = self._memory_of(wanted.candidate.endpoint)
        body = None
        if memory is not None:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(seconds):
                    body = await memory.describe(wanted.candidate.model)
        gpu = await self._reader.read()
        if body is None or gpu is None:
            return
        candidate = wanted.candidate
        facts = await asyncio.to_thread(self._servers.look, candidate.endpoint)
        self._known[candidate.endpoint, candidate.model] = self._as_loaded(
            wanted, body, facts
        )
        self.card_memory = gpu.memory_total
        self._judge((candidate.endpoint, candidate.model), gpu)

    def _as_loaded(
        self, wanted: _Wanted, body: Mapping[str, object], facts: ServerFacts
    ) -> _Known:
        """Return a model as its server loads it: what was read, else what is written.

        Args:
            wanted: Which model.
            body: What the server says of it.
            facts: What is known of the server's own variables.
        """
        settings, candidate = self._settings, wanted.candidate
        shape = shape_from_show(
            body, name=candidate.model, size=wanted.size, digest=wanted.digest
        )
        return _Known(
            shape,
            digest=wanted.digest,
            # Ollama takes the call's, else the model's own, and only then its default.
            num_ctx=_option(candidate, "num_ctx")
            or shape.pinned_context
            or facts.context_length
            or settings.context_length,
            kv_cache_type=_cache_type(facts) or settings.kv_cache_type or _F16,
            parallel=facts.num_parallel or settings.num_parallel or 1,
            # One layer more: what turns the last one into words counts as one.
            is_whole=(_option(candidate, "num_gpu") or 0) > (shape.layers or _MOST),
        )

    def _judge(self, place: Place, gpu: Gpu) -> None:
        """Reckon whether a model fits the card with nothing else on it."""
        self._fits[place] = self._fit(place, replace(self._card(gpu), free=None))

    def _fit(self, place: Place, card: CardMemory) -> Fit:
        known = self._known[place]
        return fit(
            known.shape,
            card,
            num_ctx=known.num_ctx,
            kv_cache_type=known.kv_cache_type,
            parallel=known.parallel,
            measured=self._measured.get(place),
        )

    def _card(self, gpu: Gpu, *, evictable: int = 0) -> CardMemory:
        return CardMemory.of(
            gpu,
            evictable=evictable,
            max_usage_percent=self._percent,
            host_free=self._reader.machine.processes.available_memory(),
        )

    async def _fit_now(self, candidate: Candidate) -> Fit | None:
        """Return whether a model fits what is free now; `None` where it need not."""
        place = candidate.endpoint, candidate.model
        memory = self._memory_of(candidate.endpoint)
        if place not in self._known or memory is None:
            return None
        loaded, gpu = await asyncio.gather(memory.loaded(), self._reader.read())
        if loaded is None or gpu is None:
            return None
        own = [model for model in loaded if _is_same(model.name, candidate.model)]
        if own:
            self._remember(place, own[0])
            self._judge(place, gpu)
            if own[0].context_length == self._fits[place].num_ctx:
                return None
        # Whatever is loaded, the model itself with another context too, would go.
        held = sum(model.size_vram or 0 for model in loaded)
        return self._fit(place, self._card(gpu, evictable=held))

    def _remember(self, place: Place, model: LoadedModel) -> None:
        """Keep what a loaded model really takes, and how much lies elsewhere."""
        size, held, context = model.size, model.size_vram, model.context_length
        if not size or held is None or not context:
            return
        self._elsewhere.pop(place, None)
        if held < size * _WHOLE:
            self._elsewhere[place] = 1 - held / size
        known = self._known[place]
        self._measured[place] = Measured(
            num_ctx=context,
            size=size,
            size_vram=held,
            parallel=known.parallel,
            kv_cache_type=known.kv_cache_type,
            digest=known.digest,
        )

    def _is_judged(self, candidate: Candidate) -> bool:
        return candidate.is_local and self._is_here(candidate.endpoint)

    def _is_here(self, name: str) -> bool:
        endpoint = self._endpoints[name]
        return endpoint.is_local and endpoint.is_on_this_machine

    def _is_good(self, place: Place, found: Fit) -> bool:
        if found.state == "tight":
            # The server would leave more room, and put a part elsewhere to have it;
            # unless it was seen to load all of it in this very way.
            may_be = self._settings.allow_offload or found.is_measured
            return may_be or self._known[place].is_whole
        may_offload = self._settings.allow_offload
        return found.state in _GOOD or (may_offload and found.state == "offload")


def _fault(found: Fit, *, now: bool = False) -> CardFault:
    need, budget = found.needed or found.weights or 0, found.budget or 0
    when = " now" if now else ""
    away = (
        f", {found.offload_share:.0%} would not lie on it"
        if found.offload_share
        else ""
    )
    return CardFault(
        code="vram",
        reason=(
            f"it does not fit the card{when}: it needs {need / _GIB:.1f} GiB with a"
            f" context of {found.num_ctx:,} tokens, {budget / _GIB:.1f} GiB may be"
            f" used{away}"
        ),
        remedy=_sentence(found.advice) or "Take a smaller model.",
    )


def _sentence(advice: Sequence[str]) -> str:
    words = "; or ".join(one.rstrip(".") for one in advice)
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _option(candidate: Candidate, name: str) -> int | None:
    """Return a whole number above 0 of a model's options; `None` for anything else."""
    value = candidate.options.get(name)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and value > 0 else None


def _cache_type(facts: ServerFacts) -> str | None:
    """Return what the server keeps its cache in; `None` for a word that none is."""
    word = (facts.kv_cache_type or "").lower()
    return word if word in get_args(KvCacheType) else None


def _is_same(one: str, other: str) -> bool:
    return one.removesuffix(_LATEST) == other.removesuffix(_LATEST)
