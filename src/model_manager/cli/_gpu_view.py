"""How cards and alerts are shown while they are watched; reads nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from model_manager.events import GpuAlertCleared, GpuAlertRaised
from model_manager.gpu import Gpu, GpuAlert, GpuMonitor, GpuPolicy, GpuSample, Inventory

NONE: Final = "-"
"""What is not known."""
_GIB: Final = 1024**3
_BARS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = "_.-:=+*#"
"""Where the output cannot have the others."""
_MARGIN: Final = 28
"""Columns in front of a sparkline."""
_COOL: Final = 20
"""Degrees Celsius of an empty bar; a full one is 100."""


def gib(size: int | None) -> str:
    """Return bytes in GiB."""
    return NONE if size is None else f"{size / _GIB:.1f}"


def plain(number: float | None) -> str:
    """Return a number without a fraction."""
    return NONE if number is None else f"{number:.0f}"


def out_of(part: str, whole: str) -> str:
    """Return a part and its whole; one dash where neither is known."""
    return NONE if part == whole == NONE else f"{part}/{whole}"


def event_line(event: GpuAlertRaised | GpuAlertCleared) -> str:
    """Return what was raised or is over, in a line."""
    if isinstance(event, GpuAlertRaised):
        return f"ALERT {event.kind}: {event.what} {event.remedy}"
    return f"over  {event.kind}, after {event.seconds:.0f} s: {event.what}"


def sparkline(values: Sequence[float | None], width: int, *, bars: str = _BARS) -> str:
    """Return the newest values, from 0 to 1, as a line of bars; unknown ones blank."""
    shown = values[-width:] if width > 0 else ()
    line = "".join(" " if one is None else bars[_level(one, bars)] for one in shown)
    return line.rjust(max(0, width))


def _level(value: float, bars: str) -> int:
    return min(len(bars) - 1, max(0, int(value * len(bars))))


def live_view(
    monitor: GpuMonitor, policy: GpuPolicy, screen: Console
) -> RenderableType:
    """Return what is seen of the cards now, to be drawn on this screen."""
    found = monitor.latest or Inventory()
    bars = _PLAIN_BARS if screen.options.ascii_only else _BARS
    lines: list[RenderableType] = [_heading(monitor, found)]
    if monitor.alerts:
        # First, the newest of all: what does not fit on the screen is cut at its end.
        alerts = reversed(monitor.alerts)
        lines += [Text(), Text("Alerts", style="bold red")]
        lines += [Padding(_alert(alert), (0, 0, 0, 2)) for alert in alerts]
    for gpu in found.gpus:
        lines.append(Text())
        samples = monitor.samples(gpu.uuid)
        lines += _card(gpu, policy, samples, width=screen.width, bars=bars)
    for one in found.unreadable:
        words = f"card {one.index}  cannot be read: {one.reason}"
        lines += [Text(), Text(words, style="bold red")]
    return Group(*lines)


def _heading(monitor: GpuMonitor, found: Inventory) -> Text:
    now = time.strftime("%H:%M:%S")
    if monitor.error is not None:
        return Text(f"{now}  no card can be read now", style="bold red")
    cuda = found.cuda_version
    version = f"{cuda[0]}.{cuda[1]}" if cuda else NONE
    words = f"{now}  driver {found.driver_version or NONE}, CUDA {version}"
    return Text(f"{words}; Ctrl-C ends", style="dim")


def _card(
    gpu: Gpu,
    policy: GpuPolicy,
    samples: Sequence[GpuSample],
    *,
    width: int,
    bars: str,
) -> Iterator[Text]:
    allowed = policy.allows(gpu)
    yield Text.assemble(
        (f"card {gpu.index}  {gpu.name}", "bold"),
        ("  allowed", "green") if allowed else ("  not allowed", "yellow"),
    )
    room = width - _MARGIN - 1
    memory = [_share(one.memory_used, one.memory_total) for one in samples]
    used = out_of(gib(gpu.memory_used), gib(gpu.memory_total))
    yield _bar("memory", f"{used} GiB", sparkline(memory, room, bars=bars))
    use = [_share(one.utilization, 100) for one in samples]
    yield _bar("use", f"{plain(gpu.utilization)} %", sparkline(use, room, bars=bars))
    heat = [_heat(one.temperature) for one in samples]
    yield _bar("heat", f"{plain(gpu.temperature)} °C", sparkline(heat, room, bars=bars))
    power = [_share(one.power, gpu.power_limit) for one in samples]
    watts = f"{out_of(plain(gpu.power), plain(gpu.power_limit))} W"
    yield _bar("power", watts, sparkline(power, room, bars=bars))
    clocks = out_of(plain(gpu.sm_clock), plain(gpu.memory_clock))
    rest = [*_slow(gpu), *_workers(gpu)]
    yield Text(f"  {'clocks':<8}{f'{clocks} MHz':>16}  {'; '.join(rest)}".rstrip())


def _bar(name: str, value: str, line: str) -> Text:
    return Text.assemble(f"  {name:<8}{value:>16}  ", (line, "cyan"))


def _alert(alert: GpuAlert) -> Text:
    since = time.strftime("%H:%M:%S", time.localtime(alert.since))
    return Text.assemble(
        (alert.kind, "red"), f" since {since}: {alert.what} {alert.remedy}"
    )


def _slow(gpu: Gpu) -> list[str]:
    return [f"held back: {', '.join(gpu.held_back)}"] if gpu.held_back else []


def _workers(gpu: Gpu) -> list[str]:
    named = [
        f"{process.name or NONE} ({process.pid})" for process in gpu.processes or ()
    ]
    return [", ".join(named)] if named else []


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _heat(degrees: int | None) -> float | None:
    return None if degrees is None else (degrees - _COOL) / (100 - _COOL)
