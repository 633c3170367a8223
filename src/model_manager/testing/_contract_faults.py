"""The contract, part two: what becomes of everything that goes wrong."""

from __future__ import annotations

import traceback

import pytest

from model_manager.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContentFilterError,
    LocalResourceError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from model_manager.testing._contract_case import PROMPT, ProviderCase, broken, heard
from model_manager.testing._faults import (
    Answer,
    BadChunk,
    CutStream,
    EndEarly,
    HttpFault,
    InStreamError,
    InvalidJson,
    Outcome,
    Redirect,
    Reset,
    Silence,
)

__all__ = ["FaultContract"]

both_ways = pytest.mark.parametrize("streaming", [False, True])
_BY_STATUS = [
    (400, BadRequestError),
    (401, AuthenticationError),
    (403, AuthenticationError),
    (404, ModelNotFoundError),
    (408, ServerError),
    (429, RateLimitError),
    (500, (ServerError, LocalResourceError)),
    (502, ServerError),
    (503, OverloadedError),
    (504, ServerError),
    (529, OverloadedError),
]


class FaultContract:
    """Every failure has its class, and shows nothing it should not."""

    @both_ways
    @pytest.mark.parametrize(("status", "expected"), _BY_STATUS)
    async def test_a_status_has_its_error(
        self,
        provider_case: ProviderCase,
        *,
        status: int,
        expected: type[ProviderError] | tuple[type[ProviderError], ...],
        streaming: bool,
    ) -> None:
        """With the safe facts, and advice at the end."""
        provider_case.wire().script(HttpFault(status))
        error = await broken(provider_case, expected, streaming=streaming)

        assert error.status == status
        assert error.provider == provider_case.endpoint
        assert error.model == provider_case.model
        assert error.remedy
        assert str(error).endswith(".")
        assert bool(error.request_id) is provider_case.names_requests

    @both_ways
    async def test_the_wait_that_is_asked_for_is_kept(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """In seconds."""
        if not provider_case.asks_to_wait:
            pytest.skip(f"{provider_case.kind} never asks for one")
        fault = HttpFault(429, retry_after=7)
        provider_case.wire().script(fault)
        error = await broken(provider_case, RateLimitError, streaming=streaming)

        assert error.retry_after == fault.retry_after

    @both_ways
    async def test_a_page_in_place_of_json_is_judged_by_its_status(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """Proxies answer in HTML."""
        provider_case.wire().script(HttpFault(502, body="<html>Bad gateway</html>"))
        error = await broken(provider_case, ServerError, streaming=streaming)

        assert "<html>" not in str(error)

    @both_ways
    async def test_a_redirect_is_not_followed(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """The key and the prompt go to the configured address and no other."""
        server = provider_case.wire()
        server.script(Redirect(server.base_url + "/elsewhere"))
        await broken(provider_case, streaming=streaming)

        assert not [r for r in server.requests if r.path.endswith("/elsewhere")]

    @both_ways
    @pytest.mark.parametrize("fault", [Reset(), Silence(0.01)])
    async def test_a_connection_lost_before_any_byte_has_failed(
        self, provider_case: ProviderCase, *, fault: Outcome, streaming: bool
    ) -> None:
        """It is not a timeout."""
        provider_case.wire().script(fault)
        await broken(provider_case, ConnectionFailedError, streaming=streaming)

    async def test_nobody_listening_is_a_failed_connection(
        self, provider_case: ProviderCase
    ) -> None:
        """So that the next candidate gets its turn."""
        await provider_case.wire().aclose()
        await broken(provider_case, ConnectionFailedError)

    @pytest.mark.parametrize("after", [0, 2])
    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (500, (ServerError, LocalResourceError)),
            (503, ServerError),
            (529, ServerError),
        ],
    )
    async def test_an_error_inside_a_stream_is_like_one_before_it(
        self,
        provider_case: ProviderCase,
        *,
        after: int,
        status: int,
        expected: type[ProviderError] | tuple[type[ProviderError], ...],
    ) -> None:
        """Status 200 does not make an answer."""
        provider_case.wire().script(InStreamError(status=status, after=after))
        error = await broken(provider_case, expected, streaming=True)

        assert error.remedy

    @pytest.mark.parametrize("fault", [CutStream(after=2), EndEarly(after=2)])
    async def test_a_stream_without_its_end_was_interrupted(
        self, provider_case: ProviderCase, *, fault: Outcome
    ) -> None:
        """However politely the connection was closed."""
        provider_case.wire().script(fault)
        await broken(provider_case, StreamInterruptedError, streaming=True)

    @pytest.mark.parametrize("fault", [CutStream(), EndEarly()])
    async def test_half_an_answer_is_none(
        self, provider_case: ProviderCase, *, fault: Outcome
    ) -> None:
        """Also where it was not streamed."""
        provider_case.wire().script(fault)
        await broken(
            provider_case,
            (StreamInterruptedError, MalformedResponseError, ConnectionFailedError),
        )

    @both_ways
    @pytest.mark.parametrize("fault", [InvalidJson()])
    async def test_nothing_readable_is_malformed(
        self, provider_case: ProviderCase, *, fault: Outcome, streaming: bool
    ) -> None:
        """An answer with nothing in it is no answer."""
        provider_case.wire().script(fault)
        await broken(provider_case, MalformedResponseError, streaming=streaming)

    async def test_a_few_unreadable_chunks_are_passed_over(
        self, provider_case: ProviderCase
    ) -> None:
        """Up to three, when the stream goes on and ends well."""
        provider_case.wire().script(BadChunk(after=1, count=3))
        answer = await heard(provider_case, streaming=True)

        assert answer.text == f"Simulated answer from {provider_case.model}."

    async def test_many_unreadable_chunks_are_not(
        self, provider_case: ProviderCase
    ) -> None:
        """A fourth makes the answer unreadable."""
        provider_case.wire().script(BadChunk(after=1, count=4))
        await broken(provider_case, MalformedResponseError, streaming=True)

    @both_ways
    async def test_refused_content_is_an_error_of_its_own(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """Another try would be refused as well."""
        if not provider_case.refuses:
            pytest.skip(f"{provider_case.kind} has no word for it")
        provider_case.wire().script(Answer(finish_reason="content_filter"))
        await broken(provider_case, ContentFilterError, streaming=streaming)

    @both_ways
    @pytest.mark.parametrize("way", ["status", "stream", "reset", "json"])
    async def test_errors_hold_neither_prompt_nor_key(
        self, provider_case: ProviderCase, *, way: str, streaming: bool
    ) -> None:
        """Not in their text, nor in anything that can be reached from them."""
        echo = f"cannot do: {PROMPT} with {provider_case.key}"
        faults: dict[str, Outcome] = {
            "status": HttpFault(400, message=echo),
            "stream": InStreamError(status=500, message=echo),
            "reset": Reset(),
            "json": InvalidJson(),
        }
        provider_case.wire().script(faults[way])
        error = await broken(provider_case, streaming=streaming)

        assert error.__cause__ is None
        assert error.__context__ is None
        shown = "".join(
            (
                str(error),
                repr(error),
                repr(vars(error)),
                *traceback.format_exception(error),
                repr(provider_case.provider),
                repr(getattr(provider_case.provider, "__dict__", None)),
            )
        )
        assert "xylophone-7431" not in shown
        if provider_case.key:
            assert provider_case.key not in shown

    async def test_faults_of_embedding_requests_have_the_same_errors(
        self, provider_case: ProviderCase
    ) -> None:
        """One table for everything."""
        provider_case.needs("embeddings")
        provider_case.wire().script(HttpFault(503), Reset(), InvalidJson())
        request = {"operation": "embed", "inputs": ("one",)}

        await broken(provider_case, OverloadedError, **request)
        await broken(provider_case, ConnectionFailedError, **request)
        await broken(provider_case, MalformedResponseError, **request)
