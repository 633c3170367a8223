"""The stand-in for CUDA, against the table of what real drivers do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standins import Card, environment, machine_file

from model_manager.gpu import Gpu
from model_manager.testing import h200, rtx_3090, rtx_5060_ti

ASK = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
context, count = ctypes.c_void_p(), ctypes.c_int(-1)
before = cuda.cuCtxGetCurrent(ctypes.byref(context))
code = cuda.cuInit(0)
cuda.cuDeviceGetCount(ctypes.byref(count))
shown = []
for place in range(max(0, count.value)):
    ids = []
    for function in (cuda.cuDeviceGetUuid, cuda.cuDeviceGetUuid_v2):
        uuid = (ctypes.c_ubyte * 16)()
        assert function(uuid, place) == 0
        ids.append(bytes(uuid).hex())
    shown.append(ids)
print(json.dumps({"before": before, "code": code, "shown": shown}))
"""
SMALL, BIG = rtx_5060_ti(), rtx_3090()
TWICE = ("0,0", f"{BIG.uuid},{BIG.uuid[:8]}")
Show = Callable[..., Any]


@pytest.fixture
def show(tmp_path: Path, standin_libraries: Path) -> Show:
    def ask(*cards: Gpu | Card, order: str | None = "PCI_BUS_ID", **facts: Any) -> Any:
        value = facts.pop("visible", None)
        machine = machine_file(tmp_path / "machine", cards or (SMALL, BIG), **facts)
        named = {"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": order}
        environ = environment(standin_libraries, machine)
        environ |= {name: text for name, text in named.items() if text is not None}
        done = subprocess.run(  # noqa: S603 - our own text
            [sys.executable, "-S", "-E", "-c", ASK],
            env=environ,
            capture_output=True,
            check=True,
        )
        return json.loads(done.stdout)

    return ask


def digits(uuid: str) -> str:
    return uuid.partition("-")[2].replace("-", "")


def cards(found: Any) -> list[str]:
    names = {digits(SMALL.uuid): "small", digits(BIG.uuid): "big"}
    return [names[card] for card, _ in found["shown"]]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ["small", "big"]),
        ("", []),
        ("0", ["small"]),
        ("1", ["big"]),
        (" 1", ["big"]),
        ("1,0", ["big", "small"]),
        ("0,2,-1,1", ["small"]),
        ("-1", []),
        ("NoDevFiles", []),
        ("5", []),
        (TWICE[0], []),
        ("1gpu2", ["big"]),
        (BIG.uuid, ["big"]),
        (BIG.uuid[:8], ["big"]),
        (BIG.uuid.upper(), ["big"]),
        ("GPU-", []),
        (f"{SMALL.uuid},{BIG.uuid}", ["small", "big"]),
        (TWICE[1], []),
        (f" {BIG.uuid}", []),
        (f"{BIG.uuid},0", ["big"]),
        (f"0,{BIG.uuid}", ["small"]),
        (BIG.uuid.removeprefix("GPU-"), []),
        ("MIG-1", []),
    ],
)
def test_the_table_of_visible_devices(
    show: Show, value: str | None, shown: list[str]
) -> None:
    found = show(visible=value)

    assert cards(found) == shown
    assert found["before"] == 3
    # A card that is named twice is an error of its own, as was seen on a real one.
    missing = 101 if value in TWICE else 100
    assert found["code"] == (0 if shown else missing)


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST", "pci_bus_id"])
def test_without_the_order_of_the_bus_the_fastest_is_first(
    show: Show, order: str | None
) -> None:
    assert cards(show(order=order, visible="1")) == ["small"]
    slow = Card(gpu=BIG, speed=1)
    assert cards(show(SMALL, slow, order=order, visible="1")) == ["big"]


def test_the_order_of_the_bus_is_not_that_of_nvml(show: Show) -> None:
    first = replace(BIG, pci_bus_id="00000000:0A:00.0")
    second = replace(SMALL, pci_bus_id="00000000:0B:00.0")

    assert cards(show(second, first, visible="0")) == ["big"]


def test_a_card_that_the_driver_does_not_know_is_not_counted(show: Show) -> None:
    assert cards(show(Card(gpu=SMALL, unknown=True), BIG, visible="1")) == []
    assert cards(show(Card(gpu=SMALL, unknown=True), BIG, visible="0")) == ["big"]


def test_a_driver_that_fails_starts_nothing(show: Show) -> None:
    found = show(cuda_error=999)

    assert found["code"] == 999
    assert found["shown"] == []


IDS = tuple(f"MIG-{n}0000000-1111-5222-8333-444444444444" for n in range(2))
DIVIDED = replace(h200(), mig_enabled=True, mig_uuids=IDS)


@pytest.mark.parametrize(
    ("value", "instance"),
    [
        (None, 0),
        ("0", 0),
        (IDS[1], 1),
        (f"MIG-{DIVIDED.uuid}/1/0", 1),
        (f"{IDS[1]},{IDS[0]}", 1),
    ],
)
def test_of_a_divided_card_one_instance_is_shown(
    show: Show, value: str | None, instance: int
) -> None:
    found = show(DIVIDED, visible=value)

    assert found["shown"] == [[digits(DIVIDED.uuid), digits(IDS[instance])]]
