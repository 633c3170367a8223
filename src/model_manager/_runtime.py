"""The composition root: from one configuration to everything a call needs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace

from pydantic import SecretStr

from model_manager._attempts import Line
from model_manager._cards import Cards
from model_manager._looks import SECONDS, Looks
from model_manager._outcome import nobody
from model_manager._pipeline import Walk
from model_manager.config import Config, Endpoint, Limits, read_keys
from model_manager.errors import ModelManagerError
from model_manager.events import EgressRefused, Event
from model_manager.gpu import Machine
from model_manager.providers import (
    HttpPool,
    LocalInventory,
    LocalMemory,
    ProviderFactory,
    build_provider,
)
from model_manager.resilience import Memory
from model_manager.routing import anybody, plan
from model_manager.types import (
    Attempt,
    Clock,
    EndpointHealth,
    Facts,
    Health,
    HealthStatus,
    Provider,
    Reply,
    Request,
    Route,
    rest_of,
)
from model_manager.usage import Books

_LOOK_SHARE = 0.2
"""The most of a call's own time that may go into a look at local servers."""
_HEALTH_SECONDS = 10.0
_MOST_LOOKS = 8
"""How often one call may look whether its candidates fit the card."""
_REST_STEP = 0.05
"""Seconds to wait at least before a resting candidate is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a runtime is given from outside; each can be replaced in tests."""

    http: HttpPool
    clock: Clock
    emit: Callable[[Event], None]
    factories: Mapping[str, ProviderFactory]
    """Kind -> factory; a kind that is absent is looked up in the entry points."""
    environ: Mapping[str, str] | None = None
    """Where keys are read; `None` is the process's environment."""
    machine: Machine | None = None
    """Whose cards are looked at; `None` is this machine."""


class Runtime:
    """Everything built from one configuration; lives until that one is replaced."""

    def __init__(
        self, config: Config, surroundings: Surroundings, *, old: Runtime | None = None
    ) -> None:
        """Read the keys and compose the line; opens no connection.

        Args:
            config: What is built.
            surroundings: What is given from outside.
            old: The runtime that this one replaces: what it knows about endpoints
                that have not changed is kept.
        """
        self.config = config
        self.clock = surroundings.clock
        self._surroundings = surroundings
        emit = surroundings.emit
        self.memory = Memory(config, clock=surroundings.clock, emit=emit)
        self._keys: Mapping[str, SecretStr]
        self._keys, self._missing = read_keys(config, surroundings.environ)
        self._providers: dict[str, Provider] = {}
        self._lock = threading.Lock()
        self._looks = Looks(self._check, self.clock)
        self._local = {e.name for e in config.endpoints.values() if e.is_local}
        self._servers: dict[str, LocalInventory] = {}
        self._mute = {n for n in self._local if not config.endpoints[n].base_url}
        """Local endpoints that cannot tell what they have installed."""
        self.books: Books = Books(
            config,
            clock=surroundings.clock,
            emit=emit,
            environ=surroundings.environ,
            old=old.books if old is not None else None,
        )
        self.cards = Cards(
            config,
            machine=surroundings.machine,
            clock=surroundings.clock,
            memory_of=self._memory_of,
        )
        self._line = self._composed(surroundings)
        if old is not None:
            self.memory.carry_over(old.memory, self._unchanged_since(old))

    def _composed(self, given: Surroundings) -> Line:
        config = self.config
        return Line(
            open=self._open,
            admit=self.cards.admit,
            books=self.books,
            clock=given.clock,
            emit=given.emit,
            timeouts=config.timeouts,
            retry=config.retry,
            hedging=config.hedging,
            memory=self.memory,
            endpoints=config.endpoints,
        )

    def route(self, request: Request) -> Route:
        """Plan with what is known now; no I/O."""
        facts = self.facts()
        route = plan(self.config, request, facts)
        if not self.config.budgets:
            return route
        # Only now is it known who might be asked, and so what that might cost.
        standing = self.books.budgets.standing(request, route.candidates)
        return plan(self.config, request, standing.added_to(facts))

    async def walk(self, request: Request) -> Walk:
        """Plan a call and put it at the start of its route.

        Raises:
            NoCandidateError: Everybody was refused.
            AllCandidatesFailedError: Everybody left is left alone for now.
        """
        started = self.clock.monotonic()
        seconds = request.timeout or self.config.timeouts.total
        patience = min(SECONDS, seconds * _LOOK_SHARE)
        await self.books.budgets.refresh()
        await self.cards.check(patience=patience)
        if self._local:
            route = await self._looked_at(request, patience=patience)
        else:
            route = self.route(request)
        if any(refusal.code == "budget" for refusal in route.refused):
            # What ended a moment ago may have given back most of what it held.
            await self.books.budgets.refresh(refused=True)
            route = self.route(request)
        waited = 0.0
        if not route.candidates:
            before = self.clock.monotonic()
            route = await self._rested(route, request, until=started + seconds)
            waited = self.clock.monotonic() - before
        return Walk(request, route, self._line, started=started, waited=waited)

    async def _looked_at(self, request: Request, *, patience: float) -> Route:
        """Plan with what local servers have, and with what of it fits the card."""
        await self._look(patience)
        route = self.route(request)
        if await self._look_again(route, patience):
            route = self.route(request)
        for _ in range(_MOST_LOOKS):
            # Who is refused for the card leaves its place to others, not looked at yet.
            facts = self.facts()
            if not await self.cards.look(route.candidates, facts, patience=patience):
                break
            route = self.route(request)
        return route

    def facts(self) -> Facts:
        """Return what is known at this moment, from memory."""
        installed = {
            name: models
            for name, server in list(self._servers.items())
            if (models := server.installed) is not None
        }
        facts = Facts(
            missing_keys=self._missing,
            installed=installed,
            unchecked=frozenset(self._local - installed.keys() - self._mute),
            resting=self.memory.breakers.resting(),
        )
        return self.cards.added_to(facts)

    async def health(self, *, local_only: bool) -> Health:
        """Ask every endpoint, or the local ones, how they are, all at once."""
        names = [n for n in self.config.endpoints if n in self._local or not local_only]
        reports = await asyncio.gather(
            *(self._check(n, _HEALTH_SECONDS) for n in names)
        )
        await self.cards.check(now=True)
        await self._look_ahead()
        return Health(
            tuple(reports),
            # A copy: what it is taken from goes on changing.
            resting=dict(self.memory.breakers.resting().items()),
            config_version=self.config.fingerprint,
            ledger_problem=self.books.problem,
            gpu_problem=self.cards.problem,
        )

    async def _look_ahead(self) -> None:
        """Learn whether those fit the card who may answer an agent."""
        for _ in range(_MOST_LOOKS if self._local else 0):
            facts = self.facts()
            found = anybody(self.config, facts)
            if not await self.cards.look(found, facts, patience=_HEALTH_SECONDS):
                break

    def after_fork(self) -> None:
        """Take a new lock: a thread that is not here may have held the old one."""
        self._lock = threading.Lock()
        self.cards.after_fork()

    async def warm(self) -> None:
        """Load what the first call would load, off the event loop where that helps."""
        await asyncio.gather(asyncio.to_thread(self._load_all), self._look(SECONDS))

    def _load_all(self) -> None:
        for name in self.config.endpoints:
            self._provider(name)
        self.books.warm()
        self._surroundings.http.warm()

    async def aclose(self) -> None:
        """Close the running loop's connections; other loops close theirs themselves."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._surroundings.http.aclose)
            stack.push_async_callback(self.books.rest)
            await self.aclose_providers()

    async def aclose_providers(self) -> None:
        """Let the providers close what they opened; the connections are the pool's."""
        async with AsyncExitStack() as stack:
            for provider in self._providers.values():
                stack.push_async_callback(provider.aclose)

    async def _rested(self, route: Route, request: Request, *, until: float) -> Route:
        """Wait for somebody who is left alone for a moment only, and plan again.

        A wait that a provider asked for ends for certain, so it may last as long as
        that of the last candidate; a rest after failures promises nothing.
        """
        started = self.clock.monotonic()
        while not route.candidates:
            now = self.clock.monotonic()
            wait = self._worth_waiting(route, spent=now - started)
            if wait is None or now + wait >= until:
                raise nobody(route)
            await self.clock.sleep(wait)
            route = self.route(request)
        return route

    def _worth_waiting(self, route: Route, *, spent: float) -> float | None:
        retry, waits = self.config.retry, []
        resting = self.memory.breakers.resting()
        for refusal in route.refused:
            rest = rest_of(resting, refusal.candidate)
            if refusal.code != "resting" or rest is None:
                continue
            asked = rest.kind == "cooldown"
            limit = retry.max_wait_last if asked else retry.max_wait
            if spent + rest.seconds <= limit:
                waits.append(max(rest.seconds, _REST_STEP))
        return min(waits, default=None)

    def _unchanged_since(self, old: Runtime) -> set[str]:
        """Return the endpoints that are what they were, key included.

        Their models and limits may be others: whoever counts takes over new limits.
        """

        def place(endpoint: Endpoint) -> Endpoint:
            return replace(endpoint, models={}, limits=Limits())

        before = old.config.endpoints
        return {
            name
            for name, endpoint in self.config.endpoints.items()
            if name in before
            and place(endpoint) == place(before[name])
            and self._keys.get(name) == old._keys.get(name)
        }

    def _memory_of(self, name: str) -> LocalMemory | None:
        # Whoever cannot be built is told of where its endpoint is asked how it is.
        with suppress(ModelManagerError):
            provider = self._provider(name)
            return provider if isinstance(provider, LocalMemory) else None
        return None

    def _open(self, attempt: Attempt) -> AbstractAsyncContextManager[Reply]:
        return self._provider(attempt.candidate.endpoint).open(attempt)

    def _provider(self, name: str) -> Provider:
        found = self._providers.get(name)
        if found is not None:
            return found
        with self._lock:
            if name not in self._providers:
                provider = self._build(self.config.endpoints[name])
                if isinstance(provider, LocalInventory):
                    self._servers[name] = provider
                elif name in self._local:
                    self._mute.add(name)
                self._providers[name] = provider
            return self._providers[name]

    def _build(self, endpoint: Endpoint) -> Provider:
        given = self._surroundings
        key = self._keys.get(endpoint.name)
        factory = given.factories.get(endpoint.kind)
        if factory is not None:
            return factory(endpoint, key=key, http=given.http, clock=given.clock)
        return build_provider(endpoint, key=key, http=given.http, clock=given.clock)

    async def _look(self, seconds: float) -> None:
        """See what local servers have, where that is not known yet.

        Runs before a call's route is planned, so that a model that is not there is
        never tried and the best one that is there is known.
        """
        waiting = [
            name
            for name in self._local - self._mute
            if not self._has_told(name) and self._looks.is_due(name)
        ]
        if waiting:
            await self._looks.at(waiting, patience=seconds)

    async def _look_again(self, route: Route, seconds: float) -> bool:
        """Ask again who refused a model as not installed, if that was a while ago.

        It may have been installed since; `True` when anybody was asked.
        """
        doubtful = {
            refusal.candidate.endpoint
            for refusal in route.refused
            if refusal.code == "not_installed"
            and self._looks.is_due(refusal.candidate.endpoint)
        }
        if doubtful:
            await self._looks.at(doubtful, patience=seconds)
        return bool(doubtful)

    def _has_told(self, name: str) -> bool:
        server = self._servers.get(name)
        return server is not None and server.installed is not None

    async def _check(self, name: str, seconds: float) -> EndpointHealth:
        endpoint = self.config.endpoints[name]
        status: HealthStatus = "error"
        try:
            async with self.clock.timeout(seconds):
                report = await self._provider(name).check()
            self._tell_refused(report)
            limits = self.memory.limits
            return replace(
                report, running=limits.running(name), queued=limits.queued(name)
            )
        except TimeoutError:
            status, detail = (
                "unreachable",
                f"no answer in {seconds:g} s; is it running?",
            )
        except ModelManagerError as error:
            detail = str(error)
        except Exception as error:  # noqa: BLE001 - an adapter may be somebody else's
            # One endpoint that cannot be asked must not fail the calls of the others.
            detail = f"its adapter failed: {type(error).__name__}"
        return EndpointHealth(
            endpoint=name, kind=endpoint.kind, status=status, detail=detail
        )

    def _tell_refused(self, report: EndpointHealth) -> None:
        if report.refused:
            self._surroundings.emit(
                EgressRefused(
                    call_id="",
                    agent="",
                    endpoint=report.endpoint,
                    model="",
                    address=report.refused,
                )
            )
