"""What a call and a streamed piece cost in CPU, beside the bare SDKs.

python benchmarks/calls.py            # everything
python benchmarks/calls.py --quick    # fewer rounds
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, DefaultAioHttpClient
from rig import (
    ANTHROPIC_MODEL,
    KEYS,
    OLLAMA_MODEL,
    OPENAI_MODEL,
    PROMPT,
    Measured,
    config_of,
    interleaved,
    print_table,
    running_server,
)

from model_manager import ModelManager

_SHORT, _LONG = 1, 201
_AT_ONCE = (64, 256)
_RATIO_OF: Mapping[str, str] = {
    "model_manager, openai": "openai SDK",
    "model_manager, anthropic": "anthropic SDK",
    "model_manager, ollama": "aiohttp by hand, ollama",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to ask: for a whole answer, and for one in pieces."""

    whole: Measured
    pieces: Measured


Contenders = dict[str, Contender]


def bare_openai(client: AsyncOpenAI) -> Contender:
    """Ask the SDK as its manual shows."""

    async def whole() -> None:
        answer = await client.chat.completions.create(
            model=OPENAI_MODEL, messages=[{"role": "user", "content": PROMPT}]
        )
        assert answer.choices[0].message.content

    async def pieces() -> None:
        stream = await client.chat.completions.create(
            model=OPENAI_MODEL,
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            for choice in chunk.choices:
                _ = choice.delta.content

    return Contender(whole, pieces)


def bare_anthropic(client: AsyncAnthropic) -> Contender:
    """Ask the SDK as its manual shows; the stream is that of raw events."""

    async def whole() -> None:
        answer = await client.messages.create(
            model=ANTHROPIC_MODEL,
            max_tokens=1024,
            messages=[{"role": "user", "content": PROMPT}],
        )
        assert answer.content

    async def pieces() -> None:
        stream = await client.messages.create(
            model=ANTHROPIC_MODEL,
            max_tokens=1024,
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
        )
        async for event in stream:
            if event.type == "content_block_delta":
                _ = event.delta

    return Contender(whole, pieces)


def by_hand(session: aiohttp.ClientSession, root: str) -> Contender:
    """Ask Ollama's API with nothing but aiohttp and json."""
    body = {
        "model": OLLAMA_MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
    }

    async def pieces() -> None:
        async with session.post(f"{root}/api/chat", json=body) as response:
            async for line in response.content:
                _ = json.loads(line)["message"]["content"]

    return Contender(pieces, pieces)


def managed(manager: ModelManager, agent: str) -> Contender:
    """Ask through ModelManager."""

    async def whole() -> None:
        answer = await manager.generate(agent, PROMPT)
        assert answer.text

    async def pieces() -> None:
        async with manager.stream(agent, PROMPT) as stream:
            async for _ in stream:
                pass

    return Contender(whole, pieces)


@asynccontextmanager
async def contenders(address: str, shape: str) -> AsyncIterator[Contenders]:
    """Open every client on the server; all of them ask for the same shape."""
    root = f"{address}/{shape}"
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        there = f"{root}/v1"
        plain = await enter(AsyncOpenAI(base_url=there, api_key="bench"))
        quick = await enter(
            AsyncOpenAI(
                base_url=there, api_key="bench", http_client=DefaultAioHttpClient()
            )
        )
        claude = await enter(AsyncAnthropic(base_url=root, api_key="bench"))
        session = await enter(aiohttp.ClientSession())
        manager = await enter(
            ModelManager(config_of(address, shape=shape), environ=KEYS)
        )
        yield {
            "openai SDK": bare_openai(plain),
            "openai SDK, aiohttp transport": bare_openai(quick),
            "model_manager, openai": managed(manager, "by_openai"),
            "anthropic SDK": bare_anthropic(claude),
            "model_manager, anthropic": managed(manager, "by_anthropic"),
            "aiohttp by hand, ollama": by_hand(session, root),
            "model_manager, ollama": managed(manager, "by_ollama"),
        }


def together(work: Measured, count: int) -> Measured:
    """Return the work done `count` times at once."""

    async def crowd() -> None:
        await asyncio.gather(*(work() for _ in range(count)))

    return crowd


async def whole_answers(address: str, rounds: int) -> list[dict[str, float]]:
    """Return CPU µs a call: one after another, then with many at once."""
    columns = []
    async with contenders(address, "s1") as all_of_them:
        works = {name: one.whole for name, one in all_of_them.items()}
        columns.append(await interleaved(works, rounds=rounds, times=100))
        for count in _AT_ONCE:
            crowds = {name: together(work, count) for name, work in works.items()}
            found = await interleaved(crowds, rounds=rounds, times=2)
            columns.append({name: cpu / count for name, cpu in found.items()})
    return columns


async def pieces(address: str, rounds: int) -> dict[str, float]:
    """Return CPU µs a piece: a long stream less a short one, over the difference."""
    ends = []
    async with (
        contenders(address, f"s{_SHORT}") as short,
        contenders(address, f"s{_LONG}") as long,
    ):
        for streams in (short, long):
            works = {name: one.pieces for name, one in streams.items()}
            ends.append(await interleaved(works, rounds=rounds, times=20))
    low, high = ends
    return {name: (high[name] - low[name]) / (_LONG - _SHORT) for name in low}


def cells(column: Mapping[str, float], show: Callable[[float], str]) -> dict[str, str]:
    """Format a column, with the ratio to the bare competitor where there is one."""
    return {
        name: f"{show(value)} ({value / column[_RATIO_OF[name]]:.2f}x)"
        if name in _RATIO_OF
        else show(value)
        for name, value in column.items()
    }


async def measure(address: str, *, rounds: int) -> None:
    """Measure and print everything."""
    columns = [
        *(cells(c, lambda v: f"{v:.0f}") for c in await whole_answers(address, rounds)),
        cells(await pieces(address, rounds), lambda v: f"{v:.1f}"),
    ]
    head = ["client", "one after another"]
    head += [f"{count} at once" for count in _AT_ONCE] + ["a streamed piece"]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    print_table("CPU of the client's process, µs a call", head, rows)


def main() -> None:
    """Run against a server of our own."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with running_server() as address:
        asyncio.run(measure(address, rounds=5 if "--quick" in sys.argv else 15))


if __name__ == "__main__":
    main()
