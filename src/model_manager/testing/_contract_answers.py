"""The contract, part one: what good answers look like."""

from __future__ import annotations

import json

import pytest

from model_manager.testing._contract_case import ProviderCase, ask, heard
from model_manager.testing._faults import Answer
from model_manager.types import (
    Finish,
    Image,
    Message,
    OutputSpec,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Vectors,
)

__all__ = ["AnswerContract"]

both_ways = pytest.mark.parametrize("streaming", [False, True])
_TEXT = "Grüße, 世界 🙂\u0085\u2028 over\nseveral lines."
_CITY: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_TOOLS = (
    Tool("weather", "Tells the weather.", _CITY),
    Tool("time", "Tells the time.", _CITY),
)
_CALLS = (
    ToolCall("call_1", "weather", {"city": "Łódź", "more": [1, {"deep": None}]}),
    ToolCall("call_2", "time", {"city": 'with "quotes"'}),
)
_PIXEL = b"\x89PNG\r\n\x1a\n"


class AnswerContract:
    """Answers in one normal form, whichever protocol they came by."""

    async def test_a_streamed_answer_has_the_text_of_the_whole_one(
        self, provider_case: ProviderCase
    ) -> None:
        """Pieces joined are the answer; both end with one `Finish`."""
        if provider_case.server is not None:
            provider_case.server.always(Answer(text=_TEXT, chunk_size=3))
        whole = await heard(provider_case)
        streamed = await heard(provider_case, streaming=True)

        assert whole.text
        assert streamed.text == whole.text
        if provider_case.server is not None:
            assert whole.text == _TEXT
        assert whole.finish.reason == streamed.finish.reason == "stop"

    @both_ways
    async def test_the_answer_names_model_and_request(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """As it was told; not every protocol gives requests an id."""
        provider_case.wire().script(Answer(text="x", model="answered-by"))
        answer = await heard(provider_case, streaming=streaming)

        assert answer.finish.model == "answered-by"
        assert bool(answer.reply.request_id) is provider_case.names_requests

    @both_ways
    async def test_a_cut_off_answer_says_so(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """`length` is `length` everywhere."""
        provider_case.wire().script(Answer(text="x", finish_reason="length"))
        answer = await heard(provider_case, streaming=streaming)

        assert answer.finish.reason == "length"

    @both_ways
    async def test_usage_is_in_disjoint_buckets(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """Cached input is counted once; thinking lies inside the output."""
        told = Usage(
            input_tokens=700,
            cache_read_tokens=300,
            output_tokens=50,
            reasoning_tokens=20,
        )
        provider_case.wire().script(Answer(text="x", usage=told))
        usage = (await heard(provider_case, streaming=streaming)).finish.usage

        assert usage is not None
        assert usage.total_input_tokens == told.total_input_tokens
        assert usage.output_tokens == told.output_tokens
        if provider_case.reports_cache:
            assert usage.input_tokens == told.input_tokens
            assert usage.cache_read_tokens == told.cache_read_tokens
            assert usage.reasoning_tokens == told.reasoning_tokens
        else:
            assert usage.cache_read_tokens is None
            assert usage.reasoning_tokens is None
        assert not usage.estimated
        assert usage.raw

    @both_ways
    async def test_usage_that_was_not_told_is_not_zero(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """Unknown is `None`."""
        provider_case.wire().script(Answer(text="x", usage=Usage()))
        usage = (await heard(provider_case, streaming=streaming)).finish.usage

        assert usage is None or not (
            usage.input_tokens is not None or usage.output_tokens is not None
        )

    @both_ways
    async def test_tool_calls_have_one_form(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """Several calls at once, arguments as objects, ids that tell them apart."""
        provider_case.needs("tools")
        provider_case.wire().script(Answer(tool_calls=_CALLS, chunk_size=4))
        answer = await heard(provider_case, streaming=streaming, tools=_TOOLS)

        calls = answer.tool_calls
        assert [(call.name, call.arguments) for call in calls] == [
            (call.name, call.arguments) for call in _CALLS
        ]
        assert len({call.id for call in calls} - {""}) == len(_CALLS)
        assert answer.finish.reason == "tool_calls"

    @both_ways
    async def test_text_may_come_with_tool_calls(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """Neither swallows the other."""
        provider_case.needs("tools")
        provider_case.wire().script(Answer(text="Wait.", tool_calls=_CALLS[:1]))
        answer = await heard(provider_case, streaming=streaming, tools=_TOOLS)

        assert answer.text == "Wait."
        assert [call.name for call in answer.tool_calls] == ["weather"]

    @both_ways
    async def test_an_offered_tool_is_called_and_its_result_answered(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """The whole round: call, result, text."""
        provider_case.needs("tools")
        first = await heard(provider_case, streaming=streaming, tools=_TOOLS)
        calls = tuple(first.tool_calls)
        results = [
            ToolResult(call.id, f"result of {call.name}", call.name) for call in calls
        ]
        messages = (
            Message.system("Be brief."),
            Message.user("What is the weather?"),
            Message.assistant("Let me see.", tool_calls=calls),
            Message.tool(*results),
        )
        second = await heard(
            provider_case, streaming=streaming, tools=_TOOLS, messages=messages
        )

        assert [call.name for call in calls] == ["weather"]
        assert set(calls[0].arguments) == {"city"}
        assert second.text
        assert second.finish.reason == "stop"
        if provider_case.server is not None:
            sent = json.dumps(provider_case.server.requests[-1].body)
            assert "result of weather" in sent
            assert "Be brief." in sent

    async def test_results_of_several_calls_are_sent_together(
        self, provider_case: ProviderCase
    ) -> None:
        """None is lost, and a failed one is a result too."""
        provider_case.needs("tools")
        results = [
            ToolResult("call_1", "rain-result", "weather"),
            ToolResult("call_2", "noon-result", "time", is_error=True),
        ]
        messages = (
            Message.user("Weather and time?"),
            Message.assistant(tool_calls=_CALLS),
            Message.tool(*results),
        )
        answer = await heard(provider_case, tools=_TOOLS, messages=messages)

        assert answer.text
        if provider_case.server is not None:
            sent = json.dumps(provider_case.server.requests[-1].body)
            assert "rain-result" in sent
            assert "noon-result" in sent

    @both_ways
    async def test_structured_output_is_asked_for_and_comes(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """The schema goes out; text that fits it comes back."""
        provider_case.needs("json_schema")
        spec = OutputSpec("place", _CITY, json.loads)
        answer = await heard(provider_case, streaming=streaming, output=spec)

        assert set(json.loads(answer.text)) == {"city"}
        if provider_case.server is not None:
            assert '"city"' in json.dumps(provider_case.server.requests[-1].body)

    @both_ways
    async def test_thinking_is_kept_apart_from_the_text(
        self, provider_case: ProviderCase, *, streaming: bool
    ) -> None:
        """And comes before it."""
        provider_case.needs("thinking")
        provider_case.wire().script(Answer(thinking="Hm, hm.", text="Yes."))
        answer = await heard(provider_case, streaming=streaming)

        assert answer.thinking == "Hm, hm."
        assert answer.text == "Yes."

    async def test_images_are_sent(self, provider_case: ProviderCase) -> None:
        """As base64, beside the words."""
        provider_case.needs("vision")
        image = Image(data=_PIXEL)
        message = Message.user("What is this?", images=(image,))
        await heard(provider_case, messages=(message,))

        sent = json.dumps(provider_case.wire().requests[-1].body)
        assert image.base64() in sent
        assert "What is this?" in sent

    async def test_embeddings_come_in_the_order_of_the_inputs(
        self, provider_case: ProviderCase
    ) -> None:
        """One vector an input; equal texts have equal ones."""
        provider_case.needs("embeddings")
        inputs = ("one", "two", "one")
        answer = await ask(provider_case, operation="embed", inputs=inputs)

        vectors, finish = answer.chunks
        assert isinstance(vectors, Vectors)
        assert isinstance(finish, Finish)
        one, two, again = vectors.vectors
        assert one == again
        assert one != two
        assert finish.usage is not None
        assert finish.usage.total_input_tokens
