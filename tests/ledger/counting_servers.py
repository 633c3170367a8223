"""Three loopback servers that fail as prompts tell them, and count what they reported.

Run as a program: prints the servers' addresses as a line of JSON, and when its standard
input closes, what each model of each server reported, as another.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from model_manager.testing import (
    Answer,
    AnthropicServer,
    CutStream,
    EndEarly,
    HttpFault,
    InStreamError,
    LoopbackServer,
    OllamaServer,
    OpenAIServer,
    Outcome,
    Reset,
    Silence,
    StallStream,
)
from model_manager.types import Usage

S = TypeVar("S", bound=LoopbackServer)
BUCKETS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)
FAILS: Final[Mapping[str, Outcome]] = {
    "500": HttpFault(500),
    "429": HttpFault(429, retry_after=0.01),
    "hang-up": Reset(),
    "cut": CutStream(after=1),
    "early end": EndEarly(after=1),
    "error in the stream": InStreamError(after=1),
}
"""The first try of such a call fails so, at the server that is asked first."""
NEVER: Final[Mapping[str, Outcome]] = {
    "dead": HttpFault(500),
    "left": StallStream(after=1),
    "silent": Silence(),
}
"""Such a call is never answered by anybody."""
_PLAN: Final = re.compile(r"plan: ([a-z0-9 -]+) (\d+) (\w+);")


def prompt_of(kind: str, number: int, first: str) -> str:
    """Return a prompt that tells servers how to fail.

    Args:
        kind: Of `FAILS` or `NEVER`; `down` (always 500 at the first), `empty` (an
            answer with counts, but without words), `hedged` (the first is silent).
        number: The call's.
        first: The server that is asked first.
    """
    return f"plan: {kind} {number} {first}; and some more words to send"


class Reports:
    """What the servers said that their answers used."""

    def __init__(self) -> None:
        self.sums: dict[str, Counter[str]] = {}
        self._tries: Counter[tuple[int, str]] = Counter()

    def outcome(self, server: str, model: str, body: object) -> Outcome | None:
        """Return what a request gets, and count what that reports."""
        found = _PLAN.search(str(body))
        if found is None:
            return None
        kind, number, first = found[1], int(found[2]), found[3]
        self._tries[number, server] += 1
        failure = self._failure(
            kind, self._tries[number, server], is_first=server == first
        )
        if failure is not None:
            return failure
        # Only those that stay to the end get here, so all of it is reported.
        dice = random.Random(f"{number} {server}")  # noqa: S311 - counts that repeat
        usage = Usage(
            input_tokens=dice.randrange(1, 5_000),
            output_tokens=dice.randrange(1, 900),
            cache_read_tokens=None if server == "l" else dice.randrange(900),
            cache_write_tokens=None if server == "l" else dice.randrange(90),
        )
        sums = self.sums.setdefault(f"{server}/{model}", Counter())
        sums["answers"] += 1
        for name in BUCKETS:
            sums[name] += getattr(usage, name) or 0
        is_empty = kind == "empty" and server == first
        is_empty = is_empty and self._tries[number, server] == 1
        return Answer(text="" if is_empty else "some words", usage=usage)

    def _failure(self, kind: str, tries: int, *, is_first: bool) -> Outcome | None:
        if kind in NEVER:
            return NEVER[kind]
        if not is_first:
            return None
        if kind == "down":
            return HttpFault(500)
        if kind == "hedged":
            return Silence()
        return FAILS.get(kind) if tries == 1 else None


def counting(server: S, name: str, reports: Reports) -> S:
    """Have a server do what prompts say, and keep no requests."""
    usual = server._outcome

    def outcome(request: Any, ask: Any) -> Outcome | None:
        if ask is None:
            return usual(request, ask)
        return reports.outcome(name, ask.model, ask.body)

    vars(server).update(_outcome=outcome, _record=lambda *_: None)
    return server


async def serve() -> None:
    """Serve until standard input closes."""
    reports = Reports()
    async with (
        counting(OpenAIServer(), "o", reports) as openai,
        counting(AnthropicServer(), "a", reports) as anthropic,
        counting(OllamaServer(models=["l1"]), "l", reports) as ollama,
    ):
        told = {"o": openai.base_url, "a": anthropic.base_url, "l": ollama.base_url}
        print(json.dumps(told), flush=True)  # noqa: T201 - what whoever started it reads
        await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(reports.sums), flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    asyncio.run(serve())
