"""The peers, each in a process of its own, and what is measured of them in turns."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from rig import PROMPT, ask_server

_SHORT, _LONG = 1, 201
_FEW_PIECES = 20
_SETTLING = 5
_BATCH_SECONDS = 10.0

Figures = dict[str, float]
Rows = dict[str, Figures]
"""Name of a client -> figures, by name."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One client to measure."""

    name: str
    module: str
    variant: str
    by_hand: str
    """The client by hand that speaks the same protocol."""
    falls_back: bool = False
    environment: str | None = None
    """Where it is installed, if it cannot share ours."""
    only: str = ""
    """The one section that it takes part in; empty for all."""


BY_HAND = "aiohttp by hand"
SDK = "openai SDK"
OURS = "model_manager, openai"
PEERS = (
    Peer(BY_HAND, "by_hand", "aiohttp-openai", BY_HAND),
    Peer("httpx2 by hand", "by_hand", "httpx2-openai", BY_HAND),
    Peer("openai SDK, aiohttp transport", "openai_sdk", "aiohttp", BY_HAND),
    Peer(SDK, "openai_sdk", "own", BY_HAND),
    Peer(
        "pydantic-ai FallbackModel",
        "pydantic_ai_fallback",
        "",
        BY_HAND,
        falls_back=True,
        environment="pydantic_ai",
    ),
    Peer(
        "LangChain with_fallbacks",
        "langchain_fallback",
        "",
        BY_HAND,
        falls_back=True,
        environment="langchain",
    ),
    Peer(
        "LiteLLM Router",
        "litellm_router",
        "",
        BY_HAND,
        falls_back=True,
        environment="litellm",
    ),
    Peer(OURS, "ours", "openai", BY_HAND, falls_back=True),
    Peer(
        "model_manager, openai, attempts_per_candidate 1",
        "ours",
        "openai-once",
        BY_HAND,
        falls_back=True,
        only="first",
    ),
    Peer(
        "model_manager, openai, no ledger",
        "ours",
        "openai-off",
        BY_HAND,
        falls_back=True,
        only="calls",
    ),
    Peer(
        "aiohttp by hand, anthropic",
        "by_hand",
        "aiohttp-anthropic",
        "aiohttp by hand, anthropic",
    ),
    Peer("anthropic SDK", "anthropic_sdk", "", "aiohttp by hand, anthropic"),
    Peer(
        "model_manager, anthropic",
        "ours",
        "anthropic",
        "aiohttp by hand, anthropic",
        falls_back=True,
    ),
    Peer(
        "aiohttp by hand, ollama",
        "by_hand",
        "aiohttp-ollama",
        "aiohttp by hand, ollama",
    ),
    Peer(
        "model_manager, ollama",
        "ours",
        "ollama",
        "aiohttp by hand, ollama",
        falls_back=True,
    ),
)


class Driver:
    """A client's process; one command at a time."""

    def __init__(
        self, peer: Peer, process: subprocess.Popen[str], address: str
    ) -> None:
        """Take a process that somebody else ends."""
        self.peer = peer
        self._process = process
        self._address = address

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have a command done; raises `RuntimeError` with what the client says."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return _value(self._process)

    def open(self, key: str, shape: str, *, spare: str = "s1") -> None:
        """Open a client whose primary answers in this shape."""
        at = self._address
        self.ask(
            "open",
            key=key,
            root=f"{at}/{shape}",
            spare=f"{at}/{spare}",
            prompt=PROMPT,
        )

    def run(self, key: str, kind: str, count: int, **more: object) -> dict[str, float]:
        """Make calls and return what each took; see `drivers/driver.py`."""
        return self.ask("run", key=key, kind=kind, count=count, **more)


def _value(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read one answer; libraries may print lines of their own in between."""
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith("{"):
            continue
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("value") or {}
    message = "the process ended"
    raise RuntimeError(message)


def ready(process: subprocess.Popen[str]) -> None:
    """Wait until a driver is ready; raises `RuntimeError` with why it is not."""
    _value(process)


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a driver until the block ends."""
    with subprocess.Popen(  # noqa: S603 - our own script
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@dataclass(frozen=True, slots=True)
class Course:
    """One run: who takes part, where, how thoroughly."""

    drivers: tuple[Driver, ...]
    address: str
    rounds: int
    share: float
    """Of the calls of a thorough run."""
    programs: Mapping[str, Sequence[str]]
    """Name of a client -> the command that runs its driver."""

    def count(self, calls: int) -> int:
        """Return how many calls a batch has."""
        return max(round(calls * self.share), 3)

    def in_turns(
        self,
        prepare: Callable[[Driver], object],
        measure: Callable[[Driver], Figures],
        *,
        among: Sequence[Driver] = (),
    ) -> Rows:
        """Return each client's medians over the rounds, all of them in turns.

        Turns, because a noisy machine must not fall on one competitor alone.
        """
        found: dict[str, list[Figures]] = {}
        left = [d for d in among or self.drivers if _managed(d, prepare) is not None]
        for _ in range(self.rounds):
            for driver in tuple(left):
                figures = _managed(driver, measure)
                if figures is None:
                    left.remove(driver)
                    found.pop(driver.peer.name, None)
                else:
                    found.setdefault(driver.peer.name, []).append(figures)
        return {name: _medians(rounds) for name, rounds in found.items()}

    def with_drivers(self, drivers: Sequence[Driver]) -> Course:
        """Return the same course with these clients."""
        return replace(self, drivers=tuple(drivers))

    @property
    def chains(self) -> tuple[Driver, ...]:
        """The clients that have a fallback."""
        return tuple(d for d in self.drivers if d.peer.falls_back)


def _managed(driver: Driver, step: Callable[[Driver], object]) -> Any:
    """Return what a step gives, or `None` after a line that says how it failed."""
    try:
        return step(driver) or {}
    except RuntimeError as error:
        print(f"left out: {driver.peer.name} ({error})")
        return None


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {key: median(one[key] for one in rounds) for key in rounds[0]}


def whole_answers(course: Course) -> Rows:
    """Measure whole answers, one after another and many at once."""

    def prepare(driver: Driver) -> None:
        driver.open("s1", "s1")
        driver.run("s1", "whole", course.count(100))
        driver.ask("settle")

    def measure(driver: Driver) -> Figures:
        alone = driver.run("s1", "whole", course.count(300), seconds=_BATCH_SECONDS)
        figures = {"cpu": alone["cpu"], "wall": alone["one"]}
        for at_once in (64, 256):
            crowd = driver.run(
                "s1",
                "whole",
                max(course.count(1_024), at_once * 2),
                at_once=at_once,
                seconds=_BATCH_SECONDS,
            )
            figures[f"cpu_{at_once}"] = crowd["cpu"]
            figures[f"rate_{at_once}"] = 1e6 / crowd["wall"]
        return figures

    return course.in_turns(prepare, measure)


def streams(course: Course) -> Rows:
    """Measure a streamed piece, and the time to the first one."""

    def prepare(driver: Driver) -> None:
        for pieces in (_SHORT, _FEW_PIECES, _LONG):
            key = f"stream{pieces}"
            driver.open(key, f"s{pieces}")
            driver.run(key, "pieces", course.count(20))
        driver.ask("settle")

    def measure(driver: Driver) -> Figures:
        short = driver.run(f"stream{_SHORT}", "pieces", course.count(60))
        few = driver.run(f"stream{_FEW_PIECES}", "pieces", course.count(60))
        long = driver.run(f"stream{_LONG}", "pieces", course.count(30))
        piece = (long["cpu"] - short["cpu"]) / (_LONG - _SHORT)
        return {"piece": piece, "first": few["first"]}

    return course.in_turns(prepare, measure)


def steady_failover(course: Course) -> Rows:
    """Measure calls whose primary always fails, once the client has settled."""

    def prepare(driver: Driver) -> None:
        driver.open("healthy", "s1")
        driver.open("broken", "fail")
        driver.run("healthy", "whole", course.count(100))
        driver.ask("settle")

    def measure(driver: Driver) -> Figures:
        many = course.count(300)
        driver.run("broken", "whole", _SETTLING)
        good = driver.run("healthy", "whole", many, seconds=_BATCH_SECONDS)
        bad = driver.run("broken", "whole", many, seconds=_BATCH_SECONDS)
        return {
            "healthy_cpu": good["cpu"],
            "broken_cpu": bad["cpu"],
            "healthy": good["one"],
            "broken": bad["one"],
        }

    return course.in_turns(prepare, measure, among=course.chains)


def first_failover(course: Course) -> Rows:
    """Measure one call that meets a 500 where all was well before."""
    by_hand = next(d for d in course.drivers if d.peer.name == BY_HAND)
    by_hand.open("trip", "s1")

    def prepare(driver: Driver) -> None:
        driver.open("breaks", "b")
        driver.run("breaks", "whole", course.count(50))

    def measure(driver: Driver) -> Figures:
        good = driver.run("breaks", "whole", 7)["one"]
        ask_server(course.address, "switch/on")
        bad = driver.run("breaks", "whole", 1)["one"]
        ask_server(course.address, "switch/off")
        trip = by_hand.run("trip", "whole", 7)["one"]
        return {"healthy": good, "first": bad, "trip": trip}

    return course.in_turns(prepare, measure, among=course.chains)


def memory(course: Course, calls: int) -> Rows:
    """Count memory and descriptors over many calls, half of them streams."""

    def prepare(driver: Driver) -> None:
        driver.open("memory", f"s{_FEW_PIECES}")
        driver.run("memory", "mixed", calls // 10, at_once=8, seconds=600)

    def measure(driver: Driver) -> Figures:
        before = driver.ask("figures")
        driver.run("memory", "mixed", calls, at_once=8, seconds=600)
        after = driver.ask("figures")
        return {
            "rss": before["rss"],
            "grown": after["rss"] - before["rss"],
            "fds": before["fds"],
            "fds_after": after["fds"],
        }

    return replace(course, rounds=1).in_turns(prepare, measure)


def cold_starts(course: Course) -> Rows:
    """Measure fresh processes until their first answer."""
    rows: dict[str, list[Figures]] = {}
    runs = [(d.peer.name, d, False) for d in course.drivers]
    runs += [
        (f"{d.peer.name}, warmed", d, True)
        for d in course.drivers
        if d.peer.module == "ours"
    ]
    for _ in range(course.rounds):
        for name, driver, warmed in runs:
            found = _cold(course, driver, warmed=warmed)
            if found is not None:
                rows.setdefault(name, []).append(found)
    return {name: _medians(found) for name, found in rows.items()}


def _cold(course: Course, driver: Driver, *, warmed: bool) -> Figures | None:
    root = f"{course.address}/s1"
    setup = {"root": root, "spare": root, "prompt": PROMPT, "warmed": warmed}
    command = [*course.programs[driver.peer.name], json.dumps(setup)]
    began = time.perf_counter()
    with started(command) as process:
        try:
            value = _value(process)
        except RuntimeError:
            return None
        return {**value, "wall": (time.perf_counter() - began) * 1e6}
