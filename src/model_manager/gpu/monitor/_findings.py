"""What one reading of the cards says about each thing that may be alerted of; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.events import GpuAlertKind
from model_manager.gpu._cards import (
    SERVER_PROGRAMS,
    Gpu,
    GpuProcess,
    UnreadableGpu,
)
from model_manager.gpu._policy import GpuPolicy

_PERCENT: Final = 100
_REASONS: Final = MappingProxyType(
    {
        "lost": "it fell off the bus, or must be reset",
        "no_permission": "this user may not read it",
        "timeout": "it does not answer",
        "unknown": "NVML does not say why",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """When an alert is raised, and when it is cleared.

    Between the two nothing changes, so that a value that swings around one of them does
    not raise alert after alert.
    """

    raise_at: float
    clear_at: float
    """Lower than `raise_at`."""
    samples: int = 3
    """How many in a row it takes, either way."""

    def __post_init__(self) -> None:
        """Refuse what could never be cleared, or is cleared where it is raised.

        Raises:
            InvalidRequestError: `clear_at` is not below `raise_at`, or no sample is
                asked.
        """
        if not self.clear_at < self.raise_at or self.samples < 1:
            message = f"no alert can be raised and cleared by {self}."
            remedy = "Set clear_at below raise_at, and one sample or more."
            raise InvalidRequestError(message, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """What a `GpuMonitor` raises alerts for; `None` turns one off."""

    temperature: Threshold | None = Threshold(raise_at=88, clear_at=83)
    """Degrees Celsius, of any card. An RTX 3090 is made for up to 93 and slows down by
    itself from 83 on."""
    vram: Threshold | None = Threshold(raise_at=95, clear_at=90)
    """Percent of the memory of a card that the policy allows."""
    utilization: Threshold | None = None
    """Percent, of a card that the policy allows. Off: a card is there to be used."""
    throttling: int | None = 3
    """Samples in a row in which heat or bad power holds a card back."""
    wrong_card: int | None = 2
    """Samples in a row with a computing process on a card that the policy forbids."""
    foreign_process: int | None = 2
    """Samples in a row with somebody else's computing process on an allowed card."""
    unreadable: int | None = 2
    """Samples in a row in which a card, or all of them, cannot be read."""
    expected_programs: frozenset[str] = SERVER_PROGRAMS
    """Programs that may compute on the allowed card, by file name in small letters and
    without `.exe`. On a forbidden card they raise an alert even where they only draw,
    as through Vulkan."""

    def __post_init__(self) -> None:
        """Refuse what could never be raised.

        Raises:
            InvalidRequestError: A number of samples is below one.
        """
        numbers = (self.throttling, self.wrong_card, self.foreign_process)
        for number in (*numbers, self.unreadable):
            if number is not None and number < 1:
                message = f"an alert cannot be raised after {number} samples."
                remedy = "Ask for one or more, or None for no such alert."
                raise InvalidRequestError(message, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    kind: GpuAlertKind
    card: str
    uuid: str
    subject: str = ""
    """Tells alerts of one kind and card apart: the process."""
    is_bad: bool = True
    """Whether it is so bad that an alert is raised."""
    is_well: bool = False
    """Whether it is so well that the alert is cleared."""
    samples: int
    what: str
    remedy: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Looks at cards by a policy and thresholds."""

    policy: GpuPolicy
    thresholds: AlertThresholds

    def card(self, gpu: Gpu, mine: Callable[[], frozenset[int]]) -> Iterator[Finding]:
        """Yield what is found of a card; `mine` returns this program's processes."""
        may_work = self.policy.allows(gpu)
        yield from self._temperature(gpu)
        yield from self._throttling(gpu)
        if may_work:
            yield from self._vram(gpu)
            yield from self._utilization(gpu)
            yield from self._foreign(gpu, mine)
        else:
            yield from self._wrong(gpu)

    def unreadable(
        self, card: UnreadableGpu, uuid: str, name: str
    ) -> Iterator[Finding]:
        """Yield that a card cannot be read."""
        words = f"{_REASONS[card.reason]} ({card.detail})".replace(" ()", "")
        yield from self._gone(name, uuid or f"card {card.index}", words)

    def missing(self, uuid: str, name: str) -> Iterator[Finding]:
        """Yield that a card that was there is not listed any more."""
        yield from self._gone(name, uuid, "the driver does not list it any more")

    def failed(self, what: str, remedy: str) -> Iterator[Finding]:
        """Yield that no card can be read."""
        samples = self.thresholds.unreadable
        if samples is not None:
            yield Finding(
                kind="unreadable",
                card="",
                uuid="",
                samples=samples,
                what=f"no card can be read: {what}",
                remedy=remedy,
            )

    def _gone(self, name: str, uuid: str, why: str) -> Iterator[Finding]:
        samples = self.thresholds.unreadable
        if samples is not None:
            yield Finding(
                kind="unreadable",
                card=name,
                uuid=uuid,
                samples=samples,
                what=f"{name[:1].upper()}{name[1:]} cannot be read: {why}.",
                remedy="End what uses it; restart the machine if it stays so.",
            )

    def _temperature(self, gpu: Gpu) -> Iterator[Finding]:
        limit, degrees = self.thresholds.temperature, gpu.temperature
        if limit is not None and degrees is not None:
            yield Finding(
                kind="temperature",
                card=label_of(gpu),
                uuid=gpu.uuid,
                is_bad=degrees >= limit.raise_at,
                is_well=degrees <= limit.clear_at,
                samples=limit.samples,
                what=f"{label_of(gpu)} is at {degrees} °C.",
                remedy="Stop the work; look at the fans, the dust and the room.",
                value=degrees,
                limit=limit.raise_at,
            )

    def _vram(self, gpu: Gpu) -> Iterator[Finding]:
        limit, percent = self.thresholds.vram, _percent_used(gpu)
        if limit is not None and percent is not None:
            yield Finding(
                kind="vram",
                card=label_of(gpu),
                uuid=gpu.uuid,
                is_bad=percent >= limit.raise_at,
                is_well=percent <= limit.clear_at,
                samples=limit.samples,
                what=f"{label_of(gpu)} has {percent:.0f} % of its memory in use.",
                remedy="Unload models that rest, or use a shorter context or a smaller"
                " quantization: what does not fit runs on the processor, slowly.",
                value=percent,
                limit=limit.raise_at,
            )

    def _utilization(self, gpu: Gpu) -> Iterator[Finding]:
        limit, percent = self.thresholds.utilization, gpu.utilization
        if limit is not None and percent is not None:
            yield Finding(
                kind="utilization",
                card=label_of(gpu),
                uuid=gpu.uuid,
                is_bad=percent >= limit.raise_at,
                is_well=percent <= limit.clear_at,
                samples=limit.samples,
                what=f"{label_of(gpu)} is at {percent} % without a rest.",
                remedy="See who works on it: 'model-manager gpu status'.",
                value=percent,
                limit=limit.raise_at,
            )

    def _throttling(self, gpu: Gpu) -> Iterator[Finding]:
        samples, reasons = self.thresholds.throttling, gpu.held_back
        if samples is not None and reasons is not None:
            yield Finding(
                kind="throttling",
                card=label_of(gpu),
                uuid=gpu.uuid,
                is_bad=bool(reasons),
                is_well=not reasons,
                samples=samples,
                what=f"{label_of(gpu)} is held back: {', '.join(reasons)}.",
                remedy="Look at the fans, the power supply and its cables.",
            )

    def _wrong(self, gpu: Gpu) -> Iterator[Finding]:
        samples = self.thresholds.wrong_card
        if samples is None:
            return
        for process in gpu.processes or ():
            if process.kind == "compute" or self._expects(process):
                yield Finding(
                    kind="wrong_card",
                    card=label_of(gpu),
                    uuid=gpu.uuid,
                    subject=str(process.pid),
                    samples=samples,
                    what=f"{_said(process)} works on {label_of(gpu)}, which the policy"
                    f" '{self.policy.name}' does not allow.",
                    remedy="End it, and start it with the variables of the policy; an"
                    " Ollama server needs OLLAMA_VULKAN=0, too.",
                    value=process.pid,
                )

    def _foreign(
        self, gpu: Gpu, mine: Callable[[], frozenset[int]]
    ) -> Iterator[Finding]:
        samples = self.thresholds.foreign_process
        if samples is None:
            return
        strange = [
            process
            for process in gpu.processes or ()
            # One without a name is mostly in another container: it may be this very
            # program, whose number there is another one.
            if process.kind == "compute" and process.name and not self._expects(process)
        ]
        # Who belongs to this program is asked of the system: only where it matters.
        own = mine() if strange else frozenset[int]()
        for process in strange:
            if process.pid not in own:
                yield Finding(
                    kind="foreign_process",
                    card=label_of(gpu),
                    uuid=gpu.uuid,
                    subject=str(process.pid),
                    samples=samples,
                    what=f"{_said(process)} works on {label_of(gpu)} and is not of this"
                    " program.",
                    remedy="End it if it should not be there, or expect it: 'gpu watch"
                    f" --expect {process.program}'.",
                    value=process.pid,
                )

    def _expects(self, process: GpuProcess) -> bool:
        return process.program in self.thresholds.expected_programs


def label_of(gpu: Gpu) -> str:
    """Return what a card is called in a sentence."""
    return f"{gpu.name} (card {gpu.index})"


def _percent_used(gpu: Gpu) -> float | None:
    if not gpu.memory_total:
        return None
    if gpu.memory_free is not None:
        # What the driver has reserved is not there for models either.
        return _PERCENT * (1 - gpu.memory_free / gpu.memory_total)
    if gpu.memory_used is None:
        return None
    return _PERCENT * gpu.memory_used / gpu.memory_total


def _said(process: GpuProcess) -> str:
    return f"{process.name or 'a program without a name'} (process {process.pid})"
