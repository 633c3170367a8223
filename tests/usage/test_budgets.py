"""What a caller sees of budgets: cheaper models first, refusals, and what is held."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from model_manager import ModelManager, errors, events
from model_manager.testing import (
    FakeClock,
    ScriptedOutcome,
    ScriptedProvider,
    said,
)
from model_manager.types import (
    BudgetStatus,
    Candidate,
    Completed,
    Message,
    Request,
    Route,
    Text,
    Usage,
)
from model_manager.usage import Account, Send
from model_manager.usage.budgets._limits import MICROSECONDS, span_of

PROMPT = "hi"
FIVE: dict[str, Any] = {"max_output_tokens": 5}
ALL_OF_IT = said("x", usage=Usage(input_tokens=17, output_tokens=5))
"""As much as the prompt and five tokens may use at most."""
COST = Decimal("0.027")
"""Of that, at `big`."""
DOWN = errors.ServerError("down.", status=500)
MEMORY = {"backend": "memory"}
NOON_TO_MIDNIGHT = 43_200.0


def config_of(
    budgets: Mapping[str, Any], ledger: Mapping[str, Any] = MEMORY
) -> dict[str, Any]:
    """Return a dear, a cheaper and an unpriced cloud model, and a local one."""
    dear = {"price": {"input": "1000", "output": "2000"}}
    cheap = {"price": {"input": "100", "output": "200"}}
    cloud = {"kind": "scripted", "base_url": "https://cloud.example"}
    return {
        "version": "1.1.0",
        "agent_models": {
            "all": {"primary": "big", "fallback": "small", "local": "own"},
            "cloud": {"primary": "big"},
            "two": {"primary": "big", "fallback": "small"},
            "odd": {"primary": "unpriced"},
            "home": {"local": "own"},
            "reader": {"primary": "big", "embedding": "reads"},
        },
        "model_providers": {
            "up": {
                **cloud,
                "models": {
                    "big": dear,
                    "unpriced": {},
                    "reads": {"price": {"input": "1000"}},
                },
            },
            "also": {**cloud, "models": {"small": cheap}},
            "here": {
                "kind": "scripted",
                "base_url": "http://127.0.0.1:9",
                "models": {"own": {}},
            },
        },
        "ledger": dict(ledger),
        "budgets": dict(budgets),
        "retry": {"attempts_per_candidate": 1},
    }


def candidate(endpoint: str, model: str) -> Candidate:
    return Candidate(
        endpoint=endpoint,
        kind="scripted",
        model=model,
        role="primary",
        why="",
        is_local=False,
    )


BIG, SMALL = candidate("up", "big"), candidate("also", "small")


class Bench:
    """A manager over one scripted provider, its events, and virtual time."""

    def __init__(
        self,
        *outcomes: ScriptedOutcome,
        ledger: Mapping[str, Any] = MEMORY,
        clock: FakeClock | None = None,
        **budgets: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.script = ScriptedProvider(*outcomes, clock=self.clock)
        self.ledger = ledger
        self.manager = ModelManager(
            config_of(budgets, ledger),
            providers={"scripted": self.script.factory},
            clock=self.clock,
            environ={},
        )
        self.events: list[events.Event] = []
        self.manager.events.subscribe(self.events.append)

    async def call(self, agent: str = "cloud", **options: Any) -> Any:
        return await self.manager.generate(agent, PROMPT, **{**FIVE, **options})

    async def spend(self, calls: int, agent: str = "cloud", **options: Any) -> None:
        """Make calls that use as much as they may."""
        self.script.script(*[ALL_OF_IT] * calls)
        for _ in range(calls):
            await self.call(agent, **options)
        await self.manager.budgets()

    async def status(self, number: int = 0) -> BudgetStatus:
        return (await self.manager.budgets())[number]

    @property
    def asked(self) -> list[str]:
        return [attempt.candidate.model for attempt in self.script.attempts]

    def reached(self) -> list[tuple[str, str]]:
        return [
            (event.status.name, event.status.state)
            for event in self.events
            if isinstance(event, events.BudgetReached)
        ]


def account_of(bench: Bench, *candidates: Candidate) -> Account:
    """Open the account of a call of a second, without the call."""
    request = Request(
        agent="cloud",
        messages=(Message("user", (Text(PROMPT),)),),
        max_output_tokens=5,
        call_id="by-hand",
    )
    route = Route(agent="cloud", task=None, privacy="any", candidates=candidates)
    books = bench.manager._current.runtime.books
    return books.open(request, route, seconds=1)


def day(usd: str, **more: Any) -> dict[str, Any]:
    return {"usd": usd, "window": "day", **more}


# -- low and used up -----------------------------------------------------------------


async def test_at_four_fifths_local_goes_first_then_the_cheaper_as_the_route_says() -> (
    None
):
    bench = Bench(all=day("0.135"))
    before = [c.model for c in bench.manager.explain("all").candidates]
    await bench.spend(4)

    route = bench.manager.explain("all", PROMPT, **FIVE)

    assert before[0] == "big"
    assert [c.model for c in route.candidates] == ["own", "small", "big"]
    assert any("budget 'all' is used to 80%" in note for note in route.notes)
    assert (await bench.call("all")).is_local
    assert bench.reached() == [("all", "low")]


async def test_each_state_is_told_once_a_window() -> None:
    bench = Bench(all=day("0.135"))
    await bench.spend(5)
    for _ in range(3):
        await bench.call("all")
    assert bench.reached() == [("all", "low"), ("all", "used_up")]

    bench.clock.advance(86_400)
    await bench.spend(4)
    await bench.status()

    assert bench.reached()[2:] == [("all", "low")]


async def test_a_reload_tells_nothing_again_unless_the_limit_is_another() -> None:
    bench = Bench(all=day("0.135"))
    await bench.spend(4)

    await bench.manager.reload(config_of({"all": day("0.135")}))
    await bench.status()
    assert bench.reached() == [("all", "low")]

    await bench.manager.reload(config_of({"all": day("0.108")}))
    await bench.status()
    assert bench.reached() == [("all", "low"), ("all", "used_up")]


async def test_a_used_up_budget_leaves_the_local_model_and_says_why() -> None:
    bench = Bench(all=day("0.135"))
    await bench.spend(5)

    response = await bench.call("all")
    explained = bench.manager.explain("all", PROMPT, **FIVE)

    assert (response.model, response.is_local) == ("own", True)
    for route in (response.route, explained):
        assert [c.model for c in route.candidates] == ["own"]
        assert {r.code for r in route.refused} == {"budget"}
        refusal = next(r for r in route.refused if r.candidate.model == "big")
        assert refusal.reason == (
            "budget 'all' (everything): $0.135 of $0.135 is spent and $0.00 held,"
            " and this may cost $0.027"
        )
        assert "it begins anew on 2026-11-22 00:00 UTC" in refusal.remedy
        assert refusal.retry_in == pytest.approx(NOON_TO_MIDNIGHT)


async def test_without_a_local_model_an_error_tells_when_to_come_again() -> None:
    bench = Bench(all=day("0.135"))
    await bench.spend(5)

    with pytest.raises(errors.BudgetExceededError) as caught:
        await bench.call()

    assert caught.value.retry_after == pytest.approx(NOON_TO_MIDNIGHT)
    assert "$0.135 of $0.135 is spent" in str(caught.value)
    assert len(bench.asked) == 5
    bench.clock.advance(NOON_TO_MIDNIGHT)
    assert (await bench.call()).model == "big"


async def test_what_was_spent_elsewhere_is_explained_after_a_look_at_the_budgets(
    tmp_path: Path,
) -> None:
    file = {"backend": "sqlite", "folder": str(tmp_path)}
    bench, other = (
        Bench(ledger=file, all=day("0.03")),
        Bench(ledger=file, all=day("0.03")),
    )
    await other.spend(1)
    unread = bench.manager.explain("cloud", PROMPT, **FIVE)

    status = await bench.status()
    route = bench.manager.explain("cloud", PROMPT, **FIVE)

    assert any("was not looked at yet" in note for note in unread.notes)
    assert status.spent == COST
    assert [r.code for r in route.refused] == ["budget"]
    for one in (bench, other):
        await one.manager.aclose()


async def test_two_managers_share_a_budget_through_one_file(tmp_path: Path) -> None:
    file = {"backend": "sqlite", "folder": str(tmp_path)}
    one, two = Bench(ledger=file, all=day("0.06")), Bench(ledger=file, all=day("0.06"))

    await one.spend(1)
    await two.spend(1)

    for bench in (one, two):
        with pytest.raises(errors.BudgetExceededError):
            await bench.call()
        assert (await bench.status()).spent == 2 * COST
        await bench.manager.aclose()


async def test_no_call_is_refused_for_what_the_one_before_it_holds_no_more() -> None:
    bench = Bench(all=day("0.4"))

    for _ in range(19):
        await bench.call()

    status = await bench.status()
    assert (status.spent, status.held) == (19 * Decimal("0.02"), Decimal(0))


# -- what a budget refuses -----------------------------------------------------------


async def test_an_unknown_price_is_refused_before_anything_is_sent() -> None:
    bench = Bench(all=day("100"))

    with pytest.raises(errors.BudgetExceededError) as caught:
        await bench.call("odd")

    assert bench.asked == []
    assert caught.value.route is not None
    assert [r.code for r in caught.value.route.refused] == ["unpriced"]
    assert "Set 'price'" in caught.value.remedy


async def test_under_a_soft_budget_an_unknown_price_is_answered() -> None:
    bench = Bench(all=day("0.001", hard=False))

    response = await bench.call("odd")

    assert (response.model, response.cost) == ("unpriced", None)


async def test_a_soft_budget_is_told_of_and_refuses_nobody() -> None:
    bench = Bench(all=day("0.03", hard=False))
    await bench.spend(3)

    assert (await bench.status()).state == "used_up"
    assert bench.asked == ["big"] * 3
    assert ("all", "used_up") in bench.reached()


async def test_a_model_asked_for_by_name_is_not_let_past_a_hard_budget() -> None:
    bench = Bench(all=day("0.03"))
    await bench.spend(1)

    response = await bench.call("all", model="big")

    assert response.model == "own"
    assert [(r.candidate.model, r.code) for r in response.route.refused][:1] == [
        ("big", "budget")
    ]
    with pytest.raises(errors.BudgetExceededError):
        await bench.call("cloud", model="big")
    assert bench.asked == ["big", "own"]


async def test_a_model_asked_for_by_name_stays_first_while_a_budget_is_low() -> None:
    bench = Bench(all=day("0.2", low_at=0.1))
    await bench.spend(1)

    assert (await bench.call("all", model="big")).model == "big"


async def test_tokens_can_be_budgeted_alone() -> None:
    bench = Bench(all={"tokens": 50, "window": "total"})
    await bench.spend(2)

    with pytest.raises(errors.BudgetExceededError) as caught:
        await bench.call()

    assert "44 of 50 tokens are spent and 0 held, and this may use 22" in str(
        caught.value
    )
    assert caught.value.retry_after is None
    status = await bench.status()
    assert (status.spent_tokens, status.limit, status.resets_at) == (44, None, None)


async def test_a_budget_of_a_label_leaves_other_calls_alone() -> None:
    blue = "équipe\u00a0bleue"
    bench = Bench(blue=day("0.03", metadata={"team": blue}))
    await bench.spend(1, metadata={"team": blue})

    with pytest.raises(errors.BudgetExceededError):
        await bench.call(metadata={"team": blue})

    assert (await bench.call(metadata={"team": "red"})).model == "big"
    assert (await bench.call()).model == "big"


async def test_a_budget_of_an_agent_leaves_other_agents_alone() -> None:
    bench = Bench(one=day("0.03", agent="cloud"))
    await bench.spend(1)

    with pytest.raises(errors.BudgetExceededError):
        await bench.call()

    assert (await bench.call("two")).model == "big"


@pytest.mark.parametrize(
    "scope", [{"provider": "up"}, {"model": "big"}, {"model": "up/big"}], ids=str
)
async def test_where_one_providers_budget_is_used_up_another_answers(
    scope: Mapping[str, str],
) -> None:
    bench = Bench(up=day("0.03", **scope))
    await bench.spend(1, "two")

    response = await bench.call("two")

    assert response.model == "small"
    assert [r.code for r in response.route.refused] == ["budget"]


async def test_nothing_is_held_of_a_fallbacks_budget_while_another_is_asked() -> None:
    bench = Bench(also=day("0.004", provider="also"), up=day("1", provider="up"))
    async with bench.manager.stream("two", PROMPT, **FIVE) as stream:
        await anext(aiter(stream))

        also, up = await bench.manager.budgets()

        assert (also.held, up.held) == (Decimal(0), COST)


# -- what is held and sent -----------------------------------------------------------


async def test_a_stream_holds_what_it_may_cost_and_gives_the_rest_back() -> None:
    bench = Bench(said("a", "b"), all=day("1"))
    async with bench.manager.stream("cloud", PROMPT, **FIVE) as stream:
        pieces = aiter(stream)
        await anext(pieces)
        under_way = await bench.status()
        async for _ in pieces:
            pass
    ended = await bench.status()

    assert (under_way.spent, under_way.held) == (Decimal(0), COST)
    assert (ended.spent, ended.held) == (Decimal("0.02"), Decimal(0))


async def test_a_running_stream_is_never_cut_by_a_budget() -> None:
    bench = Bench(said("a", "b", "c"), all=day("0.03"))
    begun, response = False, None
    async with bench.manager.stream("cloud", PROMPT, **FIVE) as stream:
        async for event in stream:
            if isinstance(event, Completed):
                response = event.response
            elif not begun:
                begun = True
                await bench.manager.reload(config_of({"all": day("0")}))
                assert (await bench.status()).state == "used_up"

    assert response is not None
    assert response.text == "abc"
    with pytest.raises(errors.BudgetExceededError):
        await bench.call()


async def test_what_broke_off_counts_twice_its_estimate_but_no_more_than_was_held() -> (
    None
):
    """The bill of a stream that nobody read to its end is not known; its price is."""
    bench = Bench(said("abcd", "efgh"), said("a" * 80, "b"), all=day("100"))
    for _ in range(2):
        async with bench.manager.stream("cloud", PROMPT, **FIVE) as stream:
            await anext(stream.text)

    short, long = await bench.manager.entries()

    assert short.estimated
    assert long.estimated
    assert short.cost is not None
    assert short.charged == 2 * short.cost
    assert long.charged < 2 * (long.cost or 0)
    assert (await bench.status()).spent == short.charged + long.charged


async def test_several_answers_at_once_are_reserved_and_each_limited_by_itself() -> (
    None
):
    bench = Bench("fine", all=day("100", output_tokens=700))
    config = config_of({"all": day("100", output_tokens=700)})
    config["model_providers"]["up"]["models"]["big"]["options"] = {"n": 4}
    await bench.manager.reload(config)
    route = bench.manager.explain("cloud", PROMPT)
    request = Request(agent="cloud", messages=(Message("user", (Text(PROMPT),)),))
    budgets = bench.manager._current.runtime.books.budgets
    (big,) = route.candidates

    ask = budgets.ask(request, big, budgets.limits, sent=10)

    assert ask.output_tokens == 700
    assert ask.amount.tokens == 10 + 4 * 700


async def test_a_call_that_sets_no_limit_gets_the_budgets() -> None:
    bench = Bench(all=day("100", output_tokens=700))
    free = Bench()

    for one in (bench, free):
        await one.manager.generate("cloud", PROMPT)
        await one.manager.generate("cloud", PROMPT, max_output_tokens=900)

    assert [a.output_limit for a in bench.script.attempts] == [700, 900]
    assert [a.output_limit for a in free.script.attempts] == [None, None]


async def test_an_http_error_costs_nothing_and_holds_nothing() -> None:
    bench = Bench(DOWN, DOWN, all=day("0.05"))

    with pytest.raises(errors.AllCandidatesFailedError):
        await bench.call("two")

    status = await bench.status()
    assert (status.spent, status.held) == (Decimal(0), Decimal(0))


async def test_a_silent_model_is_charged_as_dear_as_it_may_have_been() -> None:
    bench = Bench(errors.ProviderTimeoutError("silent."), all=day("0.05"))

    with pytest.raises(errors.AllCandidatesFailedError):
        await bench.call()

    status, [entry] = await bench.status(), await bench.manager.entries()
    assert (status.spent, status.held) == (COST, Decimal(0))
    assert (entry.cost, entry.charged) == (None, COST)


async def test_embeddings_count_as_much_as_they_used() -> None:
    bench = Bench(all=day("0.03"), tokens={"tokens": 20, "window": "day"})

    await bench.manager.embed("reader", PROMPT)

    usd, tokens = await bench.manager.budgets()
    assert (usd.spent, tokens.spent_tokens) == (Decimal("0.01"), 10)
    with pytest.raises(errors.BudgetExceededError):
        await bench.manager.embed("reader", PROMPT)


async def test_a_reload_changes_a_limit_at_once() -> None:
    bench = Bench(all=day("0.03"))
    await bench.spend(1)
    with pytest.raises(errors.BudgetExceededError):
        await bench.call()

    await bench.manager.reload(config_of({"all": day("0.06")}))
    await bench.spend(1)

    assert (await bench.status()).spent == 2 * COST
    await bench.manager.reload(config_of({}))
    assert (await bench.call()).model == "big"


async def test_a_new_budget_counts_what_was_spent_before_it_was_set() -> None:
    bench = Bench()
    await bench.spend(3)

    await bench.manager.reload(config_of({"all": day("0.09")}))

    assert (await bench.status()).spent == 3 * COST
    with pytest.raises(errors.BudgetExceededError):
        await bench.call()


# -- saved ---------------------------------------------------------------------------


async def test_a_local_answer_tells_what_the_cloud_would_have_cost() -> None:
    bench = Bench(all=day("0"))

    local = await bench.call("all")
    alone = await bench.call("home")

    assert (local.cost, local.saved) == (Decimal(0), Decimal("0.02"))
    assert local.attempts[-1].saved_against == "up/big"
    assert (alone.saved, alone.attempts[-1].saved_against) == (None, "")


async def test_an_answer_of_the_cloud_saved_nothing() -> None:
    response = await Bench().call("all")

    assert (response.is_local, response.saved) == (False, Decimal(0))


# -- the edges of windows ------------------------------------------------------------


async def test_what_waits_over_midnight_counts_in_the_day_in_which_it_is_sent() -> None:
    bench = Bench(ALL_OF_IT, all=day("0.03"))
    await bench.status()
    bench.clock.advance(NOON_TO_MIDNIGHT - 1)
    ledger = bench.manager._current.runtime.books.ledger
    assert ledger is not None
    asked, goes_on = threading.Event(), threading.Event()

    def hold_up(_: object) -> None:
        asked.set()
        goes_on.wait(10)

    held_up = ledger.ask(hold_up)
    call = asyncio.create_task(bench.call())
    await asyncio.to_thread(asked.wait, 10)
    await asyncio.sleep(0.05)
    bench.clock.advance(2)
    goes_on.set()
    await call
    held_up.result()

    [entry] = await bench.manager.entries()
    status = await bench.status()
    assert entry.sent_at >= datetime(2026, 11, 22, tzinfo=UTC)
    assert status.spent == COST


@pytest.mark.parametrize("minutes", range(0, 181, 15))
def test_an_hour_holds_its_moment_also_where_the_clock_goes_back_by_half_an_hour(
    minutes: int,
) -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    moment = datetime(2027, 4, 3, 13, 30, tzinfo=UTC).timestamp() + minutes * 60
    now_us = int(moment) * MICROSECONDS

    span = span_of("hour", zone, now_us=now_us)

    assert span.start <= now_us < span.end
    assert span.end - span.start == 3600 * MICROSECONDS


async def test_however_many_a_process_left_behind_all_are_charged_at_once() -> None:
    bench = Bench(all={"usd": "1000", "window": "total"})
    account = account_of(bench, BIG)
    await asyncio.gather(*(account.begin(BIG) for _ in range(1_001)))
    assert (await bench.status()).held == 1_001 * COST

    bench.clock.advance(62)

    status = await bench.status()
    assert (status.spent, status.held) == (1_001 * COST, Decimal(0))


async def test_what_is_refused_to_one_is_not_held_by_another_asked_beside_it() -> None:
    bench = Bench(up=day("0.001", provider="up"), all=day("1"))
    account = account_of(bench, BIG, SMALL)

    refused, sent = await asyncio.gather(
        account.begin(BIG), account.begin(SMALL), return_exceptions=True
    )

    up, everything = await bench.manager.budgets()
    assert isinstance(refused, errors.UnavailableError)
    assert isinstance(sent, Send)
    assert up.held == Decimal(0)
    assert everything.held >= Decimal("0.0027")
