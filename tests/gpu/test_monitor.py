"""Watching the cards: what is kept, what is alerted of, and what a thread survives."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standins import environment, machine_file
from typing_extensions import override

from model_manager.errors import DriverMismatchError, InvalidRequestError
from model_manager.events import Event, GpuAlertCleared, GpuAlertRaised
from model_manager.gpu import (
    CardModel,
    Gpu,
    GpuPolicy,
    GpuProcess,
    Inventory,
    UnreadableGpu,
)
from model_manager.gpu.monitor import AlertThresholds, GpuMonitor, Threshold
from model_manager.observability import EventLog
from model_manager.testing import FakeClock, FakeNvml, h200, rtx_3090, rtx_5060_ti

MIB = 1024**2
STRANGER = 4_000_000
"""A process that cannot be of this program: Linux numbers none so high by default."""


class Room:
    """A monitor whose readings are taken by hand, on cards in memory."""

    def __init__(self, *cards: Gpu, **options: Any) -> None:
        self.nvml = FakeNvml(*cards)
        self.clock = FakeClock()
        self.events: list[Event] = []
        options.setdefault("listener", self.events.append)
        self.monitor = GpuMonitor(nvml=self.nvml, clock=self.clock, **options)

    def show(self, *cards: Gpu, times: int = 1) -> list[Event]:
        """Read these cards so many times, a second apart; return what is told."""
        self.nvml.cards = cards
        return self.again(times)

    def again(self, times: int = 1) -> list[Event]:
        before = len(self.events)
        for _ in range(times):
            self.clock.advance(1)
            self.monitor.tick()
        return self.events[before:]


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    return [
        (type(event).__name__.removeprefix("GpuAlert"), event.kind)
        for event in events
        if isinstance(event, GpuAlertRaised | GpuAlertCleared)
    ]


def process(name: str | None, kind: Any = "compute", pid: int = STRANGER) -> GpuProcess:
    return GpuProcess(pid=pid, kind=kind, name=name, memory=900 * MIB)


def test_samples_of_a_card_are_kept_and_older_ones_make_room() -> None:
    room = Room(rtx_3090(), keep=3)

    for degrees in (40, 41, 42, 43):
        room.show(rtx_3090(temperature=degrees))

    kept = room.monitor.samples(rtx_3090().uuid)
    assert [sample.temperature for sample in kept] == [41, 42, 43]
    assert [later.time - kept[0].time for later in kept] == [0, 1, 2]
    assert kept[0].memory_total == 24576 * MIB
    assert room.monitor.samples("GPU-of-nobody") == ()
    latest = room.monitor.latest
    assert latest is not None
    assert latest.gpus[0].temperature == 43


def test_a_card_that_gets_hot_is_told_once_and_once_that_it_cooled() -> None:
    room = Room(rtx_3090())

    assert room.show(rtx_3090(temperature=90), times=2) == []
    (raised,) = room.again()
    assert isinstance(raised, GpuAlertRaised)
    assert raised.kind == "temperature"
    assert raised.value == 90
    assert raised.limit == 88
    assert "NVIDIA GeForce RTX 3090 (card 1) is at 90 °C" in raised.what
    assert "fans" in raised.remedy
    assert room.show(rtx_3090(temperature=91), times=50) == []
    (standing,) = room.monitor.alerts
    assert "91 °C" in standing.what

    # Between the two thresholds nothing changes, however long.
    assert room.show(rtx_3090(temperature=85), times=50) == []
    assert room.show(rtx_3090(temperature=82), times=2) == []
    (cleared,) = room.again()

    assert isinstance(cleared, GpuAlertCleared)
    assert cleared.seconds == 103
    assert room.monitor.alerts == ()


def test_a_moment_of_heat_is_no_alert() -> None:
    room = Room(rtx_3090())

    for _ in range(20):
        assert room.show(rtx_3090(temperature=90), times=2) == []
        assert room.show(rtx_3090(temperature=80)) == []


def test_what_a_card_stops_telling_neither_raises_nor_clears() -> None:
    room = Room(rtx_3090())
    mute = replace(
        rtx_3090(),
        temperature=None,
        memory_total=None,
        throttle_reasons=None,
        processes=None,
    )

    assert room.show(mute, times=20) == []
    room.show(rtx_3090(temperature=95), times=3)
    assert room.show(mute, times=20) == []

    assert [alert.kind for alert in room.monitor.alerts] == ["temperature"]


@pytest.mark.parametrize(
    ("reasons", "is_alerted"),
    [
        (("gpu_idle",), False),
        (("applications_clocks_setting", "sw_power_cap"), False),
        (("sw_power_cap", "hw_thermal_slowdown"), True),
        (("hw_slowdown",), True),
        (("hw_power_brake_slowdown",), True),
        (("sw_thermal_slowdown",), True),
    ],
)
def test_only_heat_and_bad_power_count_as_held_back(
    reasons: tuple[str, ...], *, is_alerted: bool
) -> None:
    room = Room(rtx_3090())
    slow = replace(rtx_3090(), throttle_reasons=reasons)

    told = kinds(room.show(slow, times=5))

    assert told == ([("Raised", "throttling")] if is_alerted else [])
    assert kinds(room.show(rtx_3090(), times=3)) == (
        [("Cleared", "throttling")] if is_alerted else []
    )


def test_memory_that_is_nearly_full_counts_on_the_allowed_card_alone() -> None:
    room = Room(rtx_5060_ti(), rtx_3090())
    full = rtx_3090(memory_used=23_500 * MIB)
    other = rtx_5060_ti(memory_used=15_900 * MIB)

    events = room.show(other, full, times=3)

    assert kinds(events) == [("Raised", "vram")]
    (alert,) = room.monitor.alerts
    assert alert.uuid == full.uuid
    assert alert.value == pytest.approx(100 * (23_500 + 317) / 24_576)


def test_work_is_only_alerted_of_where_it_is_asked_for() -> None:
    busy = replace(rtx_3090(), utilization=100)
    sustained = AlertThresholds(
        utilization=Threshold(raise_at=99, clear_at=50, samples=60)
    )
    silent = Room(busy)
    asked = Room(busy, thresholds=sustained)

    assert silent.again(100) == []
    assert asked.again(59) == []
    assert kinds(asked.again()) == [("Raised", "utilization")]


@pytest.mark.parametrize(
    ("who", "is_alerted"),
    [
        (process("python3"), True),
        (process(None), True),
        (process("python3", pid=os.getpid()), True),
        (process("Xorg", "graphics"), False),
        (process("firefox", "both"), False),
        # Through Vulkan a server draws, and leaves CUDA's variables aside.
        (process("llama-server", "graphics"), True),
        (process("ollama.exe", "both"), True),
    ],
)
def test_work_on_a_card_that_is_not_allowed_is_told(
    who: GpuProcess, *, is_alerted: bool
) -> None:
    room = Room(rtx_5060_ti(), rtx_3090())
    used = rtx_5060_ti(processes=(who,))

    events = room.show(used, rtx_3090(), times=2)

    assert kinds(events) == ([("Raised", "wrong_card")] if is_alerted else [])
    if is_alerted:
        (alert,) = room.monitor.alerts
        assert str(who.pid) in alert.what
        assert "policy 'RTX 3090' does not allow" in alert.what
        assert "OLLAMA_VULKAN=0" in alert.remedy
        gone = room.show(rtx_5060_ti(), rtx_3090(), times=2)
        assert kinds(gone) == [("Cleared", "wrong_card")]


def test_every_process_on_a_wrong_card_is_an_alert_of_its_own() -> None:
    room = Room(rtx_5060_ti())
    one, two = process("a", pid=STRANGER), process("b", pid=STRANGER + 1)

    first = room.show(rtx_5060_ti(processes=(one,)), times=2)
    second = room.show(rtx_5060_ti(processes=(one, two)), times=2)
    third = room.show(rtx_5060_ti(processes=(two,)), times=2)

    assert kinds(first) == kinds(second) == [("Raised", "wrong_card")]
    assert kinds(third) == [("Cleared", "wrong_card")]
    assert [alert.value for alert in room.monitor.alerts] == [STRANGER + 1]


@pytest.mark.parametrize(
    ("who", "is_alerted"),
    [
        (process("python3"), True),
        (process("ollama"), False),
        (process("Ollama_Llama_Server.exe"), False),
        (process("llama-server"), False),
        (process("python3", pid=os.getpid()), False),
        (process("Xorg", "graphics"), False),
        # Its number and name are those of another container: it may be this program.
        (process(None), False),
    ],
)
def test_a_stranger_on_the_allowed_card_is_told(
    who: GpuProcess, *, is_alerted: bool
) -> None:
    room = Room(rtx_3090())

    events = room.show(rtx_3090(processes=(who,)), times=2)

    assert kinds(events) == ([("Raised", "foreign_process")] if is_alerted else [])


def test_a_program_that_this_one_started_is_no_stranger() -> None:
    room = Room(rtx_3090())
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    ) as child:
        used = rtx_3090(processes=(process("python3", pid=child.pid),))
        events = room.show(used, times=3)
        child.communicate(b"\n")

    assert events == []


def test_programs_that_are_expected_can_be_named() -> None:
    ours = AlertThresholds(expected_programs=frozenset({"trainer"}))
    room = Room(rtx_3090(), thresholds=ours)

    assert room.show(rtx_3090(processes=(process("trainer"),)), times=5) == []
    assert kinds(room.show(rtx_3090(processes=(process("ollama"),)), times=2)) == [
        ("Raised", "foreign_process")
    ]


def test_a_lost_card_is_named_although_it_cannot_tell_its_name() -> None:
    room = Room(rtx_5060_ti(), rtx_3090())
    room.again()
    room.nvml.unreadable = (
        UnreadableGpu(index=1, reason="lost", detail="GPU is lost"),
    )

    events = room.show(rtx_5060_ti(), times=2)

    (alert,) = room.monitor.alerts
    assert kinds(events) == [("Raised", "unreadable")]
    assert alert.uuid == rtx_3090().uuid
    assert alert.what == (
        "NVIDIA GeForce RTX 3090 (card 1) cannot be read: it fell off the bus, or must"
        " be reset (GPU is lost)."
    )
    room.nvml.unreadable = ()
    back = room.show(rtx_5060_ti(), rtx_3090(), times=2)
    assert kinds(back) == [("Cleared", "unreadable")]


def test_a_card_that_is_not_listed_any_more_is_told() -> None:
    room = Room(rtx_5060_ti(), rtx_3090())
    room.again()

    (raised,) = room.show(rtx_5060_ti(), times=2)

    assert isinstance(raised, GpuAlertRaised)
    assert raised.uuid == rtx_3090().uuid
    assert "does not list it any more" in raised.what


def test_a_driver_that_fails_is_an_alert_and_is_asked_again() -> None:
    room = Room(rtx_3090())
    room.show(rtx_3090(temperature=95), times=3)
    room.nvml.error = DriverMismatchError("versions differ.", remedy="restart.")

    failed = room.again(5)
    reads = room.nvml.reads

    assert kinds(failed) == [("Raised", "unreadable")]
    assert isinstance(failed[0], GpuAlertRaised)
    assert failed[0].what == "no card can be read: versions differ."
    assert failed[0].remedy == "restart."
    assert room.monitor.error is room.nvml.error
    assert reads == 8
    # What was known of the card stays: nobody said that it cooled.
    assert [a.kind for a in room.monitor.alerts] == ["temperature", "unreadable"]
    assert room.monitor.latest is not None

    room.nvml.error = None
    assert kinds(room.again(2)) == [("Cleared", "unreadable")]
    assert room.monitor.error is None


def test_every_alert_can_be_turned_off() -> None:
    nothing = AlertThresholds(
        temperature=None,
        vram=None,
        throttling=None,
        wrong_card=None,
        foreign_process=None,
        unreadable=None,
    )
    room = Room(thresholds=nothing)
    bad = replace(
        rtx_3090(
            temperature=99, memory_used=24_000 * MIB, processes=(process("python3"),)
        ),
        throttle_reasons=("hw_slowdown",),
        utilization=100,
    )
    room.nvml.unreadable = (UnreadableGpu(index=2, reason="lost"),)

    assert room.show(rtx_5060_ti(processes=(process("python3"),)), bad, times=9) == []
    room.nvml.error = DriverMismatchError("x.", remedy="y.")
    assert room.again(9) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Threshold(raise_at=80, clear_at=90),
        lambda: Threshold(raise_at=80, clear_at=80),
        lambda: Threshold(raise_at=float("nan"), clear_at=80),
        lambda: AlertThresholds(wrong_card=-3),
        lambda: AlertThresholds(throttling=0),
        lambda: Threshold(raise_at=80, clear_at=70, samples=0),
        lambda: GpuMonitor(interval=0),
        lambda: GpuMonitor(interval=float("nan")),
        lambda: GpuMonitor(interval=float("inf")),
        lambda: GpuMonitor(keep=0),
    ],
)
def test_what_could_never_work_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InvalidRequestError):
        wrong()


READINGS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(70, 100)),
        st.booleans(),
        st.sampled_from([None, (), (process("a"),), (process("b", pid=STRANGER + 1),)]),
        st.sampled_from(["read", "read", "lost", "missing", "failed"]),
    ),
    max_size=60,
)


@given(READINGS)
def test_alerts_are_raised_and_cleared_in_turns(readings: list[Any]) -> None:
    """Whatever happens: what was raised and not cleared is what stands."""
    room = Room()
    for degrees, is_slow, processes, how in readings:
        card = replace(
            rtx_3090(),
            temperature=degrees,
            throttle_reasons=("hw_slowdown",) if is_slow else (),
            processes=processes,
        )
        room.nvml.error = (
            DriverMismatchError("x.", remedy="y.") if how == "failed" else None
        )
        lost = (UnreadableGpu(index=1, reason="lost"),) if how == "lost" else ()
        room.nvml.unreadable = lost
        room.show(*([card] if how == "read" else []))

    open_ones: Counter[tuple[str, str]] = Counter()
    for event in room.events:
        assert isinstance(event, GpuAlertRaised | GpuAlertCleared)
        step = 1 if isinstance(event, GpuAlertRaised) else -1
        open_ones[event.kind, event.uuid] += step
        # Two processes at most are on the card.
        assert 0 <= open_ones[event.kind, event.uuid] <= 2
    standing = Counter((alert.kind, alert.uuid) for alert in room.monitor.alerts)
    assert +open_ones == standing


@pytest.mark.parametrize("is_hot", [False, True])
@given(st.lists(st.one_of(st.none(), st.integers(84, 87)), max_size=40))
def test_between_the_thresholds_nothing_ever_happens(
    is_hot: bool,  # noqa: FBT001 - hypothesis takes no keyword-only parameters
    degrees: list[int | None],
) -> None:
    room = Room()
    room.show(rtx_3090(temperature=95 if is_hot else 60), times=3)
    told = len(room.events)

    for one in degrees:
        room.show(replace(rtx_3090(), temperature=one))

    assert len(room.events) == told == int(is_hot)


class Steps:
    """NVML in memory that lets a test wait for reads of a thread."""

    def __init__(self, *cards: Gpu) -> None:
        self.nvml = FakeNvml(*cards)
        self.many = threading.Semaphore(0)

    def read(self) -> Inventory:
        self.many.release()
        return self.nvml.read()

    def wait_for(self, reads: int) -> None:
        for _ in range(reads):
            assert self.many.acquire(timeout=30)


def test_a_thread_reads_until_it_is_stopped() -> None:
    steps = Steps(rtx_3090())

    with GpuMonitor(nvml=steps, interval=0.001) as monitor:
        steps.wait_for(5)
        was_running = monitor.is_running
    reads = steps.nvml.reads

    assert was_running
    assert not monitor.is_running
    assert not [t for t in threading.enumerate() if t.name.endswith("gpu-monitor")]
    assert steps.nvml.reads == reads
    assert len(monitor.samples(rtx_3090().uuid)) >= 4


def test_it_can_be_started_again_and_never_twice() -> None:
    steps = Steps(rtx_3090())
    monitor = GpuMonitor(nvml=steps, interval=0.001)

    monitor.stop()
    for _ in range(2):
        monitor.start()
        monitor.start()
        steps.wait_for(2)
        named = [t for t in threading.enumerate() if t.name.endswith("gpu-monitor")]
        assert len(named) == 1
        monitor.stop()
        monitor.stop()


def test_a_monitor_that_nobody_has_any_more_ends_its_thread() -> None:
    steps = Steps(rtx_3090())
    monitor = GpuMonitor(nvml=steps, interval=0.001)
    monitor.start()
    steps.wait_for(2)
    (thread,) = [t for t in threading.enumerate() if t.name.endswith("gpu-monitor")]

    del monitor
    gc.collect()
    thread.join(30)

    assert not thread.is_alive()


def test_a_listener_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: Event) -> None:
        message = "private words"
        raise RuntimeError(message)

    steps = Steps(rtx_3090(temperature=95))
    with caplog.at_level(logging.WARNING, "model_manager.gpu"):  # noqa: SIM117 - in turn
        with GpuMonitor(nvml=steps, interval=0.001, listener=fail) as monitor:
            steps.wait_for(10)
            assert monitor.is_running

    assert "a listener failed on GpuAlertRaised: RuntimeError" in caplog.text
    assert "private words" not in caplog.text


def test_a_reading_that_breaks_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Steps):
        @override
        def read(self) -> Inventory:
            super().read()
            raise ZeroDivisionError

    steps = Broken()
    with caplog.at_level(logging.WARNING, "model_manager.gpu"):  # noqa: SIM117 - in turn
        with GpuMonitor(nvml=steps, interval=0.001) as monitor:
            steps.wait_for(5)
            assert monitor.is_running

    assert "could not be watched: ZeroDivisionError" in caplog.text


def test_a_listener_may_stop_the_monitor() -> None:
    steps = Steps(rtx_3090(temperature=95))
    monitor = GpuMonitor(nvml=steps, interval=0.001, listener=lambda _: monitor.stop())

    monitor.start()
    (thread,) = [t for t in threading.enumerate() if t.name.endswith("gpu-monitor")]
    thread.join(30)

    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_in_a_forked_child_it_rests_until_it_is_started(
    tmp_path: Path, standin_libraries: Path
) -> None:
    machine = machine_file(tmp_path / "machine", [rtx_5060_ti(), rtx_3090()])
    code = """
import json, os, time
from model_manager.gpu.monitor import GpuMonitor
found = []
with GpuMonitor(interval=0.001) as monitor:
    while monitor.latest is None:
        time.sleep(0.001)
    for _ in range(10):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            was_running, known = monitor.is_running, len(monitor.latest.gpus)
            events = monitor.tick()
            monitor.start()
            runs = monitor.is_running
            monitor.stop()
            text = json.dumps([was_running, known, runs, monitor.is_running])
            os.write(write, text.encode())
            os._exit(0)
        os.waitpid(child, 0)
        found.append(json.loads(os.read(read, 999)))
    found.append(monitor.is_running)
print(json.dumps(found))
"""

    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment(standin_libraries, machine),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[False, 2, True, False]] * 10 + [True]


def test_alerts_are_written_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(listener=EventLog())

    with caplog.at_level(logging.DEBUG, "model_manager.events"):
        room.show(rtx_3090(temperature=95), times=3)
        room.show(rtx_3090(temperature=60), times=3)

    raised, cleared = caplog.records
    assert raised.levelno == logging.WARNING
    assert "GpuAlertRaised kind=temperature" in raised.getMessage()
    assert cleared.levelno == logging.INFO
    assert "seconds=3.000" in cleared.getMessage()


def test_a_policy_of_another_team_decides_who_may_work() -> None:
    policy = GpuPolicy(
        name="H200",
        cards=(
            CardModel(
                names=frozenset({"NVIDIA H200"}),
                pci_device_ids=frozenset({0x2335}),
                compute_capability=(9, 0),
                min_memory=140_000 * MIB,
            ),
        ),
    )
    room = Room(policy=policy)
    held = (process("ollama"),)

    events = room.show(h200(processes=held), rtx_3090(processes=held), times=2)

    assert kinds(events) == [("Raised", "wrong_card")]
    assert room.monitor.alerts[0].uuid == rtx_3090().uuid


def test_watching_costs_little_more_than_reading(
    tmp_path: Path, standin_libraries: Path
) -> None:
    machine = machine_file(tmp_path / "machine", [rtx_5060_ti(), rtx_3090()])
    code = """
import time
from model_manager.gpu import this_machine
from model_manager.gpu.monitor import GpuMonitor
nvml = this_machine().nvml
monitor = GpuMonitor(nvml=nvml)
def cpu(call):
    call()
    began = time.process_time()
    for _ in range(300):
        call()
    return time.process_time() - began
print(cpu(monitor.tick) / cpu(nvml.read))
"""

    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", code],
        env=environment(standin_libraries, machine),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert float(done.stdout) < 3
