"""Alerts that stand until what they tell of is over; no clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from model_manager.errors import NvmlError
from model_manager.events import GpuAlertCleared, GpuAlertKind, GpuAlertRaised
from model_manager.gpu._cards import Inventory
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.monitor._findings import (
    AlertThresholds,
    Finding,
    Judge,
    Threshold,
    label_of,
)

__all__ = ["AlertThresholds", "GpuAlert", "Threshold", "Watch"]

GpuEvent: TypeAlias = GpuAlertRaised | GpuAlertCleared
_Key: TypeAlias = tuple[GpuAlertKind, str, str]

_PROCESSES: Final = frozenset({"wrong_card", "foreign_process"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAlert:
    """Something that is wrong with a card now, or with what runs on it."""

    kind: GpuAlertKind
    card: str
    """The card's name and number; empty where it is about all of them."""
    uuid: str
    """Empty where it is about all cards."""
    what: str
    """In words, as of the newest sample."""
    remedy: str
    since: float
    """Seconds since 1970."""
    value: float | None = None
    """What was measured: degrees Celsius or percent, by kind; a process's number."""
    limit: float | None = None
    """From where on it is too much."""


@dataclass(slots=True)
class _Track:
    """How one thing has been lately."""

    samples: int
    streak: int = 0
    """How many samples in a row speak against how it stands."""
    alert: GpuAlert | None = None


class Watch:
    """Turns reading after reading into alerts that are raised once and cleared once."""

    def __init__(self, policy: GpuPolicy, thresholds: AlertThresholds) -> None:
        """Begin with no alert."""
        self._judge = Judge(policy, thresholds)
        self._tracks: dict[_Key, _Track] = {}
        self._seen: dict[str, tuple[int, str]] = {}

    @property
    def standing(self) -> tuple[GpuAlert, ...]:
        """The alerts that are raised and not cleared, in the order of raising."""
        alerts = (track.alert for track in self._tracks.values())
        return tuple(
            sorted(
                (alert for alert in alerts if alert is not None),
                key=lambda alert: alert.since,
            )
        )

    def tick(
        self,
        reading: Inventory | NvmlError,
        now: float,
        *,
        mine: Callable[[], frozenset[int]],
    ) -> tuple[GpuEvent, ...]:
        """Take a reading, and return what it raises and clears.

        Args:
            reading: The cards, or why nobody can tell.
            now: Seconds since 1970.
            mine: Returns the processes of this program; asked only where it matters.
        """
        if isinstance(reading, NvmlError):
            found = list(self._judge.failed(reading.what, reading.remedy))
            well: set[_Key] = set()
        else:
            found = list(self._findings(reading, mine))
            well = self._over(reading, {_key(one) for one in found})
        events = [event for one in found for event in self._take(one, now)]
        events += [event for key in sorted(well) for event in self._ease(key, now)]
        return tuple(events)

    def _findings(
        self, inventory: Inventory, mine: Callable[[], frozenset[int]]
    ) -> Iterator[Finding]:
        for gpu in inventory.gpus:
            self._seen[gpu.uuid] = (gpu.index, label_of(gpu))
            yield from self._judge.card(gpu, mine)
        readable = {gpu.uuid for gpu in inventory.gpus}
        gone = {uuid: at for uuid, at in self._seen.items() if uuid not in readable}
        for card in inventory.unreadable:
            # It cannot tell its name now: it is the one that had its number before.
            uuid = next(
                (u for u, (place, _) in gone.items() if place == card.index), ""
            )
            _, name = gone.pop(uuid, (card.index, f"card {card.index}"))
            yield from self._judge.unreadable(card, uuid, name)
        for uuid, (_, name) in gone.items():
            yield from self._judge.missing(uuid, name)

    def _over(self, inventory: Inventory, found: set[_Key]) -> set[_Key]:
        """Return what was wrong, was looked for, and was not found this time."""
        told = {gpu.uuid for gpu in inventory.gpus if gpu.processes is not None}
        return {
            (kind, uuid, subject)
            for kind, uuid, subject in self._tracks.keys() - found
            if kind == "unreadable" or (kind in _PROCESSES and uuid in told)
        }

    def _take(self, one: Finding, now: float) -> Iterator[GpuEvent]:
        key = _key(one)
        track = self._tracks.get(key)
        if track is None:
            if not one.is_bad:
                return
            track = self._tracks[key] = _Track(one.samples)
        if track.alert is not None and one.is_well:
            yield from self._ease(key, now)
        elif track.alert is not None:
            track.streak = 0
            track.alert = _alert(one, track.alert.since)
        elif one.is_bad:
            track.streak += 1
            if track.streak >= one.samples:
                track.streak = 0
                track.alert = _alert(one, now)
                yield _raised(track.alert)
        else:
            del self._tracks[key]

    def _ease(self, key: _Key, now: float) -> Iterator[GpuEvent]:
        track = self._tracks[key]
        track.streak += 1
        if track.alert is None:
            del self._tracks[key]
        elif track.streak >= track.samples:
            del self._tracks[key]
            yield GpuAlertCleared(
                kind=track.alert.kind,
                card=track.alert.card,
                uuid=track.alert.uuid,
                what=track.alert.what,
                seconds=max(0.0, now - track.alert.since),
            )


def _key(one: Finding) -> _Key:
    return one.kind, one.uuid, one.subject


def _alert(one: Finding, since: float) -> GpuAlert:
    return GpuAlert(
        kind=one.kind,
        card=one.card,
        uuid=one.uuid,
        what=one.what,
        remedy=one.remedy,
        since=since,
        value=one.value,
        limit=one.limit,
    )


def _raised(alert: GpuAlert) -> GpuAlertRaised:
    return GpuAlertRaised(
        kind=alert.kind,
        card=alert.card,
        uuid=alert.uuid,
        what=alert.what,
        remedy=alert.remedy,
        value=alert.value,
        limit=alert.limit,
    )
