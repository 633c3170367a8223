"""`gpu status` and `gpu watch`: the machine's cards, once and all the time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Annotated, Final

import typer
from rich.live import Live

from model_manager.cli._gpu_policy import policy_in_force
from model_manager.cli._gpu_view import (
    NONE,
    event_line,
    gib,
    live_view,
    out_of,
    plain,
)
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import (
    TIE,
    Column,
    Listing,
    Row,
    console,
    say,
    show,
    write,
    write_json,
)
from model_manager.gpu import (
    AlertThresholds,
    Gpu,
    GpuMonitor,
    GpuPolicy,
    GpuProcess,
    Inventory,
    NvmlPort,
    this_machine,
)

STATUS_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu status
  model-manager gpu status --json

A dash stands for what the card or the driver does not tell.
"""
WATCH_EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu watch
  model-manager gpu watch --interval 5 --expect python
  model-manager gpu watch --for 60 > cards.log

Ctrl-C ends it. Where the output is no terminal, it is a line each time, and
one for every alert that is raised or over.
"""
Interval = Annotated[
    float,
    typer.Option(
        "--interval",
        "-i",
        metavar="SECONDS",
        min=0.1,
        max=86_400,
        help="Time between two reads.",
    ),
]
Span = Annotated[
    float | None,
    typer.Option(
        "--for",
        metavar="SECONDS",
        min=0,
        help="End after this time; by default only Ctrl-C ends it.",
        show_default=False,
    ),
]
Expected = Annotated[
    list[str] | None,
    typer.Option(
        "--expect",
        metavar="PROGRAM",
        help="A program that may compute on the allowed card, besides Ollama's.",
        show_default=False,
    ),
]
_CARDS: Final = (
    Column("card", "right"),
    Column("name"),
    *(Column(name, "right") for name in ("GiB used", "use %", "°C", "W")),
    Column("policy"),
)
_IDENTITIES: Final = (
    Column("card", "right"),
    *map(Column, ("UUID", "bus")),
    *(Column(name, "right") for name in ("model", "CC")),
)
_PROCESSES: Final = (
    Column("process", "right"),
    Column("card", "right"),
    *map(Column, ("program", "does")),
    Column("GiB", "right"),
)
_DOES: Final[Mapping[str, str]] = MappingProxyType(
    {"compute": "computes", "graphics": "draws", "both": "both"}
)


def nvml() -> NvmlPort:
    """Return where this machine's cards are read; tests put others here."""
    return this_machine().nvml


def clock() -> float:
    """Return seconds that only grow; tests put other ones here."""
    return time.monotonic()


def rest(seconds: float) -> None:
    """Wait between two reads; tests need not."""
    time.sleep(seconds)


def status(
    context: typer.Context, *, as_json: AsJson = False, config: ConfigPath = None
) -> None:
    """Show the machine's cards, who works on them, and which the policy allows."""
    policy = policy_in_force(context, config)
    inventory = nvml().read()
    if as_json:
        write_json(_facts(inventory, policy))
    else:
        _print(inventory, policy)


def watch(
    context: typer.Context,
    *,
    interval: Interval = 1.0,
    seconds: Span = None,
    expect: Expected = None,
    config: ConfigPath = None,
) -> None:
    """Watch the cards: memory, use, heat and power as they change, and alerts."""
    policy = policy_in_force(context, config)
    thresholds = _thresholds(expect or ())
    monitor = GpuMonitor(policy, nvml=nvml(), interval=interval, thresholds=thresholds)
    steps = _steps(monitor, interval=interval, seconds=seconds)
    try:
        # Before anything is drawn: without a driver there is nothing to watch.
        all_steps = itertools.chain([next(steps)], steps)
        if console().is_terminal:
            _watch_live(monitor, policy, all_steps)
        else:
            _watch_lines(monitor, all_steps)
    except KeyboardInterrupt:
        # Who ends it has seen what there was to see: nothing went wrong.
        say()


def _thresholds(expect: Iterable[str]) -> AlertThresholds:
    usual = AlertThresholds()
    named = {GpuProcess(pid=0, kind="compute", name=name).program for name in expect}
    return replace(usual, expected_programs=usual.expected_programs | named)


def _steps(
    monitor: GpuMonitor, *, interval: float, seconds: float | None
) -> Iterator[list[str]]:
    """Read again and again; yield the lines for what was raised or is over."""
    began = due = clock()
    while True:
        told = [event_line(event) for event in monitor.tick()]
        if monitor.latest is None and monitor.error is not None:
            raise monitor.error
        yield told
        # One look at the clock: what comes next may not lie before now.
        now = clock()
        due = max(due + interval, now)
        if seconds is not None and due - began > seconds:
            return
        rest(due - now)


def _watch_live(
    monitor: GpuMonitor, policy: GpuPolicy, steps: Iterable[list[str]]
) -> None:
    screen = console()
    with Live(console=screen, auto_refresh=False) as live:
        for _ in steps:
            live.update(live_view(monitor, policy, screen), refresh=True)


def _watch_lines(monitor: GpuMonitor, steps: Iterable[list[str]]) -> None:
    for told in steps:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        for line in (_line(monitor), *told):
            write(f"{now}  {line}\n")


def _line(monitor: GpuMonitor) -> str:
    if monitor.error is not None:
        return f"no card can be read: {monitor.error.what}"
    return str(monitor.latest or Inventory()).replace("\n", " | ")


def _facts(inventory: Inventory, policy: GpuPolicy) -> dict[str, object]:
    """Return the cards as plain data; PCI numbers as the configuration writes them."""
    return {
        "driver_version": inventory.driver_version,
        "cuda_version": inventory.cuda_version,
        "policy": policy.name,
        "gpus": [
            asdict(gpu)
            | {
                "pci_device_id": _hex(gpu.pci_device_id),
                "pci_vendor_id": _hex(gpu.pci_vendor_id),
                "allowed": policy.allows(gpu),
            }
            for gpu in inventory.gpus
        ],
        "unreadable": [asdict(one) for one in inventory.unreadable],
    }


def _hex(number: int | None) -> str | None:
    return None if number is None else f"{number:#06x}"


def _print(inventory: Inventory, policy: GpuPolicy) -> None:
    cuda = inventory.cuda_version
    say(
        f"Driver {inventory.driver_version or NONE}, CUDA"
        f" {f'{cuda[0]}.{cuda[1]}' if cuda else NONE}; policy: {policy.name}"
    )
    if not inventory.gpus and not inventory.unreadable:
        say("The driver lists no card.", style="bold red")
        return
    _list(_CARDS, [_card_row(gpu, policy) for gpu in inventory.gpus])
    _list(_IDENTITIES, [_identity_row(gpu) for gpu in inventory.gpus])
    _list(_PROCESSES, list(_process_rows(inventory)))
    remarks = list(_remarks(inventory))
    if remarks:
        say()
    for remark in remarks:
        say(remark, hang="  ")


def _list(columns: tuple[Column, ...], rows: Sequence[Row]) -> None:
    if not rows:
        return

    def card(row: Row) -> list[str]:
        first, *others = (
            f"{column.name} {cell}"
            for column, cell in zip(columns, row, strict=True)
            if cell
        )
        return [first, ", ".join(one.replace(" ", TIE) for one in others)]

    say()
    show(Listing(columns=columns, rows=tuple(rows), card=card))


def _card_row(gpu: Gpu, policy: GpuPolicy) -> Row:
    return (
        str(gpu.index),
        gpu.name,
        out_of(gib(gpu.memory_used), gib(gpu.memory_total)),
        plain(gpu.utilization),
        plain(gpu.temperature),
        out_of(plain(gpu.power), plain(gpu.power_limit)),
        "allowed" if policy.allows(gpu) else "not allowed",
    )


def _identity_row(gpu: Gpu) -> Row:
    capability = gpu.compute_capability
    return (
        str(gpu.index),
        gpu.uuid,
        gpu.pci_bus_id,
        _hex(gpu.pci_device_id) or NONE,
        f"{capability[0]}.{capability[1]}" if capability else NONE,
    )


def _process_rows(inventory: Inventory) -> Iterator[Row]:
    for gpu in inventory.gpus:
        for process in gpu.processes or ():
            does = _DOES[process.kind]
            name = process.name or NONE
            memory = gib(process.memory)
            yield str(process.pid), str(gpu.index), name, does, memory


def _remarks(inventory: Inventory) -> Iterator[str]:
    for gpu in inventory.gpus:
        if gpu.held_back:
            yield f"Card {gpu.index} is held back: {', '.join(gpu.held_back)}."
        if gpu.failing_rows:
            yield f"Card {gpu.index} has memory that fails, and no spare rows left."
        if gpu.ecc_errors:
            yield (
                f"Card {gpu.index} has {gpu.ecc_errors} errors of memory that could not"
                " be corrected."
            )
        if gpu.mig_enabled:
            ids = ", ".join(gpu.mig_uuids) or "none"
            yield f"Card {gpu.index} is divided (MIG); its instances: {ids}."
        if gpu.processes is None:
            yield f"Card {gpu.index} does not tell who works on it."
    for one in inventory.unreadable:
        why = f" ({one.detail})" if one.detail else ""
        yield f"Card {one.index} cannot be read: {one.reason}{why}."
    if inventory.gpus and all(gpu.processes == () for gpu in inventory.gpus):
        rest = " that can be read" if inventory.unreadable else ""
        yield f"Nobody works on the cards{rest}."
