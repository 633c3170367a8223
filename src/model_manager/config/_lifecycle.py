"""Models that their vendors retired or will retire, and what takes their place.

Data, reviewed by hand in November 2026. Dates are the vendors' own: their pages on
deprecations, and the tables of them in their SDKs (anthropic 2.11, openai 3.52).
Successors are the vendor's recommendation where that is itself still served, else
today's model of the same size. A user's `aliases` always win.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

ANTHROPIC_PAGE = "https://platform.claude.com/docs/en/about-claude/model-deprecations"
OPENAI_PAGE = "https://developers.openai.com/api/docs/deprecations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """The end of one model."""

    model: str
    vendor: str
    """The endpoint that a name like this shows: `anthropic` or `openai`."""
    on: date
    """The day from which requests fail."""
    successor: str
    source: str
    """Where the date is published."""

    def is_due(self, today: date) -> bool:
        """Tell whether the model is gone by this day."""
        return today >= self.on


_ANTHROPIC = (
    ("2024-11-06", "claude-haiku-5-5", "claude-instant-1.1 claude-instant-1.2"),
    ("2024-11-06", "claude-sonnet-5-5", "claude-1.3"),
    (
        "2025-07-21",
        "claude-sonnet-5-5",
        "claude-3-sonnet-20240229 claude-2.1 claude-2.0",
    ),
    ("2026-01-05", "claude-opus-5-5", "claude-3-opus-20240229 claude-3-opus-latest"),
    (
        "2025-10-28",
        "claude-sonnet-5-5",
        (
            "claude-3-5-sonnet-20240620 claude-3-5-sonnet-20241022"
            " claude-3-5-sonnet-latest"
        ),
    ),
    (
        "2026-02-19",
        "claude-sonnet-5-5",
        "claude-3-7-sonnet-20250219 claude-3-7-sonnet-latest",
    ),
    (
        "2026-02-19",
        "claude-haiku-5-5",
        "claude-3-5-haiku-20241022 claude-3-5-haiku-latest",
    ),
    ("2026-06-15", "claude-opus-5-5", "claude-opus-4-20250514 claude-opus-4-0"),
    ("2026-06-15", "claude-sonnet-5-5", "claude-sonnet-4-20250514 claude-sonnet-4-0"),
    ("2026-11-30", "claude-sonnet-5-5", "claude-sonnet-4-5 claude-sonnet-4-5-20250929"),
)
_OPENAI = (
    (
        "2024-09-13",
        "gpt-5.6-terra",
        (
            "gpt-3.5-turbo-16k gpt-3.5-turbo-0301 gpt-3.5-turbo-0613"
            " gpt-3.5-turbo-16k-0613"
        ),
    ),
    ("2024-12-06", "gpt-5.6-sol", "gpt-4-vision-preview"),
    ("2025-06-06", "gpt-5.6-sol", "gpt-4-32k gpt-4-32k-0314 gpt-4-32k-0613"),
    ("2025-07-28", "gpt-5.6-sol", "o1-preview o1-preview-2024-09-12"),
    ("2025-10-27", "gpt-5.6-terra", "o1-mini o1-mini-2024-09-12"),
    ("2026-03-26", "gpt-5.6-sol", "gpt-4-turbo-preview gpt-4-0125-preview gpt-4-0314"),
    ("2026-09-28", "gpt-5.6-terra", "gpt-3.5-turbo-1106"),
    ("2026-10-23", "gpt-5.6-terra", "gpt-3.5-turbo gpt-3.5-turbo-0125"),
    (
        "2026-10-23",
        "gpt-5.6-sol",
        (
            "gpt-4 gpt-4-0613 gpt-4-1106-preview gpt-4-turbo gpt-4-turbo-2024-04-09"
            " gpt-4o-2024-05-13 o1 o1-2024-12-17 o3-mini o3-mini-2025-01-31"
        ),
    ),
    ("2026-10-23", "gpt-5.6-terra", "o4-mini o4-mini-2025-04-16"),
    ("2026-10-23", "gpt-6-luna", "gpt-4.1-nano gpt-4.1-nano-2025-04-14"),
    ("2026-12-11", "gpt-5.6-sol", "gpt-5 gpt-5-2025-08-07 o3 o3-2025-04-16"),
    (
        "2026-12-11",
        "gpt-6-luna",
        "gpt-5-mini gpt-5-mini-2025-08-07 gpt-5-nano gpt-5-nano-2025-08-07",
    ),
    (
        "2027-01-14",
        "gpt-6-luna",
        (
            "gpt-4.1 gpt-4.1-2025-04-14 gpt-4.1-mini gpt-4.1-mini-2025-04-14 gpt-4o"
            " gpt-4o-2024-08-06 gpt-4o-2024-11-20 gpt-4o-mini gpt-4o-mini-2024-07-18"
        ),
    ),
)


def _rows() -> Iterator[Retirement]:
    for vendor, source, rows in (
        ("anthropic", ANTHROPIC_PAGE, _ANTHROPIC),
        ("openai", OPENAI_PAGE, _OPENAI),
    ):
        for day, successor, models in rows:
            for model in models.split():
                yield Retirement(
                    model=model,
                    vendor=vendor,
                    on=date.fromisoformat(day),
                    successor=successor,
                    source=source,
                )


RETIREMENTS = MappingProxyType({row.model: row for row in _rows()})
"""Retired and soon to be retired models, by name."""
