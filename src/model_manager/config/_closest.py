"""Did you mean: the known names that are nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MIN_PREFIX = 4


def closest(name: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """Return up to `limit` known names that a reader may have meant, best first.

    A name that begins like a known one, or is contained in it, counts before one that
    is merely spelt alike: ids are often cut short (`agent_02`).
    """
    wanted = name.strip().casefold()[:200]
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    found: list[str] = []
    if len(wanted) >= _MIN_PREFIX:
        found += [key for key in by_folded if key.startswith(wanted)]
        found += [key for key in by_folded if wanted in key and key not in found]
    if len(found) < limit:
        near = get_close_matches(wanted, by_folded, n=limit, cutoff=0.6)
        found += [key for key in near if key not in found]
    return tuple(by_folded[key] for key in found[:limit])
