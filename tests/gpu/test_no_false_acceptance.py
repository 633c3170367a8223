"""Over random machines and variables: what the guard accepts, CUDA really gives.

The driver's libraries are stand-ins in C, read through the real nvidia-ml-py and
ctypes; the one for CUDA applies the variables by itself, and is the judge here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import standins
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from standins import Card

from model_manager.gpu import Gpu, GpuPolicy, gpu_environment
from model_manager.testing import (
    h200,
    rtx_3090,
    rtx_3090_ti,
    rtx_4090,
    rtx_5060_ti,
)

KINDS = (rtx_3090, rtx_3090, rtx_3090, rtx_3090_ti, rtx_4090, rtx_5060_ti, h200)
ALLOCATOR = "max_split_size_mb:1024"
UUIDS = tuple(
    f"GPU-{start}-1111-2222-3333-444444444444"
    for start in ("00000000", "0000000f", "aaaaaaaa", "bbbbbbbb", "cccccccc")
)


@dataclass
class Worker:
    """A process that judges machines under the stand-ins."""

    process: subprocess.Popen[str]
    folder: Path

    def judge(
        self, cards: list[Card], environ: dict[str, str], *, ask_cuda: bool, **more: Any
    ) -> dict[str, Any]:
        machine = standins.machine_file(self.folder / "machine", cards, **more)
        line = {"machine": str(machine), "environ": environ, "ask_cuda": ask_cuda}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def worker(
    standin_libraries: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("machines")
    script = Path(standins.__file__).with_name("guard_worker.py")
    environ = standins.environment(standin_libraries, folder / "machine")
    with subprocess.Popen(  # noqa: S603 - our own interpreter and script
        [sys.executable, str(script)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Worker(process, folder)
        assert process.stdin is not None
        process.stdin.close()


@st.composite
def machines(draw: st.DrawFn, *, least: int = 0) -> list[Card]:
    """Draw up to four cards, some of them not what they say, in any order and place."""
    count = draw(st.integers(least, 4))
    buses = draw(
        st.lists(st.integers(1, 200), min_size=count, max_size=count, unique=True)
    )
    uuids = draw(
        st.lists(st.sampled_from(UUIDS), min_size=count, max_size=count, unique=True)
    )
    cards = []
    for index, (bus, uuid) in enumerate(zip(buses, uuids, strict=True)):
        gpu = draw(st.sampled_from(KINDS))(
            index=index, uuid=uuid, bus=f"00000000:{bus:02X}:00.0"
        )
        lies = draw(st.sampled_from(("no",) * 6 + ("name", "memory")))
        if lies == "name":
            gpu = replace(gpu, name="NVIDIA GeForce RTX 3090")
        elif lies == "memory":
            gpu = replace(gpu, memory_total=8 * 1024**3)
        state = draw(st.sampled_from(("well",) * 8 + ("lost", "unknown")))
        speed = draw(st.sampled_from((None, None, 1, 99)))
        cards.append(
            Card(
                gpu=gpu,
                lost=state == "lost",
                unknown=state == "unknown",
                speed=speed,
            )
        )
    return cards


WORDS = st.one_of(
    st.integers(-2, 5).map(str),
    st.sampled_from(UUIDS),
    st.sampled_from(UUIDS).map(str.upper),
    st.sampled_from(UUIDS).flatmap(
        lambda uuid: st.integers(3, 12).map(lambda end: uuid[:end])
    ),
    st.sampled_from(("", " ", "0x1", "1.0", "+1", "00", "MIG-1", "junk", "1gpu")),
    st.text(alphabet="01-,GPUabcf ", max_size=6),
)
VALUES = st.one_of(
    st.none(),
    WORDS,
    st.lists(WORDS, min_size=2, max_size=3).map(",".join),
)
ORDERS = st.sampled_from((*("PCI_BUS_ID",) * 4, None, "FASTEST_FIRST", "pci_bus_id"))


def is_the_card(gpu: Gpu) -> bool:
    """Return whether a card is an RTX 3090, by what it is and not by what it says."""
    return gpu.pci_device_id == rtx_3090().pci_device_id and gpu.memory_total == (
        rtx_3090().memory_total
    )


def environ_of(value: str | None, order: str | None) -> dict[str, str]:
    named = {
        "CUDA_VISIBLE_DEVICES": value,
        "CUDA_DEVICE_ORDER": order,
        "PYTORCH_CUDA_ALLOC_CONF": ALLOCATOR,
    }
    return {name: said for name, said in named.items() if said is not None}


@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cards=machines(),
    value=VALUES,
    order=ORDERS,
    ask_cuda=st.sampled_from((False, False, True)),
)
def test_no_card_is_accepted_but_the_one_that_cuda_gives(
    cards: list[Card],
    value: str | None,
    order: str | None,
    *,
    ask_cuda: bool,
    worker: Worker,
) -> None:
    answer = worker.judge(cards, environ_of(value, order), ask_cuda=ask_cuda)

    event(f"accepted: {answer['passed']}")
    if answer["passed"]:
        truth = [card.gpu for card in cards if card.gpu.uuid in answer["shown"]]
        assert len(answer["shown"]) == 1
        assert is_the_card(truth[0]), answer["text"]


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cards=machines(least=2), number=st.integers(0, 3))
def test_a_number_means_the_place_on_the_bus_whatever_nvml_counts(
    cards: list[Card], number: int, worker: Worker
) -> None:
    environ = environ_of(str(number), "PCI_BUS_ID")

    answer = worker.judge(cards, environ, ask_cuda=False)

    event(f"accepted: {answer['passed']}")
    if answer["passed"]:
        truth = [card.gpu for card in cards if card.gpu.uuid in answer["shown"]]
        assert [is_the_card(gpu) for gpu in truth] == [True], answer["text"]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cards=machines(), data=st.data())
def test_the_card_named_by_its_uuid_is_never_refused(
    cards: list[Card], data: st.DataObject, worker: Worker
) -> None:
    mine = rtx_3090(
        uuid="GPU-dddddddd-1111-2222-3333-444444444444", bus="00000000:F0:00.0"
    )
    place = data.draw(st.integers(0, len(cards)))
    cards.insert(place, Card(gpu=mine))
    policy = GpuPolicy(uuid=mine.uuid)

    answer = worker.judge(
        cards,
        gpu_environment(policy),
        ask_cuda=data.draw(st.booleans()),
    )

    assert answer["passed"], answer["text"]
    assert answer["shown"] == [mine.uuid]
