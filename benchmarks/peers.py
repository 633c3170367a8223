"""What a call costs beside the peers: side by side, interleaved, one table a figure.

python benchmarks/peers.py --install DIR          # environments for the peers, once
python benchmarks/peers.py --peers DIR            # everything
python benchmarks/peers.py --peers DIR --quick    # a first look

Every client runs in a process of its own (`drivers/`) and takes its turn in every
round; a peer that is not installed is left out with a line that says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from venv import EnvBuilder

from course import (
    BY_HAND,
    PEERS,
    SDK,
    Course,
    Driver,
    Figures,
    Peer,
    Rows,
    cold_starts,
    first_failover,
    memory,
    ready,
    started,
    steady_failover,
    streams,
    whole_answers,
)
from rig import ask_server, print_table, running_server

_DRIVER = Path(__file__).parent / "drivers" / "driver.py"
_REQUIREMENTS = {
    "pydantic_ai": "pydantic-ai-slim[openai]",
    "langchain": "langchain-openai",
    "litellm": "litellm",
}
_ROUNDS, _QUICK_ROUNDS = 7, 3
_QUICK_SHARE = 0.2
_MEMORY_CALLS = 20_000

Cells = Callable[[str, Figures, Rows], list[str]]


def ratio(value: float, rows: Rows, name: str, key: str) -> str:
    """Return a figure as a multiple of another client's."""
    other = rows.get(name, {}).get(key)
    return f"{value / other:.2f}" if other else "-"


def whole_cells(name: str, own: Figures, rows: Rows) -> list[str]:
    """One after another, and many at once."""
    hand = _by_hand(name)
    return [
        f"{own['cpu']:,.0f}",
        ratio(own["cpu"], rows, SDK, "cpu"),
        ratio(own["cpu"], rows, hand, "cpu"),
        f"{own['cpu_64']:,.0f}",
        f"{own['rate_64']:,.0f}",
        f"{own['cpu_256']:,.0f}",
        f"{own['rate_256']:,.0f}",
        ratio(own["rate_256"], rows, SDK, "rate_256"),
        ratio(own["rate_256"], rows, hand, "rate_256"),
    ]


_WHOLE_HEAD = (
    "CPU, µs",
    "of the SDK's",
    "of aiohttp's",
    "CPU, 64 at once",
    "calls/s, 64",
    "CPU, 256 at once",
    "calls/s, 256",
    "of the SDK's",
    "of aiohttp's",
)


def stream_cells(name: str, own: Figures, rows: Rows) -> list[str]:
    """A streamed piece and the first one."""
    hand = _by_hand(name)
    added = own["first"] - rows.get(hand, {}).get("first", float("nan"))
    return [
        f"{own['piece']:.1f}",
        ratio(own["piece"], rows, SDK, "piece"),
        ratio(own["piece"], rows, hand, "piece"),
        f"{own['first'] / 1e3:.2f}",
        f"{added / 1e3:.2f}",
    ]


_STREAM_HEAD = (
    "CPU a piece, µs",
    "of the SDK's",
    "of aiohttp's",
    "first piece, ms",
    "added to aiohttp's, ms",
)


def steady_cells(_name: str, own: Figures, _rows: Rows) -> list[str]:
    """A primary that always fails."""
    return [
        f"{own['healthy_cpu']:,.0f}",
        f"{own['broken_cpu']:,.0f}",
        f"{own['broken_cpu'] / own['healthy_cpu']:.2f}",
        f"{own['healthy'] / 1e3:.2f}",
        f"{own['broken'] / 1e3:,.2f}",
        f"{own['broken'] / own['healthy']:,.2f}",
    ]


_STEADY_HEAD = (
    "healthy CPU, µs",
    "settled CPU, µs",
    "ratio",
    "healthy, ms",
    "settled, ms",
    "ratio",
)


def first_cells(_name: str, own: Figures, _rows: Rows) -> list[str]:
    """The first call that meets a 500."""
    extra = own["first"] - own["healthy"] - own["trip"]
    return [
        *(f"{own[key] / 1e3:,.2f}" for key in ("healthy", "first", "trip")),
        f"{extra / 1e3:,.2f}",
    ]


_FIRST_HEAD = (
    "healthy, ms",
    "with a 500, ms",
    "a round trip, ms",
    "beyond healthy and a round trip, ms",
)


def memory_cells(_name: str, own: Figures, _rows: Rows) -> list[str]:
    """Memory and descriptors."""
    return [
        f"{own['rss'] / 1024:,.1f}",
        f"{own['grown']:,.0f}",
        f"{own['fds']:.0f}",
        f"{own['fds_after']:.0f}",
    ]


_MEMORY_HEAD = (
    "resident, MB",
    "grown, KB",
    "descriptors before",
    "descriptors after",
)


def cold_cells(_name: str, own: Figures, rows: Rows) -> list[str]:
    """Fresh processes."""
    return [
        f"{own['cpu'] / 1e3:,.0f}",
        ratio(own["cpu"], rows, SDK, "cpu"),
        f"{own['wall'] / 1e3:,.0f}",
        ratio(own["wall"], rows, SDK, "wall"),
        f"{own['call_cpu'] / 1e3:,.1f}",
        ratio(own["call_cpu"], rows, SDK, "call_cpu"),
    ]


_COLD_HEAD = (
    "CPU, ms",
    "of the SDK's",
    "wall, ms",
    "of the SDK's",
    "CPU of the first call alone, ms",
    "of the SDK's",
)

_SECTIONS: dict[str, tuple[str, Callable[[Course], Rows], tuple[str, ...], Cells]] = {
    "calls": (
        "Whole answers: one after another, 64 and 256 at once",
        whole_answers,
        _WHOLE_HEAD,
        whole_cells,
    ),
    "streams": ("Streams", streams, _STREAM_HEAD, stream_cells),
    "steady": (
        "The primary always fails: a call once the client has settled",
        steady_failover,
        _STEADY_HEAD,
        steady_cells,
    ),
    "first": (
        "The first call that meets a 500",
        first_failover,
        _FIRST_HEAD,
        first_cells,
    ),
    "cold": (
        "A fresh process to its first answer",
        cold_starts,
        _COLD_HEAD,
        cold_cells,
    ),
    "memory": (
        "Memory and descriptors over many calls",
        lambda course: memory(course, course.count(_MEMORY_CALLS)),
        _MEMORY_HEAD,
        memory_cells,
    ),
}


def _by_hand(name: str) -> str:
    found = next((p.by_hand for p in PEERS if p.name == name), None)
    return found or BY_HAND


def install(folder: Path) -> None:
    """Make an environment for each peer that cannot share ours."""
    for name, requirement in _REQUIREMENTS.items():
        place = folder / name
        EnvBuilder(with_pip=True).create(place)
        command = [_python_in(place), "-m", "pip", "install", "-q", requirement]
        subprocess.run(command, check=True)  # noqa: S603 - our own list
        print(f"{requirement}: {place}")


def _python_in(place: Path) -> str:
    return str(place / "bin" / "python")


def programs(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command that runs each chosen client's driver."""
    given = dict(pair.split("=", 1) for pair in options.python)
    found = {}
    for peer in PEERS:
        if any(word in peer.name for word in options.without):
            continue
        python = given.get(peer.environment or "ours", sys.executable)
        if peer.environment and peer.environment not in given:
            if options.peers is None:
                print(f"left out: {peer.name} (not installed; see --install)")
                continue
            python = _python_in(options.peers / peer.environment)
        found[peer.name] = [python, str(_DRIVER), peer.module, peer.variant]
    return found


@contextmanager
def everybody(course: Course, section: str) -> Iterator[Course]:
    """Start the drivers of a section; those that cannot start are left out."""
    with ExitStack() as stack:
        drivers = []
        for peer in PEERS:
            if peer.name in course.programs and peer.only in {"", section}:
                driver = _start(stack, peer, course)
                drivers += [driver] if driver is not None else []
        yield course.with_drivers(drivers)


def _start(stack: ExitStack, peer: Peer, course: Course) -> Driver | None:
    try:
        process = stack.enter_context(started(course.programs[peer.name]))
        ready(process)
    except (OSError, RuntimeError) as error:
        print(f"left out: {peer.name} ({error})")
        return None
    return Driver(peer, process, course.address)


def run(course: Course, chosen: Sequence[str]) -> dict[str, Rows]:
    """Measure and print the chosen sections, each with fresh processes."""
    results = {}
    for key in chosen:
        title, measure, head, cells = _SECTIONS[key]
        with everybody(course, key) as running:
            rows = measure(running)
        results[key] = rows
        table = [[name, *cells(name, own, rows)] for name, own in rows.items()]
        print_table(title, ["client", *head], table)
        sys.stdout.flush()
    return results


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--install", type=Path, metavar="DIR", help="make the peers' environments")
    add("--peers", type=Path, metavar="DIR", help="where they were made")
    add("--python", action="append", default=[], metavar="NAME=PATH")
    add("--without", action="append", default=[], metavar="WORD")
    add("--only", default=",".join(_SECTIONS), metavar="SECTION,...")
    add("--rounds", type=int)
    add("--quick", action="store_true")
    add("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> None:
    """Install, or measure against a server of our own."""
    options = read_options()
    if options.install:
        install(options.install)
        return
    with running_server() as address:
        course = Course(
            drivers=(),
            address=address,
            rounds=options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS),
            share=_QUICK_SHARE if options.quick else 1.0,
            programs=programs(options),
        )
        results = run(course, options.only.split(","))
        served = json.loads(ask_server(address, "count"))
    each = served["cpu_us"] / max(served["requests"], 1)
    print(f"\nThe server: {served['requests']:,} requests, {each:.0f} µs of CPU each.")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
