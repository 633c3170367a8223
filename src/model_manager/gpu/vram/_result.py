"""Whether a model fits, with every figure behind the answer."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

from typing_extensions import override

from model_manager.gpu.vram._card import GIB, MIB

FitState: TypeAlias = Literal["fits", "tight", "offload", "does_not_fit", "unknown"]

_WORDS: Final = {
    "fits": "fits",
    "tight": "tight",
    "offload": "only in part on the card",
    "does_not_fit": "DOES NOT FIT",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """A smaller version of a model that would fit."""

    name: str
    """As tags of models end: `q4_K_M`."""
    bits_per_weight: float
    """What it takes on average."""
    weights: int
    """Bytes on the card, estimated."""
    needed: int
    """Bytes in all, with the same context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a model fits on the card, and what that was judged by; bytes all over.

    Figures are `None` where they are not known. They are estimates until the model was
    loaded once and `measured` was given.
    """

    model: str
    state: FitState
    """`fits`: all of it, with the usual room left; `tight`: it goes in, but the server
    would put a part of it elsewhere unless told not to; `offload`: a part lies in the
    machine's own memory, and every answer is slow; `does_not_fit`; `unknown`: nobody
    can tell, see `unknown`."""
    weights: int | None = None
    """What of the weights goes to the card."""
    kv_cache: int | None = None
    graph: int | None = None
    """What is computed in."""
    projector: int | None = None
    """Images: the projector, and 1 GiB for its work; 0 without one."""
    needed: int | None = None
    """The sum of these; or what was really taken, where that `is_measured`."""
    is_measured: bool = False
    reserve: int
    """What is kept from the budget: 457 MiB for CUDA itself, and 1 GiB that llama.cpp
    leaves free."""
    budget: int | None = None
    """What the model may take, the reserve already taken off."""
    num_ctx: int | None = None
    """Tokens of context in a slot that were reckoned with."""
    parallel: int = 1
    kv_cache_type: str = "f16"
    max_num_ctx: int | None = None
    """The longest context that fits, in steps of 256; `None`: none, or unknown."""
    offload_share: float | None = None
    """The part of weights and KV cache that would lie in the machine's own memory."""
    expected_tokens_per_second: float | None = None
    """What one answer at a time should reach with little in its context; `None` where
    the card's bandwidth is not known."""
    smaller_quantizations: tuple[Quantization, ...] = ()
    """Versions that would fit with this context, the best first."""
    advice: tuple[str, ...] = ()
    """What would make it fit, the least loss first."""
    unknown: tuple[str, ...] = ()
    """Why nobody can tell."""
    notes: tuple[str, ...] = ()
    """What else to know about the figures."""

    @property
    def fits(self) -> bool:
        """Whether all of it goes to the card, with the usual room left."""
        return self.state == "fits"

    @property
    def margin(self) -> int | None:
        """What is left of the budget; negative where it is too small."""
        if self.budget is None or self.needed is None:
            return None
        return self.budget - self.needed

    def to_dict(self) -> dict[str, object]:
        """Return it as plain data, ready for JSON."""
        return {**asdict(self), "margin": self.margin}

    @override
    def __str__(self) -> str:
        """Return it as a few lines for people."""
        lines = [f"{self.model}: {_WORDS[self.state]}"]
        lines += (f"  {words:<7} {text}" for words, text in self._facts())
        return "\n".join(lines)

    def _facts(self) -> Iterator[tuple[str, str]]:
        if self.needed is not None:
            yield "needs", self._need()
        if self.budget is not None:
            yield "budget", self._room()
        if self.max_num_ctx is not None:
            yield "context", f"up to {self.max_num_ctx} tokens fit"
        if self.offload_share:
            share = f"{self.offload_share:.0%} would lie in the machine's own memory"
            yield "offload", share
        if self.expected_tokens_per_second is not None:
            speed = self.expected_tokens_per_second
            yield "speed", f"about {speed:.{0 if speed >= 10 else 1}f} tokens/s"  # noqa: PLR2004 - two digits are enough
        yield from (("unknown", reason) for reason in self.unknown)
        yield from (("note", note) for note in self.notes)
        yield from (("to do", advice) for advice in self.advice)

    def _need(self) -> str:
        if self.is_measured:
            return f"{gib(self.needed)}, as measured {self._load()}"
        parts = [
            f"weights {gib(self.weights)}",
            f"KV cache {gib(self.kv_cache)} {self._load()}",
            f"compute {gib(self.graph)}",
        ]
        if self.projector:
            parts.append(f"projector {gib(self.projector)}")
        return f"{gib(self.needed)}: {', '.join(parts)}"

    def _load(self) -> str:
        slots = f" x {self.parallel}" if self.parallel > 1 else ""
        return f"({self.num_ctx} tokens{slots}, {self.kv_cache_type})"

    def _room(self) -> str:
        margin = self.margin
        if margin is None:
            return gib(self.budget)
        words = "to spare" if margin >= 0 else "too little"
        return f"{gib(self.budget)}, {gib(abs(margin))} {words}"

    def _repr_html_(self) -> str:
        style = ' style="text-align:left"'
        rows = "".join(
            f"<tr><th{style}>{html.escape(words)}</th>"
            f"<td{style}>{html.escape(text)}</td></tr>"
            for words, text in self._facts()
        )
        head = html.escape(f"{self.model}: {_WORDS[self.state]}")
        return f"<table><caption><b>{head}</b></caption><tbody>{rows}</tbody></table>"


def gib(size: int | None) -> str:
    """Return bytes as text in GiB, down to what can be told apart."""
    if size is None:
        return "unknown"
    if size and abs(size) < GIB:
        return f"{size / MIB:.3g} MiB"
    return f"{size / GIB:.1f} GiB"
