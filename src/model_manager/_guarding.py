"""The guard's verdict for calls: asked where the configuration requires the card."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from model_manager._flights import Flight
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
"""Seconds after which the guard is asked again, beside the calls; the card itself is
read before each send."""
_REFUSED_AGAIN: Final = 15.0
"""The same while it refuses: a call then waits for it, so that mending counts."""
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
        self.chosen = ""
        """UUID of the one that the guard found to be used, where several fit."""
        self._given = machine
        self._clock = clock
        self._lost_at = float("-inf")
        self._flight = Flight(self._read, name="model-manager-gpu-read")

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
        gpu = await self._flight.result()
        if gpu is None:
            self._lost_at = self._clock.monotonic()
        return gpu

    def after_fork(self) -> None:
        """Begin anew in a child."""
        self._flight.after_fork()

    def _read(self) -> Gpu | None:
        try:
            inventory = self.machine.nvml.read()
        except NvmlError as error:
            self.problem = error.what
            return None
        found = [gpu for gpu in inventory.gpus if self.policy.allows(gpu)]
        if len(found) > 1 and self.chosen:
            found = [gpu for gpu in found if gpu.uuid == self.chosen]
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
        self._flight = Flight(self._judge, name="model-manager-gpu-guard")
        self._verdict: Verdict | None = None
        self._of_servers: dict[str, Verdict] = {}
        """Endpoint -> what is known of the card that its server uses."""
        self._judged_at = float("-inf")

    @property
    def problem(self) -> str:
        """Why the guard keeps models from being asked; empty where it does not."""
        verdict = self._verdict
        failure = verdict.failure if verdict is not None else None
        if failure is None:
            # What is not known of a server is noted, and keeps nobody.
            failures = (its.failure for its in self._of_servers.values())
            broken = (one for one in failures if one and one.status == "failed")
            failure = next(broken, None)
        return f"{failure.seen}. {failure.remedy}".strip() if failure else ""

    def after_fork(self) -> None:
        """Begin anew in a child."""
        self._flight.after_fork()
        self._reader.after_fork()

    async def check(self, *, now: bool = False, patience: float | None = None) -> None:
        """Ask the guard, where it is required and it is time, or `now`.

        Args:
            now: Ask also where it was asked a moment ago.
            patience: Seconds to wait for it at most. Whoever needs its verdict waits
                for it again before anything is sent.
        """
        if not self.required:
            return
        if now or self._is_due(_REFUSED_AGAIN if self.problem else float("inf")):
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(patience):
                    await self._flight.result()
        elif self._is_due(_JUDGED_AGAIN):
            # All was well a moment ago: no call need wait to hear it again.
            self._flight.begin()

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
        if self._verdict is None:
            await self._flight.result()
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

    def _is_due(self, seconds: float) -> bool:
        return self._clock.monotonic() - self._judged_at >= seconds

    def _judge(self) -> None:
        reader = self._reader
        verdict = check_gpu(reader.policy, machine=reader.machine)
        reader.chosen = verdict.gpu.uuid if verdict.gpu is not None else ""
        self._of_servers = dict(self._judged_servers())
        self._verdict = verdict
        self._judged_at = self._clock.monotonic()

    def _judged_servers(self) -> Iterator[tuple[str, Verdict]]:
        """Yield the verdict on each local server that answers.

        One that does not is none of the guard's business: it fails by itself.
        """
        inventory: Inventory | None = None
        with contextlib.suppress(NvmlError):
            inventory = self._reader.machine.nvml.read()
        for name in self._servers.names():
            facts = self._servers.look(name, now=True)
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
