"""The contract, part three: connections, loops, and the question how it is."""

from __future__ import annotations

import asyncio

import pytest

from model_manager.testing._contract_case import ProviderCase, ask, attempt, heard
from model_manager.testing._faults import (
    HttpFault,
    Outcome,
    Silence,
    SlowFirstToken,
    StallStream,
)

__all__ = ["ConnectionContract"]

both_ways = pytest.mark.parametrize("streaming", [False, True])
_PATHS_THAT_COST = ("chat", "messages", "embed", "generate", "responses")


class ConnectionContract:
    """No connection outlives its use, and no loop gets in another's way."""

    async def test_leaving_early_closes_the_connection(
        self, provider_case: ProviderCase
    ) -> None:
        """The server learns that nobody listens any more."""
        server = provider_case.wire()
        server.script(StallStream(after=1))
        async with provider_case.provider.open(
            attempt(provider_case, streaming=True)
        ) as reply:
            await anext(reply.chunks)

        await server.wait_for_disconnects(1)

    @both_ways
    @pytest.mark.parametrize("fault", [Silence(), SlowFirstToken(3600), StallStream()])
    async def test_cancellation_closes_the_connection(
        self, provider_case: ProviderCase, *, fault: Outcome, streaming: bool
    ) -> None:
        """And is passed on as what it is."""
        server = provider_case.wire()
        server.script(fault)
        asking = asyncio.create_task(ask(provider_case, streaming=streaming))
        # Requests without a model are a provider's own questions before it sends.
        while not any(r.model for r in server.requests):  # noqa: ASYNC110 - on a thread
            await asyncio.sleep(0.001)
        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.wait_for_disconnects(1)

    async def test_a_finished_answer_leaves_its_connection_to_the_next(
        self, provider_case: ProviderCase
    ) -> None:
        """Three calls in a row, one connection."""
        server = provider_case.wire()
        for streaming in (False, True, False):
            await heard(provider_case, streaming=streaming)

        assert server.open_connections == 1
        assert server.disconnects == 0

    async def test_closing_ends_the_connections_and_may_be_done_twice(
        self, provider_case: ProviderCase
    ) -> None:
        """A provider does not close clients that are not its own, so it may keep them.

        What it must not do is fail, or be of no use to somebody else afterwards.
        """
        await heard(provider_case)
        await provider_case.provider.aclose()
        await provider_case.provider.aclose()

        assert (await heard(provider_case)).text

    async def test_one_provider_serves_several_loops(
        self, provider_case: ProviderCase
    ) -> None:
        """Also when some of them are over."""

        def elsewhere() -> str:
            return asyncio.run(heard(provider_case, streaming=True)).text

        here = (await heard(provider_case, streaming=True)).text
        there = await asyncio.gather(*(asyncio.to_thread(elsewhere) for _ in range(2)))

        assert {here, *there} == {(await heard(provider_case, streaming=True)).text}

    async def test_many_answers_at_once_do_not_mix(
        self, provider_case: ProviderCase
    ) -> None:
        """Each gets its own, whole."""
        answers = await asyncio.gather(
            *(heard(provider_case, streaming=n % 2 == 0) for n in range(10))
        )

        assert len({answer.text for answer in answers}) == 1

    async def test_asking_how_it_is_costs_nothing(
        self, provider_case: ProviderCase
    ) -> None:
        """No answer is generated for it."""
        health = await provider_case.provider.check()

        assert health.status == "ok"
        assert health.endpoint == provider_case.endpoint
        assert health.kind == provider_case.kind
        if provider_case.server is not None:
            paths = [request.path for request in provider_case.server.requests]
            assert not [p for p in paths if p.endswith(_PATHS_THAT_COST)]

    async def test_asking_how_it_is_never_raises(
        self, provider_case: ProviderCase
    ) -> None:
        """It says what is wrong, and what to do."""
        server = provider_case.wire()
        for path in ("/", "/api/version", "/api/tags", "/v1/models"):
            server.always(HttpFault(500), path=path)
        unwell = await provider_case.provider.check()
        await server.aclose()
        gone = await provider_case.provider.check()

        assert unwell.status == "error"
        assert unwell.detail
        assert gone.status == "unreachable"
        assert gone.detail
