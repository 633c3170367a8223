"""The guard's verdict for calls: asked where the configuration requires the card."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from model_manager._servers import Servers
from model_manager.config import Config, Endpoint
from model_manager.errors import NvmlError
from model_manager.gpu import (
    Check,
    CheckStatus,
    Gpu,
    GpuPolicy,
    Inventory,
    Machine,
    Verdict,
    check_gpu,
    this_machine,
)
from model_manager.gpu.ollama import judge_server
from model_manager.types import Candidate, CardFault, Clock

_JUDGED_AGAIN: Final = 300.0
"""Seconds after which the guard is asked again; the card itself is read before each
send."""
_READ_AGAIN: Final = 60.0
"""Seconds before cards that could not be read are tried again where nobody must."""
_MORE: Final = "'model-manager gpu check' says more."
_ELSEWHERE: Final = CardFault(
    code="gpu",
    reason="it runs on another machine, whose card cannot be checked from here",
    remedy="Run the manager there, or set gpu_settings.require_gpu to false.",
)


class CardReader:
    """Reads the one card of the policy, off the event loop."""

    def __init__(
        self, policy: GpuPolicy, *, machine: Machine | None, clock: Clock
    ) -> None:
        """Read nothing yet; `machine` is asked instead of this one."""
        self.policy = policy
        self.problem = ""
        """Why there is no card, in words; empty where there is one or nobody looked."""
        self._given = machine
        self._clock = clock
        self._lost_at = float("-inf")

    @property
    def machine(self) -> Machine:
        """The machine that is asked."""
        if self._given is None:
            self._given = this_machine()
        return self._given

    async def read(self, *, must: bool = False) -> Gpu | None:
        """Return the card as it is now; `None` where there is no such card to be seen.

        Args:
            must: Look also where there was none a moment ago.
        """
        waited = self._clock.monotonic() - self._lost_at
        if self.problem and not must and waited < _READ_AGAIN:
            return None
        gpu = await asyncio.to_thread(self._read)
        if gpu is None:
            self._lost_at = self._clock.monotonic()
        return gpu

    def _read(self) -> Gpu | None:
        try:
            inventory = self.machine.nvml.read()
        except NvmlError as error:
            self.problem = error.what
            return None
        found = [gpu for gpu in inventory.gpus if self.policy.allows(gpu)]
        if len(found) != 1:
            many = f"{len(found)} cards" if found else "no card"
            self.problem = f"{many} of this machine fit the policy {self.policy.name}."
            return None
        self.problem = ""
        return found[0]


class Guarding:
    """Holds the guard's verdict, and says whom it keeps from being asked."""

    def __init__(
        self, config: Config, reader: CardReader, servers: Servers, *, clock: Clock
    ) -> None:
        """Ask nothing yet."""
        settings = config.gpu_settings
        self.required = settings.require_gpu if settings is not None else False
        """Whose calls need a good verdict: everybody's (`True`), those of `"local"`
        models, or nobody's."""
        self._endpoints = config.endpoints
        self._reader = reader
        self._servers = servers
        self._clock = clock
        self._lock = threading.Lock()
        self._verdict: Verdict | None = None
        self._of_servers: dict[str, Verdict] = {}
        """Endpoint -> what is known of the card that its server uses."""
        self._judged_at = float("-inf")

    @property
    def problem(self) -> str:
        """Why the guard keeps models from being asked; empty where it does not."""
        verdict = self._verdict
        failure = verdict.failure if verdict is not None else None
        if not self.required or failure is None:
            return ""
        return f"{failure.seen}. {failure.remedy}".strip()

    def after_fork(self) -> None:
        """Take a new lock: a thread that is not here may have held the old one."""
        self._lock = threading.Lock()

    async def check(self, *, now: bool = False) -> None:
        """Ask the guard, where it is required and it is time, or `now`."""
        if self.required and (now or self._is_due()):
            await asyncio.to_thread(self._judge, now)

    def faults(self) -> Iterator[tuple[tuple[str, str], CardFault]]:
        """Yield the endpoints that the verdict keeps from being asked, and why."""
        verdict = self._verdict
        for endpoint in self._endpoints.values():
            if not self._concerns(endpoint):
                continue
            if endpoint.is_local and not endpoint.is_on_this_machine:
                yield (endpoint.name, ""), _ELSEWHERE
            elif verdict is not None and not verdict.passed:
                yield (endpoint.name, ""), _fault(verdict.failure)
            elif (broken := self._first_of_server(endpoint, "failed")) is not None:
                yield (endpoint.name, ""), _fault(broken)

    def notes(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield the endpoints of which the guard cannot say everything, and why."""
        for endpoint in self._endpoints.values():
            if not self._concerns(endpoint):
                continue
            if self._verdict is None:
                yield (endpoint.name, ""), "the card was not checked yet"
                continue
            unsure = self._first_of_server(endpoint, "skipped")
            if unsure is not None:
                words = f"which card its server uses is not checked: {unsure.seen}"
                yield (endpoint.name, ""), words

    async def fault_now(self, candidate: Candidate) -> CardFault | None:
        """Return why a candidate may not be asked now, the card being read anew."""
        if not self._concerns(self._endpoints[candidate.endpoint]):
            return None
        if await self._reader.read(must=True) is None:
            return CardFault(
                code="gpu",
                reason=f"the card is gone: {self._reader.problem}",
                remedy=_MORE,
            )
        found = dict(self.faults())
        return found.get((candidate.endpoint, ""))

    def _first_of_server(self, endpoint: Endpoint, status: CheckStatus) -> Check | None:
        """Return the rule that stands in its server's way, if it ended in this way."""
        verdict = self._of_servers.get(endpoint.name)
        failure = verdict.failure if verdict is not None else None
        return failure if failure is not None and failure.status == status else None

    def _concerns(self, endpoint: Endpoint) -> bool:
        return self.required is True or (self.required == "local" and endpoint.is_local)

    def _is_due(self) -> bool:
        return self._clock.monotonic() - self._judged_at >= _JUDGED_AGAIN

    def _judge(self, now: bool, /) -> None:  # noqa: FBT001 - to_thread passes it on
        """Ask the guard; one thread does, and those that come meanwhile wait for it."""
        with self._lock:
            if now or self._is_due():
                reader = self._reader
                self._verdict = check_gpu(reader.policy, machine=reader.machine)
                self._of_servers = dict(self._judged_servers(now=now))
                self._judged_at = self._clock.monotonic()

    def _judged_servers(self, *, now: bool) -> Iterator[tuple[str, Verdict]]:
        """Yield the verdict on each local server that answers.

        One that does not is none of the guard's business: it fails by itself.
        """
        inventory: Inventory | None = None
        with contextlib.suppress(NvmlError):
            inventory = self._reader.machine.nvml.read()
        for name in self._servers.names():
            facts = self._servers.look(name, now=now)
            if inventory is not None and not facts.problem:
                yield name, judge_server(facts, self._reader.policy, inventory)


def _fault(failure: Check | None) -> CardFault:
    if failure is None:
        return CardFault(code="gpu", reason="the guard names no card", remedy=_MORE)
    expected = f" (expected: {failure.expected})" if failure.expected else ""
    return CardFault(
        code="gpu",
        reason=f"the guard refuses, {failure.rule}: {failure.seen}{expected}",
        remedy=failure.remedy or _MORE,
    )
