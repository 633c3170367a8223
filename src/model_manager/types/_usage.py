"""How much was used, in disjoint buckets, and how much the provider says is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_CHARACTERS_PER_TOKEN: Final = 4
"""A rule of thumb for English prose; OpenAI gives the same figure ("What are tokens and
how to count them", help centre)."""


def estimated_tokens(characters: int) -> int:
    """Return about how many tokens a text of so many characters has, rounded up."""
    return -(-characters // _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer, in buckets that do not overlap.

    All that was sent is `input_tokens + cache_read_tokens + cache_write_tokens`; all
    that came back is `output_tokens`, thinking included. `None` means that the
    provider did not say; it is never written as 0.
    """

    input_tokens: int | None = None
    """Input read at full price: neither from a cache nor written to one."""
    output_tokens: int | None = None
    """Everything the model wrote, `reasoning_tokens` included."""
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    """Every cache write, `cache_write_1h_tokens` included."""
    cache_write_1h_tokens: int | None = None
    """The part of `cache_write_tokens` with a lifetime of one hour (Anthropic)."""
    reasoning_tokens: int | None = None
    """The part of `output_tokens` spent on thinking."""
    estimated: bool = False
    """Whether the counts are ours, because an answer broke before its usage came."""
    service_tier: str | None = None
    """The tier that the response says it was served in."""
    speed: str | None = None
    """The speed that the response says it was served at: `standard`, `fast`
    (Anthropic)."""
    raw: Mapping[str, object] = field(default_factory=dict, repr=False)
    """The provider's own usage object, for costs to be computed again."""

    @property
    def total_input_tokens(self) -> int | None:
        """All input, cached or not; `None` when the provider did not say."""
        if self.input_tokens is None:
            return None
        cached = (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)
        return self.input_tokens + cached


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What the provider's headers say is left; `None` where they are silent."""

    requests_remaining: int | None = None
    requests_reset: float | None = None
    """Seconds from now."""
    tokens_remaining: int | None = None
    tokens_reset: float | None = None
    """Seconds from now."""
