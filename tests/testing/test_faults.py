"""Every fault does on the socket what its name says, on all three servers."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from model_manager.testing import (
    Answer,
    BadChunk,
    CutStream,
    EmptyAnswer,
    EndEarly,
    HttpFault,
    InStreamError,
    InvalidJson,
    NoEndMark,
    OpenAIServer,
    Redirect,
    Reset,
    Silence,
    SlowFirstToken,
    StallStream,
)

TEXT = "abcdefghij"
END_MARKS = (b"[DONE]", b"message_stop", b'"done":true')
both_ways = pytest.mark.parametrize("stream", [False, True])


def is_complete(raw: bytes) -> bool:
    return any(mark in raw for mark in END_MARKS)


async def read_until_broken(client: Any) -> bytes:
    """Return what comes of a streamed answer before its connection breaks."""
    url, got = client.root + client.path(), b""
    async with client.session.post(url, json=client.body(stream=True)) as response:
        try:
            async for piece in response.content.iter_any():
                got += piece
        except aiohttp.ClientPayloadError:
            return got
    pytest.fail("the stream ended as if nothing were wrong")


@both_ways
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
async def test_an_http_fault_has_the_status_and_an_error_body(
    client: Any, *, stream: bool, status: int
) -> None:
    client.server.script(HttpFault(status, retry_after=1.5, headers={"x-extra": "1"}))

    got = await client.chat(stream=stream)

    assert got.status == status
    assert got.headers["retry-after"] == "1.5"
    assert got.headers["x-extra"] == "1"
    assert got.json["error"]


async def test_an_http_fault_can_be_worded_or_be_somebody_elses_page(
    client: Any,
) -> None:
    client.server.script(
        HttpFault(400, message="too long", type="odd_error"),
        HttpFault(502, body="<html>bad gateway</html>"),
    )

    worded = await client.chat()
    page = await client.chat()

    assert "too long" in worded.raw.decode()
    assert page.raw == b"<html>bad gateway</html>"
    assert page.headers["content-type"].startswith("text/html")


async def test_an_openai_error_has_type_and_code(client: Any) -> None:
    client.server.script(HttpFault(429, type="insufficient_quota", code="no_money"))
    error = (await client.chat()).json["error"]

    if isinstance(client.server, OpenAIServer):
        assert (error["type"], error["code"]) == ("insufficient_quota", "no_money")


async def test_an_error_in_a_stream_comes_after_the_pieces_asked_for(
    client: Any,
) -> None:
    client.server.script(InStreamError(status=529, message="so busy", after=2))
    got = await client.chat(stream=True)

    assert got.status == 200
    assert b"so busy" in got.raw
    assert "error" in got.events[-1]
    assert not is_complete(got.raw)
    assert b"Simula" in got.raw
    assert b"ted an" in got.raw
    assert b"swer f" not in got.raw


async def test_an_error_in_a_stream_is_an_http_error_for_a_whole_answer(
    client: Any,
) -> None:
    client.server.script(InStreamError(status=503))

    assert (await client.chat()).status == 503


async def test_a_cut_stream_breaks_after_the_pieces_asked_for(client: Any) -> None:
    client.server.script(CutStream(after=1))

    raw = await read_until_broken(client)

    assert b"Simula" in raw
    assert b"ted an" not in raw
    assert not is_complete(raw)


async def test_a_cut_whole_answer_breaks_in_the_middle(client: Any) -> None:
    client.server.script(CutStream())

    with pytest.raises(aiohttp.ClientPayloadError):
        await client.chat()


@both_ways
async def test_an_early_end_is_a_clean_end_without_its_mark(
    client: Any, *, stream: bool
) -> None:
    client.server.script(EndEarly(after=1))
    got = await client.chat(stream=stream)

    assert got.status == 200
    if stream:
        assert not is_complete(got.raw)
        assert client.text(got) == "Simula"
    else:
        with pytest.raises(ValueError, match=r"."):
            _ = got.json


@both_ways
async def test_a_stall_is_followed_by_the_rest(client: Any, *, stream: bool) -> None:
    client.server.script(StallStream(after=1, seconds=0.01))

    assert client.text(await client.chat(stream=stream)).startswith("Simulated answer")


async def test_bad_chunks_stand_between_good_ones(client: Any) -> None:
    client.server.script(BadChunk(after=1, count=2))
    got = await client.chat(stream=True)

    assert got.raw.count(client.server._wire.unreadable) == 2
    rest = got.raw.replace(client.server._wire.unreadable, b"")
    assert client.text(type(got)(200, {}, rest)) == "Simulated answer from m."
    assert is_complete(got.raw)


async def test_silence_answers_nothing_and_then_hangs_up(client: Any) -> None:
    client.server.script(Silence(0.01))

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.chat()


@both_ways
async def test_a_reset_comes_before_any_byte(client: Any, *, stream: bool) -> None:
    client.server.script(Reset())

    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await client.chat(stream=stream)
    assert client.server.disconnects == 0


async def test_a_slow_first_token_is_followed_by_the_answer(client: Any) -> None:
    client.server.script(SlowFirstToken(0.01))

    assert client.text(await client.chat(stream=True)).startswith("Simulated")


@both_ways
async def test_an_empty_answer_is_complete(client: Any, *, stream: bool) -> None:
    client.server.script(EmptyAnswer())
    got = await client.chat(stream=stream)

    assert client.text(got) == ""
    assert is_complete(got.raw) or not stream


@both_ways
async def test_invalid_json_has_a_good_status(client: Any, *, stream: bool) -> None:
    client.server.script(InvalidJson())
    got = await client.chat(stream=stream)

    assert got.status == 200
    if stream:
        assert got.raw.count(client.server._wire.unreadable) > 3
    else:
        with pytest.raises(ValueError, match=r"."):
            _ = got.json


async def test_a_redirect_says_where_to(client: Any) -> None:
    client.server.script(Redirect("http://127.0.0.1:9/elsewhere"))
    got = await client.chat()

    assert got.status == 307
    assert got.headers["location"] == "http://127.0.0.1:9/elsewhere"


@pytest.mark.parametrize("fault", [Silence(), StallStream(), SlowFirstToken(3600)])
async def test_a_client_that_goes_away_is_counted(client: Any, fault: Any) -> None:
    client.server.script(fault)
    asking = await client.started()
    asking.cancel()

    await client.server.wait_for_disconnects(1)
    await client.server.wait_until_idle()
    assert client.server.disconnects == 1


async def test_a_client_that_read_everything_is_not_counted(client: Any) -> None:
    await client.chat(stream=True)
    await client.session.close()
    await client.server.wait_until_idle()

    assert client.server.disconnects == 0


@pytest.mark.parametrize("fault", [Silence(), StallStream(), SlowFirstToken(3600)])
async def test_stopping_a_server_ends_what_is_stalled_at_once(
    client: Any, fault: Any
) -> None:
    client.server.script(fault)
    asking = await client.started()

    await client.server._close()

    with pytest.raises(aiohttp.ClientError):
        await asking
    assert client.server.disconnects == 0
    assert client.server.open_connections == 0


async def test_waiting_for_a_client_that_stays_gives_up(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_manager.testing._server._PATIENCE", 0.01)

    with pytest.raises(TimeoutError):
        await client.server.wait_for_disconnects()


async def test_pieces_can_be_spaced_out(client: Any) -> None:
    client.server.script(Answer(text=TEXT, chunk_size=5, pause=0.001))

    assert client.text(await client.chat(stream=True)) == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_its_very_last_frame_is_whole_otherwise(
    client: Any, *, stream: bool
) -> None:
    client.server.script(NoEndMark(), Answer(text=TEXT))

    without = await client.chat(stream=stream)
    usual = await client.chat(stream=stream)

    assert without.status == usual.status == 200
    assert is_complete(usual.raw) or not stream
    assert is_complete(without.raw) == (is_complete(usual.raw) and not stream)


async def test_headers_of_an_answer_stand_in_place_of_the_usual_ones(
    client: Any,
) -> None:
    client.server.script(Answer(text=TEXT, headers={"Content-Type": "text/plain"}))

    got = await client.chat()

    assert got.headers["content-type"].startswith("text/plain")
    assert client.text(got) == TEXT


def test_a_client_that_hangs_up_leaves_no_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave(url: str) -> None:
        body = {"model": "m", "stream": True, "messages": [{"role": "user"}]}
        async with aiohttp.ClientSession() as session:
            response = await session.post(f"{url}/chat/completions", json=body)
            await response.content.read(100)
            response.close()

    # On a thread of its own the server writes on while the client is leaving.
    with OpenAIServer() as server:
        server.always(Answer(text="x" * 300_000, chunk_size=30))
        for _ in range(10):
            asyncio.run(leave(server.base_url))

    assert caplog.records == []
