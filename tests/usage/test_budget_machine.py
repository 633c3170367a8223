"""What holds of budgets whatever happens, in any order and at any time of day."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from model_manager import errors
from model_manager.config import load_config
from model_manager.testing import FakeClock
from model_manager.types import (
    AttemptRecord,
    Candidate,
    Message,
    Request,
    Route,
    Text,
    Usage,
)
from model_manager.usage import Account, Books, Send
from model_manager.usage.budgets._charges import HOLD
from model_manager.usage.budgets._holds import Room
from model_manager.usage.budgets._limits import Amount, Limit, Used, paid_scopes
from model_manager.usage.ledger._database import Database
from model_manager.usage.ledger._lines import SendLine
from model_manager.usage.ledger._store import read_sends

PLACES = (("p", "m"), ("p", "n"), ("q", "m"))
PRICES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("p", "m"): {"input": "3", "output": "7"},
    ("p", "n"): {"input": "0.5", "output": "1.3"},
    ("q", "m"): {"input": "2.9", "output": "11"},
}
EPOCHS = (
    1_795_262_400.0,  # a Saturday's noon
    1_806_763_200.0,  # 2027-04-03 12:40 UTC: Lord Howe's clocks go back by half an hour
    1_806_796_500.0,
)
ZONES = ("UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana")
SCOPES: tuple[Mapping[str, Any], ...] = (
    {},
    {"agent": "a"},
    {"provider": "p"},
    {"provider": "q"},
    {"model": "m"},
    {"model": "p/n"},
    {"metadata": {"team": "blue"}},
)


@st.composite
def budgets(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a budget: dollars, tokens or both, of anything, for any time."""
    limits: Mapping[str, Any] = draw(
        st.sampled_from(
            [
                {"usd": "0.0005"},
                {"usd": "0.0013"},
                {"usd": "0.004", "tokens": 300},
                {"usd": "0.01"},
                {"tokens": 90},
                {"tokens": 700},
            ]
        )
    )
    scope: Mapping[str, Any] = draw(st.sampled_from(SCOPES))
    return {
        **limits,
        **scope,
        "window": draw(st.sampled_from(["hour", "day", "month", "total"])),
        "time_zone": draw(st.sampled_from(ZONES)),
        "hard": draw(st.sampled_from([True, True, False])),
        "output_tokens": draw(st.sampled_from([40, 90])),
    }


BUDGETS = budgets()
DOWN = errors.ServerError("down.", status=500)
SILENT = errors.ProviderTimeoutError("silent.")


def config_of(budgets: list[dict[str, Any]], ledger: Mapping[str, str]) -> Any:
    """Return a configuration; the first budgets keep their names over all of them."""
    providers: dict[str, Any] = {}
    for (endpoint, model), price in PRICES.items():
        models = providers.setdefault(
            endpoint, {"kind": "scripted", "base_url": "https://cloud.example"}
        ).setdefault("models", {})
        models[model] = {"price": price}
    return load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "p/m"}, "b": {"primary": "p/n"}},
            "model_providers": providers,
            "ledger": dict(ledger),
            "budgets": {f"b{number}": one for number, one in enumerate(budgets)},
        },
        environ={},
    )


def candidate(endpoint: str, model: str) -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="scripted",
        model=model,
        role="primary",
        why="",
        is_local=False,
    )


@dataclass(eq=False)
class Call:
    """One call, its sends that have not ended, and when its holds count no longer."""

    account: Account
    books: Books
    request: Request
    expires_us: int
    sends: list[Send] = field(default_factory=list)


class BudgetMachine(RuleBasedStateMachine):
    """Calls of several configurations share one ledger while time goes by."""

    backend = "memory"
    shops = 2
    """How many have books of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.books: list[Books] = []
        self.calls: list[Call] = []
        self.dead: list[Call] = []
        self.asks: dict[str, Amount] = {}
        """By send, the most that it may use."""
        self.count = 0

    @initialize(
        shared=st.lists(BUDGETS, min_size=1, max_size=3),
        own=st.lists(BUDGETS, max_size=2),
        epoch=st.sampled_from(EPOCHS),
    )
    def open_books(
        self, shared: list[dict[str, Any]], own: list[dict[str, Any]], epoch: float
    ) -> None:
        self.clock = FakeClock(auto=False, epoch=epoch)
        self.shared = shared
        """Everybody has these at all times, so that nobody can spend beside them."""
        for number in range(self.shops):
            self.books.append(self.new_books(own if number else [], None))

    def new_books(self, own: list[dict[str, Any]], old: Books | None) -> Books:
        ledger = {"backend": self.backend}
        if self.backend == "memory":
            old = old or (self.books[0] if self.books else None)
        else:
            ledger["folder"] = str(self.folder)
        config = config_of(self.shared + own, ledger)
        return Books(config, clock=self.clock, emit=lambda _: None, old=old)

    # -- what happens -----------------------------------------------------------------

    @rule(
        shop=st.integers(0, 1),
        agent=st.sampled_from(["a", "b"]),
        blue=st.booleans(),
        limit=st.sampled_from([None, 5, 30, 70]),
        places=st.permutations(PLACES),
        seconds=st.sampled_from([30.0, 600.0, 7200.0]),
        words=st.sampled_from([1, 60]),
    )
    def call(
        self,
        *,
        shop: int,
        agent: str,
        blue: bool,
        limit: int | None,
        places: list[tuple[str, str]],
        seconds: float,
        words: int,
    ) -> None:
        self.count += 1
        request = Request(
            agent=agent,
            messages=(Message("user", (Text("w" * words),)),),
            max_output_tokens=limit,
            metadata={"team": "blue"} if blue else {},
            call_id=f"call{self.count}",
        )
        route = Route(
            agent=agent,
            task=None,
            privacy="any",
            candidates=tuple(candidate(*place) for place in places[:2]),
        )
        books = self.books[shop]
        account = books.open(request, route, seconds=seconds)
        expires_us = account._call.expires_us
        self.calls.append(Call(account, books, request, expires_us))

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 9), place=st.sampled_from(PLACES))
    def send(self, pick: int, place: tuple[str, str]) -> None:
        call = self.picked(pick)
        if call.expires_us <= self.now_us:
            return
        self.look()
        who = candidate(*place)
        limits = call.books.budgets.applying(call.request, who)
        ask = call.account._ask(who, limits) if limits else None
        fits = all(self.fits(call, limit, ask.amount) for limit in limits if ask)
        sent: Send | None = None
        try:
            sent = self.runner.run(call.account.begin(who))
        except errors.UnavailableError as error:
            refused = error.code
        if sent is None:
            assert refused == "budget"
            assert not fits, "refused although it fits"
            return
        assert fits, "granted although it does not fit"
        call.sends.append(sent)
        self.asks[sent.attempt_id] = sent.ask.amount

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 9), places=st.permutations(PLACES))
    def hedge(self, pick: int, places: list[tuple[str, str]]) -> None:
        call = self.picked(pick)
        if call.expires_us <= self.now_us:
            return

        async def both() -> list[Send | BaseException]:
            return await asyncio.gather(
                *(call.account.begin(candidate(*place)) for place in places[:2]),
                return_exceptions=True,
            )

        for sent in self.runner.run(both()):
            if isinstance(sent, Send):
                call.sends.append(sent)
                self.asks[sent.attempt_id] = sent.ask.amount
            else:
                assert isinstance(sent, errors.UnavailableError)

    @precondition(lambda self: any(c.sends for c in [*self.calls, *self.dead]))
    @rule(
        pick=st.integers(0, 9),
        how=st.sampled_from(["answered", "all of it", "failed", "silent", "void"]),
        share=st.floats(0, 1),
    )
    def settle(self, pick: int, how: str, share: float) -> None:
        """End a send, also one whose process slept so long that it was given up."""
        calls = [c for c in [*self.calls, *self.dead] if c.sends]
        call = calls[pick % len(calls)]
        send = call.sends.pop(pick % len(call.sends))
        if how == "void":
            call.account.void(send)
            return
        most_out = send.ask.output_tokens or 0
        most_in = send.ask.amount.tokens - most_out
        if how == "all of it":
            share = 1.0
        usage = Usage(
            input_tokens=max(0, int(most_in * share)),
            output_tokens=int(most_out * share),
        )
        error = {"failed": DOWN, "silent": SILENT}.get(how)
        call.account.settle(
            send,
            AttemptRecord(
                candidate=send.candidate,
                number=1,
                outcome="answered" if error is None else "failed",
                seconds=0.1,
                error=error,
                usage=usage if error is None else None,
            ),
        )

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 9))
    def end(self, pick: int) -> None:
        call = self.picked(pick)
        for send in call.sends:
            call.account.void(send)
        self.calls.remove(call)
        call.account.end("failed", (), seconds=1.0, error="x")

    @precondition(lambda self: self.calls)
    @rule(pick=st.integers(0, 9))
    def crash(self, pick: int) -> None:
        call = self.picked(pick)
        self.calls.remove(call)
        self.dead.append(call)

    @rule(seconds=st.sampled_from([1, 95, 1200, 3600, 43_200, 86_400, 31 * 86_400]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(shop=st.integers(0, 1), own=st.lists(BUDGETS, max_size=2))
    def reload(self, shop: int, own: list[dict[str, Any]]) -> None:
        self.books[shop] = self.new_books(own, self.books[shop])

    # -- what always holds ------------------------------------------------------------

    @invariant()
    def nobody_spends_more_than_budgets_allow(self) -> None:
        if not self.books:
            return
        seen, lines, holds = self.look()
        for limit, used in seen.items():
            span = limit.span(self.now_us)
            assert span.start <= self.now_us < span.end
            assert used.spent == total(
                [one for one in lines if span.start <= one.sent_us < span.end], limit
            )
            live = [
                Amount(nano, tokens)
                for _, scope, nano, tokens, expires, _ in holds
                if scope == limit.scope and expires > self.now_us
            ]
            assert used.held == sum(live, Amount())
        for limit in self.shared_limits():
            if limit.is_hard:
                used = seen[limit]
                assert limit.fits(used.spent + used.held)
                for start in {limit.span(line.sent_us) for line in lines}:
                    within = [x for x in lines if start.start <= x.sent_us < start.end]
                    assert limit.fits(total(within, limit))

    @invariant()
    def what_nobody_ended_is_charged_and_holds_nothing_once_it_is_over(self) -> None:
        if not self.books:
            return
        seen, lines, _ = self.look()
        by_id = {line.attempt_id: line for line in lines}
        for call in self.dead:
            for send in call.sends if call.expires_us <= self.now_us else ():
                line = by_id[send.attempt_id]
                if call.books.budgets.applying(call.request, send.candidate):
                    ask = self.asks[send.attempt_id]
                    assert (line.outcome, line.charged_nano) == ("lost", ask.nano)
        if not self.calls and all(c.expires_us <= self.now_us for c in self.dead):
            assert not any(used.held != Amount() for used in seen.values())

    # -- how it is looked at ----------------------------------------------------------

    @property
    def now_us(self) -> int:
        return self.books[0].now_us()

    def picked(self, pick: int) -> Call:
        return self.calls[pick % len(self.calls)]

    def shared_limits(self) -> list[Limit]:
        return list(self.books[0].budgets.limits[: len(self.shared)])

    def fits(self, call: Call, limit: Limit, ask: Amount) -> bool:
        """Whether a send fits a budget beside all others, counted by hand."""
        if not limit.is_hard:
            return True
        _, lines, holds = self.look()
        span = limit.span(self.now_us)
        spent = total([x for x in lines if span.start <= x.sent_us < span.end], limit)
        others = [
            Amount(nano, tokens)
            for call_id, scope, nano, tokens, expires, _ in holds
            if scope == limit.scope
            and expires > self.now_us
            and call_id != call.request.call_id
        ]
        own = [
            held[limit.scope]
            for held in call.account._under_way.values()
            if limit.scope in held
        ]
        return limit.fits(sum([*others, *own, ask], spent))

    def look(
        self,
    ) -> tuple[dict[Limit, Used], list[SendLine], list[tuple[Any, ...]]]:
        """Have everything written, and read it."""
        limits = {one for books in self.books for one in books.budgets.limits}
        now_us = self.now_us

        def work(
            database: Database,
        ) -> tuple[dict[Limit, Used], list[SendLine], list[tuple[Any, ...]]]:
            room = Room(database, limits, now_us=now_us)
            return (
                {limit: room.used(limit) for limit in limits},
                [
                    line
                    for line in read_sends(database, "1 = 1", ())
                    if line.outcome != "sent"
                ],
                database.fetch(HOLD.columns, HOLD.select),
            )

        ledgers = {id(b.ledger): b.ledger for b in self.books if b.ledger is not None}
        for ledger in ledgers.values():
            ledger.ask(lambda _: None).result()
        return next(iter(ledgers.values())).ask(work).result()

    @override
    def teardown(self) -> None:
        for books in self.books:
            if books.ledger is not None:
                books.ledger.rest()
        self.runner.close()
        shutil.rmtree(self.folder)


def total(lines: list[SendLine], limit: Limit) -> Amount:
    """Return what lines are charged with within a scope, added up by hand."""
    found = Amount()
    for line in lines:
        scopes = paid_scopes(
            line.endpoint, line.model, agent=line.call.agent, labels=line.call.labels
        )
        if limit.scope in scopes:
            found += Amount(line.charged_nano, line.charged_tokens)
    return found


class BudgetMachineOnFiles(BudgetMachine):
    """The same, each with a connection of its own to one file."""

    backend = "sqlite"


OPTIONS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    stateful_step_count=30,
)
BudgetMachine.TestCase.settings = settings(OPTIONS, max_examples=100)
BudgetMachineOnFiles.TestCase.settings = settings(OPTIONS, max_examples=8)
TestBudgets = BudgetMachine.TestCase
TestBudgetsInOneFile = BudgetMachineOnFiles.TestCase
